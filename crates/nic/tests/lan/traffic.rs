//! What passes, and over which link.

use crate::rig::{BOTH, BUFFERS, Chip, MAC, for_both_chips, on_node, on_node_with_buffers, to_node, wait};
use embassy_time::{Duration, Instant, Timer};
use nic::Link;
use testkit::usb::{Kind, Node};
use usb::host::Speed;
use usb_models::nic::{Descriptors, Partner, UsbSpeed};

for_both_chips! {
    it_comes_up_with_the_boards_address_and_the_link_as_negotiated
    a_link_is_used_within_a_tenth_of_a_second
    duplex_and_pauses_follow_the_partner
    a_link_that_flaps_a_thousand_times_costs_nothing
    a_link_without_traffic_costs_next_to_nothing
    it_works_without_an_interrupt_endpoint
    frames_of_every_length_pass_both_ways
    what_comes_in_a_burst_arrives_in_order
    short_receive_buffers_get_short_bursts_or_single_frames
    what_waits_to_be_sent_goes_out_together
    it_works_at_full_speed
}

fn it_comes_up_with_the_boards_address_and_the_link_as_negotiated<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                let info = rig.exchange.nic().unwrap();
                assert_eq!((info.driver, info.mac), (C::DRIVER, MAC));
                assert_eq!(rig.exchange.link(), Link::Up { speed_mbps: C::SPEED_MBPS, is_full_duplex: true });
                rig.talk::<C>(1).await;
                rig.assert_no_mistakes::<C>();
                assert_eq!(rig.restarts(), 0);
            },
        );
    }
}

fn a_link_is_used_within_a_tenth_of_a_second<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                for round in 0..20 {
                    rig.core::<C, _>(|core| core.set_partner(None));
                    wait(|| !rig.exchange.link().is_up()).await;
                    Timer::after_micros(round * 3_777).await;
                    rig.core::<C, _>(|core| core.set_partner(Some(Partner::default())));
                    wait(|| rig.core::<C, _>(|core| core.link().is_some())).await;
                    let since = Instant::now();
                    rig.link_up().await;
                    assert!(
                        since.elapsed() < Duration::from_millis(80),
                        "{kind:?}: {} ms",
                        since.elapsed().as_millis()
                    );
                }
            },
        );
    }
}

fn duplex_and_pauses_follow_the_partner<C: Chip>() {
    on_node::<C, _>(
        Kind::Silicon,
        |_| {},
        async |rig| {
            for (speed_mbps, is_full_duplex, has_pause) in
                [(10, false, false), (10, true, true), (100, false, true), (100, true, false), (100, true, true)]
            {
                rig.core::<C, _>(|core| core.set_partner(None));
                wait(|| !rig.exchange.link().is_up()).await;
                rig.core::<C, _>(|core| core.set_partner(Some(Partner { speed_mbps, is_full_duplex, has_pause })));
                rig.link_up().await;
                assert_eq!(rig.exchange.link(), Link::Up { speed_mbps, is_full_duplex });
                rig.talk::<C>(3).await;
                // The model looks at the duplex mode some time after the link came up.
                Timer::after_secs(2).await;
                rig.talk::<C>(4).await;
            }
            rig.assert_no_mistakes::<C>();
        },
    );
}

fn a_link_that_flaps_a_thousand_times_costs_nothing<C: Chip>() {
    on_node::<C, _>(
        Kind::Silicon,
        |chip| chip.core().set_negotiation_time(5_000),
        async |rig| {
            rig.link_up().await;
            for round in 0..1000_u64 {
                rig.core::<C, _>(|core| core.set_partner(None));
                Timer::after_micros(2_000 + round * 37 % 40_000).await;
                rig.core::<C, _>(|core| core.set_partner(Some(Partner::default())));
                Timer::after_micros(8_000 + round * 53 % 40_000).await;
            }
            rig.link_up().await;
            Timer::after_secs(3).await;
            rig.link_up().await;
            rig.talk::<C>(5).await;
            assert!(rig.exchange.counters().link_ups > 100);
            assert_eq!(rig.restarts(), 0);
            rig.assert_no_mistakes::<C>();
        },
    );
}

fn a_link_without_traffic_costs_next_to_nothing<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                Timer::after_secs(5).await;
                let before = rig.model.accesses();
                Timer::after_secs(10).await;
                // A real controller asks a bulk endpoint that has nothing again by itself. What is left is a poll of the interrupt
                // endpoints every 66 ms or more, and the housekeeping of every second: some 15 control requests.
                let per_second = (rig.model.accesses() - before) / 10;
                assert!(per_second < 1000, "{kind:?}: {per_second} register accesses per second");
            },
        );
    }
}

fn it_works_without_an_interrupt_endpoint<C: Chip>() {
    on_node::<C, _>(
        Kind::Silicon,
        |chip| chip.core().faults.descriptors = Descriptors::WithoutInterrupt,
        async |rig| {
            rig.link_up().await;
            rig.core::<C, _>(|core| core.set_partner(None));
            wait(|| !rig.exchange.link().is_up()).await;
            rig.core::<C, _>(|core| core.set_partner(Some(Partner::default())));
            rig.link_up().await;
            rig.talk::<C>(1).await;
            rig.assert_no_mistakes::<C>();
        },
    );
}

fn frames_of_every_length_pass_both_ways<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                for len in (60..1514).step_by(13).chain([504, 505, 506, 502, 1016, 1014, 1513, 1514]) {
                    let frame = to_node(len, len);
                    rig.chip(|chip: &mut C| chip.receive(&frame));
                    assert_eq!(rig.receive().await, frame, "{kind:?} {len}");
                    rig.send(&frame);
                    assert_eq!(rig.sent::<C>().await, frame, "{kind:?} {len}");
                }
                // Short ones are padded on the wire.
                rig.send(&to_node(42, 1));
                assert_eq!(rig.sent::<C>().await.len(), 60);
                let counters = rig.exchange.counters();
                assert_eq!((counters.rx_errors, counters.tx_errors, counters.rx_dropped), (0, 0, 0));
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn what_comes_in_a_burst_arrives_in_order<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                let mut expected = 0;
                for round in 0..40_usize {
                    let lens: Vec<usize> = (0..12).map(|i| 60 + (round * 331 + i * 97) % 700).collect();
                    for (i, len) in lens.iter().enumerate() {
                        rig.chip(|chip: &mut C| chip.receive(&to_node(*len, round + i)));
                    }
                    for (i, len) in lens.iter().enumerate() {
                        assert_eq!(rig.receive().await, to_node(*len, round + i), "{kind:?} {round} {i}");
                        expected += 1;
                    }
                }
                assert_eq!(rig.exchange.counters().rx_frames, expected);
                assert!(rig.core::<C, _>(|core| core.seen().burst_frames_max) > 4);
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn short_receive_buffers_get_short_bursts_or_single_frames<C: Chip>() {
    for kind in BOTH {
        for rx_buffer_len in [2048, 4096, 8192] {
            on_node_with_buffers::<C, _>(
                kind,
                rx_buffer_len,
                |_| {},
                async |rig| {
                    rig.link_up().await;
                    for round in 0..20_usize {
                        let frames: Vec<_> = (0..7).map(|i| to_node(1514 - (round * 97 + i * 31) % 1400, i)).collect();
                        frames.iter().for_each(|frame| rig.chip(|chip: &mut C| chip.receive(frame)));
                        for frame in &frames {
                            assert_eq!(&rig.receive().await, frame, "{kind:?} {rx_buffer_len} {round}");
                        }
                    }
                    assert!(rig.core::<C, _>(|core| core.seen().burst_len_max) <= rx_buffer_len as u64);
                    assert_eq!(rig.exchange.counters().rx_errors, 0);
                    rig.assert_no_mistakes::<C>();
                },
            );
        }
    }
}

fn what_waits_to_be_sent_goes_out_together<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                for round in 0..20_usize {
                    let frames: Vec<_> =
                        (0..BUFFERS).map(|i| to_node(60 + (round * 211 + i * 131) % 1450, i)).collect();
                    frames.iter().for_each(|frame| rig.send(frame));
                    for frame in &frames {
                        assert_eq!(&rig.sent::<C>().await, frame, "{kind:?} {round}");
                    }
                }
                assert!(rig.core::<C, _>(|core| core.seen().batch_frames_max) > 3);
                let counters = rig.exchange.counters();
                assert_eq!((counters.tx_frames, counters.tx_errors), (20 * BUFFERS as u64, 0));
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}

fn it_works_at_full_speed<C: Chip>() {
    for kind in BOTH {
        on_node::<C, _>(
            kind,
            |_| {},
            async |rig| {
                rig.link_up().await;
                rig.model.unplug_at(C::PLACE);
                wait(|| rig.exchange.link() == Link::Absent).await;
                rig.model.plug_at(C::PLACE, Node::new(Speed::Full, Box::new(C::make(UsbSpeed::Full))));
                rig.link_up().await;
                for seed in 0..20 {
                    rig.talk::<C>(seed).await;
                }
                for i in 0..6 {
                    rig.chip(|chip: &mut C| chip.receive(&to_node(60 + 100 * i, i)));
                }
                for i in 0..6 {
                    assert_eq!(rig.receive().await, to_node(60 + 100 * i, i), "{kind:?}");
                }
                rig.assert_no_mistakes::<C>();
            },
        );
    }
}
