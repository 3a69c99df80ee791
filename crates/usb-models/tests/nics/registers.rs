//! Registers: identity, resets that take their time, busy bits, what is not there.

use usb_models::device::Answer;

use crate::bench::{lan7800, lan9514, running_lan7800};

#[test]
fn the_chips_say_who_they_are() {
    assert_eq!(lan9514().read(0) >> 16, 0xEC00);
    assert_eq!(lan7800().read(0) >> 16, 0x7800);
}

#[test]
fn a_lite_reset_takes_a_while_and_puts_everything_back() {
    let mut bench = lan9514();
    bench.write(0x38, 37);
    bench.write(0x14, 1 << 3);
    assert!(bench.wait_clear(0x14, 1 << 3) >= 10, "two milliseconds");
    assert_eq!(bench.read(0x38), 0);
    assert_eq!(bench.read(0x6C), 0x800);
    bench.assert_no_mistakes();

    let mut bench = lan7800();
    bench.write(0x90, 37);
    bench.write(0x10, 1 << 1);
    assert_eq!(bench.read(0x14) & 1 << 7, 0, "not ready");
    assert!(bench.wait_clear(0x10, 1 << 1) >= 10);
    assert_eq!(bench.read(0x14) & 1 << 7, 1 << 7, "ready");
    assert_eq!(bench.read(0x90), 0);
    bench.assert_no_mistakes();
}

#[test]
fn a_phy_reset_takes_a_while() {
    let mut bench = lan9514();
    bench.write(0x20, 1 << 4);
    assert!(bench.wait_clear(0x20, 1 << 4) >= 10);
    let mut bench = lan7800();
    bench.write(0x14, 1 << 4);
    assert!(bench.wait_clear(0x14, 1 << 4) >= 10);
    assert_eq!(bench.read(0x14), 1 << 7);
}

#[test]
fn registers_are_not_touched_during_a_reset() {
    let mut bench = lan9514();
    bench.write(0x14, 1 << 3);
    bench.write(0x38, 37);
    bench.assert_mistake("0x38 written during a lite reset");
}

#[test]
fn the_mii_is_busy_when_it_is_asked_first() {
    let mut bench = lan9514();
    bench.write(0x114, 1 << 11 | 2 << 6 | 1);
    assert_eq!(bench.read(0x114) & 1, 1);
    bench.pass(100);
    assert_eq!(bench.read(0x114) & 1, 0);
    assert_eq!(bench.read(0x118), 7);
    bench.assert_no_mistakes();
    bench.write(0x114, 1 << 11 | 3 << 6 | 1);
    bench.write(0x118, 0);
    bench.assert_mistake("MII data written while the MII is busy");
}

#[test]
fn there_is_no_eeprom() {
    let mut bench = lan9514();
    bench.write(0x30, 1 << 31);
    assert!(bench.wait_clear(0x30, 1 << 31) >= 200, "thirty milliseconds");
    assert_eq!(bench.read(0x30) & 1 << 10, 1 << 10, "timed out");
    let mut bench = lan7800();
    bench.write(0x40, 1 << 31);
    bench.wait_clear(0x40, 1 << 31);
    assert_eq!((bench.read(0x40) & 1 << 10, bench.read(0x44)), (0, 0xFF));
    // One-time programmable memory is blank.
    bench.write(0x1028, 1);
    assert_eq!((bench.read(0x1030), bench.read(0x1018)), (0, 0));
    bench.assert_no_mistakes();
}

#[test]
fn what_does_not_exist_is_a_mistake() {
    let mut bench = lan9514();
    assert_eq!(bench.read(0x200), 0);
    bench.assert_mistake("0x200 read, which does not exist");
    bench.write(0x00, 1);
    bench.assert_mistake("0x0 written, which can't be");
    assert_eq!(bench.request(0xC0, 0xA3, 0, 4, &[]), Answer::Stall);
    assert_eq!(bench.request(0xC0, 0xA1, 0, 2, &[]), Answer::Stall);
    assert_eq!(bench.nic.core_mistakes(), 4);
    let mut bench = lan7800();
    bench.read(0x702);
    bench.write(0x800, 0);
    assert_eq!(bench.nic.core_mistakes(), 2);
}

trait CoreMistakes {
    fn core_mistakes(&mut self) -> u64;
}

impl<N: usb_models::nic::NicModel> CoreMistakes for N {
    fn core_mistakes(&mut self) -> u64 {
        self.core().mistakes().count()
    }
}

#[test]
fn the_data_port_is_waited_for() {
    let mut bench = lan7800();
    bench.write(0x24, 1);
    bench.write(0x2C, 130);
    bench.write(0x30, 0x1234_5678);
    bench.write(0x28, 1);
    assert_eq!(bench.read(0x24) >> 31, 0, "not ready at once");
    bench.pass(20);
    assert_eq!(bench.read(0x24) >> 31, 1);
    bench.write(0x30, 0);
    bench.write(0x28, 0);
    bench.wait_ready();
    assert_eq!(bench.read(0x30), 0x1234_5678);
    bench.assert_no_mistakes();
    bench.write(0x28, 0);
    bench.write(0x2C, 0);
    bench.assert_mistake("data port 0x2c written while it is not ready");
}

trait WaitReady {
    fn wait_ready(&mut self);
}

impl WaitReady for crate::bench::Bench<usb_models::lan7800::Lan7800> {
    fn wait_ready(&mut self) {
        while self.read(0x24) >> 31 == 0 {
            self.pass(10);
        }
    }
}

#[test]
fn statistics_have_their_length() {
    let mut bench = lan9514();
    assert_eq!(bench.request(0xC0, 0xA2, 0, 32, &[]), Answer::Data(vec![0; 32]));
    assert_eq!(bench.request(0xC0, 0xA2, 1, 40, &[]), Answer::Data(vec![0; 40]));
    bench.assert_no_mistakes();
    assert_eq!(lan7800().request(0xC0, 0xA2, 0, 188, &[]), Answer::Data(vec![0; 188]));
}

#[test]
fn where_data_gets_to_next_must_be_on_first() {
    let mut bench = lan7800();
    bench.write(0x104, 1);
    bench.assert_mistake("MAC_RX: on before its FIFO");
    let mut bench = lan7800();
    bench.write(0xC4, 1 << 31);
    bench.assert_mistake("FCT_TX_CTL: on before the MAC");
    running_lan7800().assert_no_mistakes();
}
