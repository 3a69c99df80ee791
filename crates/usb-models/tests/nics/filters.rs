//! Which frames a chip wants.

use usb_models::lan7800::Lan7800;
use usb_models::lan9514::Lan9514;
use usb_models::nic::NicModel;

use crate::bench::{Bench, OWN, frame, running_lan7800, running_lan9514};

const BROADCAST: [u8; 6] = [0xFF; 6];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// All hosts, and mDNS.
const ALL_HOSTS: [u8; 6] = [1, 0, 0x5E, 0, 0, 1];
const MDNS: [u8; 6] = [1, 0, 0x5E, 0, 0, 0xFB];

/// Says which of own, broadcast, other, all hosts and mDNS are received.
fn wants(nic: &mut impl NicModel) -> [bool; 5] {
    [OWN, BROADCAST, OTHER, ALL_HOSTS, MDNS].map(|to| {
        let before = nic.core().seen().received;
        nic.receive(&frame(to, 100, 1));
        nic.core().seen().received > before
    })
}

#[test]
fn the_lan9514_filters_as_mac_cr_says() {
    const ON: u32 = 1 << 20 | 1 << 3 | 1 << 2;
    let mut bench: Bench<Lan9514> = running_lan9514();
    assert_eq!(wants(&mut bench.nic), [true, true, false, false, false]);
    for (bits, expected) in [
        (1 << 18, [true; 5]),
        (1 << 19, [true, true, false, true, true]),
        (1 << 11, [true, false, false, false, false]),
        (1 << 13, [true, true, false, true, false]),
        // Everything by the hash, also one's own address.
        (1 << 15, [false, true, false, true, false]),
        // Inverse.
        (1 << 17, [false, true, true, true, true]),
    ] {
        // Bit 31, where 01:00:5E:00:00:01 falls (Linux smsc95xx_hash).
        bench.write(0x110, 1 << 31);
        bench.write(0x100, ON | bits);
        assert_eq!(wants(&mut bench.nic), expected, "{bits:#x}");
    }
    bench.assert_no_mistakes();
}

#[test]
fn the_lan7800_filters_as_rfe_ctl_says() {
    let mut bench: Bench<Lan7800> = running_lan7800();
    assert_eq!(wants(&mut bench.nic), [true, true, false, false, false]);
    for (bits, expected) in [
        (0, [false; 5]),
        (1 << 8, [true, false, true, false, false]),
        (1 << 9, [false, false, false, true, true]),
        (1 << 10, [false, true, false, false, false]),
    ] {
        bench.write(0xB0, bits);
        assert_eq!(wants(&mut bench.nic), expected, "{bits:#x}");
    }
    // A second perfect filter, for a group.
    bench.write(0x40C, u32::from_le_bytes([MDNS[0], MDNS[1], MDNS[2], MDNS[3]]));
    bench.write(0x408, 1 << 31 | u32::from_le_bytes([MDNS[4], MDNS[5], 0, 0]));
    bench.write(0xB0, 1 << 1);
    assert_eq!(wants(&mut bench.nic), [true, false, false, false, true]);
    bench.assert_no_mistakes();
}

#[test]
fn the_lan7800_has_its_hash_table_behind_the_data_port() {
    let mut bench = running_lan7800();
    // The nine upper bits of the CRC of 01:00:5E:00:00:01; the upper six are 31.
    for low in 0..8 {
        let bit: u32 = 31 << 3 | low;
        bench.write(0x24, 1);
        bench.write(0x2C, 128 + bit / 32);
        bench.write(0x30, 0xFF << (bit % 32 / 8 * 8));
        bench.write(0x28, 1);
        bench.pass(20);
        while bench.read(0x24) >> 31 == 0 {
            bench.pass(20);
        }
    }
    bench.write(0xB0, 1 << 3);
    assert_eq!(wants(&mut bench.nic), [false, false, false, true, false]);
    bench.assert_no_mistakes();
}
