//! The cable, as the driver sees it through the PHY and the interrupt endpoint.

use usb_models::device::{Answer, Function};
use usb_models::nic::{NicModel, Partner};

use crate::bench::{lan7800, lan9514};

/// Addresses of the MII in the two chips.
const MII_9514: u16 = 0x114;
const MII_7800: u16 = 0x120;

#[test]
fn negotiation_takes_its_time_and_says_what_came_of_it() {
    let mut bench = lan9514();
    assert_eq!(bench.read_phy(MII_9514, 1) & 0x24, 0, "neither link nor negotiation");
    bench.pass(1_600_000);
    assert_eq!(bench.read_phy(MII_9514, 1) & 0x20, 0x20, "negotiated; the link's loss at power-on is latched");
    assert_eq!(bench.read_phy(MII_9514, 1) & 0x24, 0x24);
    assert_eq!(bench.read_phy(MII_9514, 5) & 0x01E0, 0x01E0);
    // 100 Mbit/s, full duplex.
    assert_eq!(bench.read_phy(MII_9514, 31) >> 2 & 7, 0b110);
    bench.assert_no_mistakes();
}

#[test]
fn the_interrupt_endpoint_tells_of_the_link_until_the_phy_is_asked() {
    let mut bench = lan9514();
    bench.write_phy(MII_9514, 30, 0x50);
    bench.write(0x68, 1 << 15);
    assert_eq!(bench.nic.on_in(0x83, 16), Answer::Nak);
    bench.pass(2_000_000);
    let told = Answer::Data((1_u32 << 15).to_le_bytes().to_vec());
    assert_eq!(bench.nic.on_in(0x83, 16), told);
    bench.write(0x08, 0xFFFF_FFFF);
    assert_eq!(bench.nic.on_in(0x83, 16), told, "the PHY still wants something");
    assert_eq!(bench.read_phy(MII_9514, 29) & 0x40, 0x40);
    assert_eq!(bench.nic.on_in(0x83, 16), Answer::Nak);
    bench.nic.core().set_partner(None);
    assert_eq!(bench.nic.on_in(0x83, 16), told);
    bench.assert_no_mistakes();
}

#[test]
fn gigabit_is_negotiated_and_told() {
    let mut bench = lan7800();
    bench.write_phy(MII_7800, 25, 0xA400);
    bench.write(0x98, 1 << 17);
    bench.pass(2_000_000);
    assert_eq!(bench.nic.on_in(0x83, 16), Answer::Data((1_u32 << 17).to_le_bytes().to_vec()));
    bench.read_phy(MII_7800, 26);
    assert_eq!(bench.nic.on_in(0x83, 16), Answer::Nak);
    bench.read_phy(MII_7800, 1);
    assert_eq!(bench.read_phy(MII_7800, 1) & 0x24, 0x24);
    assert_eq!(bench.read_phy(MII_7800, 10) & 0x0800, 0x0800);
    bench.nic.core().set_partner(Some(Partner { speed_mbps: 100, ..Partner::default() }));
    bench.pass(2_000_000);
    assert_eq!(bench.read_phy(MII_7800, 10), 0);
    assert_eq!(bench.nic.core().link().map(|link| link.speed_mbps), Some(100));
    bench.assert_no_mistakes();
}

#[test]
fn a_missing_phy_reads_as_ones() {
    let mut bench = lan9514();
    bench.nic.core().faults.is_phy_missing = true;
    assert_eq!(bench.read_phy(MII_9514, 2), 0xFFFF);
}

#[test]
fn a_stuck_mii_stays_busy() {
    let mut bench = lan7800();
    bench.nic.core().faults.is_mii_stuck = true;
    bench.write(MII_7800, 1 << 11 | 1 << 6 | 1);
    bench.pass(1_000_000);
    assert_eq!((bench.read(MII_7800) & 1, bench.read(MII_7800) & 1), (1, 1));
}
