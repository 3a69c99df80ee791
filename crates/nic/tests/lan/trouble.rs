//! What goes wrong, and what becomes of it.

use crate::rig::{BOTH, BUFFERS, Chip, for_both_chips, on_node, to_node, wait};
use embassy_time::{Duration, Instant, Timer};
use nic::Link;
use nic::events::NicEvent;
use testkit::usb::{Kind, Node};
use usb::host::Speed;
use usb_models::nic::{Core, Descriptors, Partner, UsbSpeed};

for_both_chips! {
    damaged_frames_and_bursts_are_counted_and_the_next_one_arrives
    halted_endpoints_are_cleared
    a_receiver_that_hangs_is_noticed_and_healed
    a_stack_that_takes_no_frames_is_not_the_controllers_fault
    a_transmitter_that_hangs_is_noticed_and_healed
    a_chip_that_does_not_start_is_tried_ever_less_often_until_it_does
    a_chip_that_falls_silent_is_started_anew
    descriptors_without_what_is_needed_are_refused
    a_configuration_that_is_shorter_than_it_says_is_taken_as_it_is
    unplugging_it_in_the_middle_loses_no_buffer
}

fn damaged_frames_and_bursts_are_counted_and_the_next_one_arrives<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                rig.talk::<C>(0).await;
                // The chip drops what was damaged on the wire and counts it.
                rig.core::<C, _>(|core| core.faults.damaged_frames = 3);
                (0..3).for_each(|seed| rig.chip(|chip: &mut C| chip.receive(&to_node(100, seed))));
                rig.talk::<C>(1).await;
                wait(|| rig.event(NicEvent::RxCrc) == 3).await;
                let mut errors = rig.exchange.counters().rx_errors;
                for fault in 0..3 {
                    rig.core::<C, _>(|core| match fault {
                        0 => core.faults.bad_statuses = 1,
                        1 => core.faults.wrong_lengths = 1,
                        _ => core.faults.truncated_bursts = 1,
                    });
                    rig.chip(|chip: &mut C| chip.receive(&to_node(300, 7)));
                    wait(|| rig.exchange.counters().rx_errors > errors || rig.exchange.has_rx()).await;
                    errors = rig.exchange.counters().rx_errors;
                    // A wrong length may be one that a frame can have: then a frame arrives that is not what was sent.
                    while rig.exchange.take_rx().is_some() {}
                    for seed in 0..3 {
                        rig.talk::<C>(seed).await;
                    }
                }
                assert!(rig.exchange.counters().rx_errors >= 5, "{:?}", rig.exchange.counters());
                assert_eq!(rig.restarts(), 0);
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn halted_endpoints_are_cleared<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                rig.core::<C, _>(|core| core.faults.stalls = vec![0x81, 0x83]);
                rig.talk::<C>(1).await;
                rig.core::<C, _>(|core| core.set_partner(None));
                wait(|| !rig.exchange.link().is_up()).await;
                rig.core::<C, _>(|core| core.set_partner(Some(Partner::default())));
                rig.link_up().await;
                rig.talk::<C>(2).await;
                assert_eq!(rig.restarts(), 0);
                // What the chip was sent is one stream: when it is out of step, it is started anew.
                rig.core::<C, _>(|core| core.faults.stalls = vec![0x02]);
                rig.send(&to_node(80, 1));
                wait(|| rig.restarts() == 1).await;
                rig.link_up().await;
                rig.talk::<C>(3).await;
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn a_receiver_that_hangs_is_noticed_and_healed<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                rig.talk::<C>(1).await;
                rig.core::<C, _>(|core| core.faults.is_receiver_stuck = true);
                let start = Instant::now();
                while rig.restarts() == 0 {
                    assert!(start.elapsed() < Duration::from_secs(10), "nobody notices");
                    rig.chip(|chip: &mut C| chip.receive(&to_node(1514, 3)));
                    Timer::after_millis(5).await;
                }
                assert_eq!(rig.event(NicEvent::RxStall), 1);
                rig.link_up().await;
                while rig.exchange.take_rx().is_some() {}
                rig.talk::<C>(2).await;
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn a_stack_that_takes_no_frames_is_not_the_controllers_fault<C: Chip>() {
    on_node::<C, _>(
        Kind::Silicon,
        |_| {},
        async |rig| {
            rig.link_up().await;
            // A burst now and then is taken, with pauses of more than a second, while most are lost.
            for round in 0..600 {
                for i in 0..8 {
                    rig.chip(|chip: &mut C| chip.receive(&to_node(1514, i)));
                }
                if round / 75 % 2 == 0 {
                    drop(rig.exchange.take_rx());
                }
                Timer::after_millis(20).await;
            }
            assert_eq!((rig.restarts(), rig.event(NicEvent::RxStall)), (0, 0));
            assert!(rig.event(NicEvent::RxOverrun) > 0, "frames were lost");
        },
    );
}

fn a_transmitter_that_hangs_is_noticed_and_healed<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                rig.talk::<C>(1).await;
                // Few frames, one now and then: they fit in the chip, and nothing but its counters tells that they do not leave.
                rig.core::<C, _>(|core| core.faults.is_transmitter_stuck = true);
                for _ in 0..8 {
                    if rig.exchange.has_tx() && rig.restarts() == 0 {
                        rig.send(&to_node(80, 1));
                    }
                    Timer::after_millis(700).await;
                }
                wait(|| rig.restarts() == 1).await;
                assert_eq!(rig.event(NicEvent::TxStall), 1);
                rig.link_up().await;
                rig.talk::<C>(2).await;
                // Many: the chip takes no more.
                rig.core::<C, _>(|core| core.faults.is_transmitter_stuck = true);
                for _ in 0..3 {
                    while let Some(buffer) = rig.exchange.take_tx() {
                        buffer.send(1514, |to| to.copy_from_slice(&to_node(1514, 1)));
                    }
                    Timer::after_millis(100).await;
                }
                wait(|| rig.restarts() == 2).await;
                assert_eq!(rig.event(NicEvent::TxStall), 2);
                rig.link_up().await;
                rig.talk::<C>(3).await;
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn a_chip_that_does_not_start_is_tried_ever_less_often_until_it_does<C: Chip>() {
    for fault in 0..3 {
        let set = move |core: &mut Core, is_on| match fault {
            0 => core.faults.is_mii_stuck = is_on,
            1 => core.faults.is_phy_missing = is_on,
            _ => core.faults.is_reset_stuck = is_on,
        };
        on_node::<C, _>(
            Kind::Silicon,
            |chip| set(chip.core(), true),
            async |rig| {
                Timer::after_secs(70).await;
                let restarts = rig.restarts();
                assert!((4..=7).contains(&restarts), "fault {fault}: {restarts} restarts in 70 s");
                assert_eq!(rig.exchange.link(), Link::Absent);
                rig.core::<C, _>(|core| set(core, false));
                rig.link_up().await;
                rig.talk::<C>(1).await;
            },
        );
    }
}

fn a_chip_that_falls_silent_is_started_anew<C: Chip>() {
    for silence_s in [1, 5, 60] {
        on_node::<C, _>(
            Kind::Silicon,
            |_| {},
            async |rig| {
                rig.link_up().await;
                rig.talk::<C>(1).await;
                rig.core::<C, _>(|core| core.faults.is_silent = true);
                Timer::after_secs(silence_s).await;
                rig.core::<C, _>(|core| core.faults.is_silent = false);
                wait(|| rig.restarts() > 0).await;
                rig.link_up().await;
                rig.talk::<C>(2).await;
            },
        );
    }
}

fn descriptors_without_what_is_needed_are_refused<C: Chip>() {
    for wrong in [Descriptors::WithoutBulkIn, Descriptors::EmptyDescriptor] {
        on_node::<C, _>(
            Kind::Silicon,
            |chip| chip.core().faults.descriptors = wrong,
            async |rig| {
                Timer::after_secs(20).await;
                assert_eq!(rig.exchange.nic(), None, "{wrong:?}");
                rig.model.unplug_at(C::PLACE);
                Timer::after_secs(1).await;
                rig.model.plug_at(C::PLACE, Node::new(Speed::High, Box::new(C::make(UsbSpeed::High))));
                rig.link_up().await;
                rig.talk::<C>(1).await;
            },
        );
    }
}

fn a_configuration_that_is_shorter_than_it_says_is_taken_as_it_is<C: Chip>() {
    on_node::<C, _>(
        Kind::Silicon,
        |chip| chip.core().faults.descriptors = Descriptors::TooLong,
        async |rig| {
            rig.link_up().await;
            rig.talk::<C>(1).await;
        },
    );
}

fn unplugging_it_in_the_middle_loses_no_buffer<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                for round in 0..10 {
                    rig.link_up().await;
                    rig.talk::<C>(round).await;
                    for i in 0..8 {
                        rig.send(&to_node(1514, i));
                        rig.chip(|chip: &mut C| chip.receive(&to_node(1514, i)));
                    }
                    Timer::after_micros(round as u64 * 130).await;
                    rig.model.unplug_at(C::PLACE);
                    wait(|| rig.exchange.link() == Link::Absent).await;
                    Timer::after_millis(200).await;
                    while rig.exchange.take_rx().is_some() {}
                    rig.assert_no_buffer_is_missing();
                    rig.model.plug_at(C::PLACE, Node::new(Speed::High, Box::new(C::make(UsbSpeed::High))));
                }
                rig.link_up().await;
                let all: Vec<_> = std::iter::from_fn(|| rig.exchange.take_tx()).collect();
                assert_eq!(all.len(), BUFFERS);
            },
        );
    }
}
