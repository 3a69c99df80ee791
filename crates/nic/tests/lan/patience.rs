//! A pulled cable under load, counters that are odd or missing, a PHY that is late: no reason to start a chip anew.

use crate::rig::{BOTH, Chip, for_both_chips, on_node, to_node};
use embassy_time::{Duration, Instant, Timer};
use nic::events::NicEvent;
use testkit::usb::Kind;
use usb_models::nic::Partner;

for_both_chips! {
    a_cable_that_is_pulled_under_load_costs_no_restart
    what_a_chip_counts_wrong_is_no_stall
    a_chip_without_statistics_works
    a_phy_that_answers_late_is_waited_for
}

fn a_cable_that_is_pulled_under_load_costs_no_restart<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |chip| chip.core().faults.waits_for_link = true,
            async |rig| {
                let load = async || {
                    while let Some(buffer) = rig.exchange.take_tx() {
                        buffer.send(1514, |to| to.copy_from_slice(&to_node(1514, 1)));
                    }
                    while rig.chip(|chip: &mut C| chip.take_sent()).is_some() {}
                    Timer::after_millis(5).await;
                };
                rig.link_up().await;
                for down_ms in [50, 300, 900, 2_000, 7_000, 40_000] {
                    rig.core::<C, _>(|core| core.set_partner(None));
                    let until = Instant::now() + Duration::from_millis(down_ms);
                    while Instant::now() < until {
                        load().await;
                    }
                    rig.core::<C, _>(|core| core.set_partner(Some(Partner::default())));
                    while rig.core::<C, _>(|core| core.link().is_none()) {
                        load().await;
                    }
                    let before = rig.exchange.counters().tx_frames;
                    let since = Instant::now();
                    while !rig.exchange.link().is_up() || rig.exchange.counters().tx_frames < before + 20 {
                        load().await;
                        assert!(since.elapsed() < Duration::from_secs(1), "{kind:?}: after {down_ms} ms");
                    }
                }
                assert_eq!((rig.restarts(), rig.event(NicEvent::TxStall)), (0, 0), "{kind:?}");
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn what_a_chip_counts_wrong_is_no_stall<C: Chip>() {
    for has_no_statistics in [false, true] {
        on_node::<C, _>(
            Kind::Silicon,
            |chip| {
                chip.core().faults.phantom_bytes = 512;
                chip.core().faults.has_no_statistics = has_no_statistics;
            },
            async |rig| {
                rig.link_up().await;
                for round in 0..20 {
                    rig.talk::<C>(round).await;
                    // Some that turn up later, while nothing is sent and while something is.
                    rig.core::<C, _>(|core| core.faults.phantom_bytes = if round < 10 { 512 } else { 516 });
                    Timer::after_millis(if round % 10 < 5 { 4_000 } else { 300 }).await;
                }
                assert_eq!((rig.restarts(), rig.event(NicEvent::TxStall)), (0, 0));
            },
        );
    }
}

fn a_chip_without_statistics_works<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |chip| chip.core().faults.has_no_statistics = true,
            async |rig| {
                rig.link_up().await;
                for seed in 0..10 {
                    rig.talk::<C>(seed).await;
                    Timer::after_secs(1).await;
                }
                assert_eq!(rig.restarts(), 0);
                // That it no longer sends is still seen.
                rig.core::<C, _>(|core| core.faults.is_transmitter_stuck = true);
                while rig.restarts() == 0 {
                    if rig.exchange.has_tx() {
                        rig.send(&to_node(80, 1));
                    }
                    Timer::after_millis(700).await;
                }
                assert_eq!(rig.event(NicEvent::TxStall), 1);
            },
        );
    }
}

fn a_phy_that_answers_late_is_waited_for<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |chip| chip.core().faults.unanswered_phy_reads = 21,
            async |rig| {
                rig.link_up().await;
                rig.talk::<C>(1).await;
                assert_eq!(rig.restarts(), 0);
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}
