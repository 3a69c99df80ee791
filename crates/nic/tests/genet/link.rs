//! The link, the PHY, the address filter, and what a boot loader may have left.

use embassy_time::{Duration, Instant, Timer};
use nic::exchange::Groups;
use nic::genet::{Genet, Unknown};
use nic::{Link, MacAddress};
use testkit::dma::FakeDma;
use testkit::genet::Partner;
use testkit::mmio::{self, Block};

use crate::board::{GIGABIT, MAC, frame, on_board, wait};

#[test]
fn the_driver_knows_of_the_link_soon_after_the_phy() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            for _ in 0..20 {
                board.model.lock().phy.unplug();
                board.link_down().await;
                board.model.lock().phy.plug(Partner::GIGABIT);
                wait("the PHY has a link", || board.model.lock().phy.link().is_some()).await;
                let start = Instant::now();
                board.link_up().await;
                // The DHCP client has the rest of the 100 ms.
                assert!(start.elapsed() < Duration::from_millis(25), "{:?}", start.elapsed());
                board.assert_works().await;
            }
        },
    );
}

#[test]
fn a_link_that_is_there_already_is_not_negotiated_again() {
    on_board(
        |genet| {
            // As the boot loader's network boot leaves it, with half duplex at 1 Gbit/s offered too.
            genet.phy.leave(0x1140, 0x0de1, 0x0300, 0);
            genet.phy.negotiation = Duration::from_millis(0);
            genet.phy.plug(Partner::GIGABIT);
            genet.phy.negotiation = Duration::from_secs(3);
        },
        async |board| {
            let start = Instant::now();
            board.link_up().await;
            assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
            assert_eq!(board.model.lock().phy.restarts, 0);
        },
    );
}

#[test]
fn a_phy_that_was_left_otherwise_is_set_right() {
    for (control, offer, gigabit) in [
        // Forced to 100 Mbit/s; switched off; isolated; offering 10 Mbit/s only; offering no gigabit.
        (0x2100, 0x0de1, 0x0200),
        (0x1940, 0x0de1, 0x0200),
        (0x1540, 0x0de1, 0x0200),
        (0x1140, 0x0061, 0x0200),
        (0x1140, 0x0de1, 0x0000),
    ] {
        on_board(
            |genet| {
                genet.phy.leave(control, offer, gigabit, 0);
                genet.phy.plug(Partner::GIGABIT);
            },
            async |board| {
                wait("the link is at full speed", || board.exchange.link() == GIGABIT).await;
                assert_eq!(board.model.lock().phy.restarts, 1, "{control:#x} {offer:#x} {gigabit:#x}");
            },
        );
    }
}

#[test]
fn the_mac_follows_the_speed_of_each_partner() {
    on_board(
        |_| {},
        async |board| {
            for (partner, speed_mbps, is_full_duplex) in
                [(Partner::GIGABIT, 1000, true), (Partner::FAST, 100, true), (Partner::HUB, 10, false)]
            {
                board.model.lock().phy.unplug();
                board.link_down().await;
                board.model.lock().phy.plug(partner);
                board.link_up().await;
                assert_eq!(board.exchange.link(), Link::Up { speed_mbps, is_full_duplex });
                board.assert_works().await;
            }
            assert_eq!(board.model.lock().lost_by_setup, 0);
        },
    );
}

#[test]
fn a_link_that_flaps_a_thousand_times_still_works() {
    on_board(
        |genet| genet.phy.negotiation = Duration::from_millis(30),
        async |board| {
            board.link_up().await;
            for flap in 0..1000 {
                board.model.lock().phy.unplug();
                // Frames that are under way are lost or not; none gets stuck.
                if board.exchange.has_tx() {
                    board.send(&frame(MAC, 500, flap));
                }
                Timer::after_millis((flap % 70) as u64).await;
                board.model.lock().phy.plug(Partner::GIGABIT);
                if flap % 3 == 0 {
                    wait("the PHY has a link", || board.model.lock().phy.link().is_some()).await;
                    Timer::after_millis(25).await;
                }
            }
            board.assert_works().await;
            board.assert_no_leak(256).await;
            assert_eq!(board.exchange.counters().restarts, 0);
            assert!(board.exchange.counters().link_ups > 300);
        },
    );
}

#[test]
fn a_link_that_was_down_between_two_looks_counts_as_a_new_link() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            let before = board.exchange.counters().link_ups;
            board.model.lock().phy.glitch();
            Timer::after_millis(200).await;
            assert_eq!(board.exchange.counters().link_ups, before + 1);
            assert_eq!(board.event("nic_link_flap"), 1);
            board.assert_works().await;
        },
    );
}

#[test]
fn what_a_network_boot_left_running_is_stopped_first() {
    for is_sticky in [false, true] {
        on_board(
            |genet| genet.boot_from_network(is_sticky),
            async |board| {
                // The boot loader's buffers are no longer written to: the model would tell.
                for seed in 0..50 {
                    board.model.lock().receive(&frame(MacAddress([0xff; 6]), 60, seed));
                    Timer::after_micros(100).await;
                }
                board.link_up().await;
                for seed in 0..2000 {
                    let passing = frame(MAC, 60 + seed % 1000, seed);
                    board.model.lock().receive(&passing);
                    assert_eq!(board.receive().await, passing, "{seed}");
                    board.send(&passing);
                    assert_eq!(board.sent().await, passing, "{seed}");
                }
                let counters = board.exchange.counters();
                assert_eq!((counters.rx_dropped, counters.restarts), (0, 0), "the boot loader's losses are not ours");
                board.assert_no_leak(256).await;
            },
        );
    }
}

#[test]
fn groups_are_filtered_until_they_are_too_many() {
    let group = |n: u8| MacAddress([0x01, 0, 0x5e, 0, 0, n]);
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            let hears = async |to: MacAddress| {
                board.receive_all();
                board.model.lock().receive(&frame(to, 64, 1));
                Timer::after_millis(1).await;
                !board.receive_all().is_empty()
            };
            assert!(hears(group(1)).await, "nothing is known about groups yet: all are let through");
            for groups in [0, 1, 15] {
                board.exchange.set_groups(Groups::Some((0..groups).map(group).collect()));
                Timer::after_millis(1).await;
                for n in 0..20 {
                    assert_eq!(hears(group(n)).await, n < groups, "{groups} groups, {n}");
                }
                assert!(hears(MAC).await && hears(MacAddress([0xff; 6])).await);
                assert!(!hears(MacAddress([2, 0, 0, 0, 0, 9])).await, "a frame for another station");
            }
            board.exchange.set_groups(Groups::Some((0..16).map(group).collect()));
            Timer::after_millis(1).await;
            for n in 0..16 {
                assert!(hears(group(n)).await, "16 groups, {n}");
            }
            // And back. The filter survives a change of link.
            board.exchange.set_groups(Groups::Some(std::iter::once(group(3)).collect()));
            board.model.lock().phy.glitch();
            Timer::after_millis(200).await;
            assert!(hears(group(3)).await && !hears(group(4)).await);
            board.exchange.set_groups(Groups::All);
            board.model.lock().phy.glitch();
            Timer::after_millis(200).await;
            assert!(hears(group(4)).await);
        },
    );
}

#[test]
fn a_phy_at_another_address_is_found() {
    on_board(
        |genet| genet.phy.address = 17,
        async |board| {
            board.assert_works().await;
            assert!(board.model.lock().phy.has_delays_right());
        },
    );
}

/// A controller of another generation, or none at all.
struct Other(u32);

impl Block for Other {
    fn read(&mut self, offset: usize) -> u32 {
        assert_eq!(offset, 0, "only the revision is read");
        self.0
    }

    fn write(&mut self, offset: usize, _: u32) {
        unreachable!("write to {offset:#x} of an unknown controller");
    }
}

#[test]
fn an_unknown_controller_is_left_alone() {
    for revision in [0x0500_0000, 0x0000_0000, 0xffff_ffff, 0x0700_0000] {
        let (registers, _) = mmio::claim(Other(revision));
        let (_, _pool) = FakeDma::new(64);
        let error = Genet::identify(registers, MAC).err();
        assert_eq!(error, Some(Unknown { revision }));
        assert!(error.unwrap().to_string().contains("SYS_REV_CTRL"));
    }
}
