//! Transfers on the channels of the controller, over the model of its registers: each error, deadlines, and what a frame
//! costs.

use crate::fixture::{BOTH, Setup, on_bus, pattern, pipes, plug};
use embassy_futures::join::join_array;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use testkit::usb::ecm::Ecm;
use testkit::usb::hub::Hub;
use testkit::usb::{Fault, Kind, Model, Node};
use usb::device::Pipe;
use usb::host::{Direction, Kind as EndpointKind, Speed, TransferError};
use usb::setup::Setup as ControlRequest;

#[test]
fn data_of_every_length_arrives_as_it_was_sent() {
    for kind in BOTH {
        on_bus(kind, plug, async |Setup { model, bus, mut pool, .. }| {
            let device = bus.next_device().await;
            let (receive, send) = pipes(&device);
            let (mut to, mut from) = (Some(pool.take(2048).unwrap()), Some(pool.take(2048).unwrap()));
            for len in [1, 63, 64, 65, 511, 512, 513, 1023, 1024, 1025, 1514, 1536, 2047] {
                let data = pattern(len);
                let mut buffer = to.take().unwrap();
                buffer.bytes_mut()[..len].copy_from_slice(&data);
                let done = send.start(buffer, len, None).await;
                assert_eq!(done.result, Ok(len), "{kind:?} {len}");
                to = done.buffer;
                if len % 512 == 0 {
                    let done = send.start(to.take().unwrap(), 0, None).await;
                    assert_eq!(done.result, Ok(0));
                    to = done.buffer;
                }
                assert_eq!(model.with(&[], |ecm: &mut Ecm| ecm.from_node.pop()), Some(data.clone()), "{kind:?} {len}");

                model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(data.clone()));
                let done = receive.start(from.take().unwrap(), 2048, None).await;
                assert_eq!(done.result, Ok(len), "{kind:?} {len}");
                let buffer = done.buffer.unwrap();
                assert_eq!(&buffer.bytes()[..len], data, "{kind:?} {len}");
                from = Some(buffer);
                if len % 512 == 0 && kind == Kind::Emulator {
                    // The empty packet comes by itself there: the model ends a transfer with each of the device's.
                    let done = receive.start(from.take().unwrap(), 2048, None).await;
                    assert_eq!(done.result, Ok(0));
                    from = done.buffer;
                }
            }
        });
    }
}

#[test]
fn a_receive_waits_until_there_is_something() {
    for kind in BOTH {
        on_bus(kind, plug, async |Setup { model, bus, mut pool, .. }| {
            let device = bus.next_device().await;
            let (receive, _) = pipes(&device);
            let mut waiting = std::pin::pin!(receive.start(pool.take(2048).unwrap(), 2048, None));
            assert!(with_timeout(Duration::from_secs(3), waiting.as_mut()).await.is_err());
            model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(100)));
            // An idle device is asked every 65.5 ms on the emulator.
            let done = with_timeout(Duration::from_millis(66), waiting).await.unwrap();
            assert_eq!(done.result, Ok(100));
        });
    }
}

#[test]
fn a_conversation_is_answered_within_a_millisecond_on_the_emulator() {
    on_bus(Kind::Emulator, plug, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        let mut buffer = Some(pool.take(2048).unwrap());
        let mut reply = Some(pool.take(2048).unwrap());
        model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(60)));
        for pause_ms in [0, 3, 30, 1000, 2000] {
            let transfer = receive.start(buffer.take().unwrap(), 2048, None);
            let done = transfer.await;
            buffer = done.buffer;
            reply = send.start(reply.take().unwrap(), 60, None).await.buffer;
            let transfer = receive.start(buffer.take().unwrap(), 2048, None);
            let sent_at = Instant::now() + Duration::from_millis(pause_ms);
            let push = async {
                Timer::at(sent_at).await;
                model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(60)));
            };
            let (done, ()) = embassy_futures::join::join(transfer, push).await;
            assert!(sent_at.elapsed() < Duration::from_millis(1), "{pause_ms} ms: {}", sent_at.elapsed());
            buffer = done.buffer;
            model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(60)));
        }
    });
}

#[test]
fn nothing_is_left_running_in_the_emulator_while_the_node_waits() {
    on_bus(Kind::Emulator, plug, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (receive, _) = pipes(&device);
        let waiting = receive.start(pool.take(2048).unwrap(), 2048, None);
        let watch = async {
            for _ in 0..1000 {
                Timer::after_micros(333).await;
                assert_eq!(model.enabled_channels(), 0);
            }
        };
        assert!(with_timeout(Duration::from_secs(1), embassy_futures::join::join(waiting, watch)).await.is_err());
    });
}

/// Each access is a way out of the emulator, a microsecond or more: this is what throughput is made of.
#[test]
fn a_frame_costs_five_register_accesses_to_send_and_six_to_receive_on_the_emulator() {
    on_bus(Kind::Emulator, plug, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        let before = model.accesses();
        let done = send.start(pool.take(2048).unwrap(), 1514, None).await;
        assert_eq!((done.result, model.accesses() - before), (Ok(1514), 5));
        model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(1514)));
        let before = model.accesses();
        let done = receive.start(pool.take(2048).unwrap(), 2048, None).await;
        assert_eq!((done.result, model.accesses() - before), (Ok(1514), 6));
    });
}

#[test]
fn errors_are_told_apart() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        let mut buffer = Some(pool.take(2048).unwrap());
        for (fault, error) in [
            (Fault::Stall, TransferError::Stall),
            (Fault::Babble, TransferError::Babble),
            (Fault::Dma, TransferError::Dma { hcint: 6 }),
        ] {
            model.fail(device.address(), 0x82, &[fault]);
            let done = receive.start(buffer.take().unwrap(), 2048, None).await;
            assert_eq!(done.result, Err(error));
            buffer = done.buffer;
        }
        // Two strikes are forgiven, three are not.
        for (strikes, is_ok) in [(2, true), (3, false)] {
            for fault in [Fault::NoAnswer, Fault::Toggle] {
                model.fail(device.address(), 2, &vec![fault; strikes]);
                let done = send.start(buffer.take().unwrap(), 1500, None).await;
                assert_eq!(done.result.is_ok(), is_ok, "{strikes} {fault:?}: {:?}", done.result);
                if !is_ok {
                    assert!(matches!(done.result, Err(TransferError::Transaction { .. })));
                }
                buffer = done.buffer;
            }
        }
        assert_eq!(model.faults_left(), 0);
        assert_eq!(controller.counters().transaction_errors, 10);
    });
}

#[test]
fn a_channel_that_cannot_reach_memory_halts_before_its_buffer_comes_back() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        model.fail(device.address(), 0x82, &[Fault::DmaGoesOn]);
        let before = model.enabled_channels();
        let done = receive.start(pool.take(2048).unwrap(), 2048, None).await;
        assert_eq!(done.result, Err(TransferError::Dma { hcint: 4 }));
        assert!(done.buffer.is_some());
        assert_eq!(model.enabled_channels(), before, "the channel may still write to the buffer");
        assert_eq!(controller.counters().stuck_channels, 0);
        // One that doesn't even halt keeps the buffer.
        model.fail(device.address(), 0x82, &[Fault::DmaGoesOn, Fault::Hang]);
        let done = receive.start(done.buffer.unwrap(), 2048, None).await;
        assert_eq!(done.result, Err(TransferError::Dma { hcint: 4 }));
        assert!(done.buffer.is_none());
        assert_eq!((controller.counters().stuck_channels, model.faults_left()), (1, 0));
        assert_eq!(send.start(pool.take(64).unwrap(), 64, None).await.result, Ok(64));
    });
}

#[test]
fn flow_control_loses_and_repeats_nothing() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (_, send) = pipes(&device);
        let faults = [Fault::Nyet, Fault::Nak, Fault::Nyet, Fault::NoAnswer, Fault::Nyet];
        model.fail(device.address(), 2, &faults);
        let mut buffer = pool.take(2048).unwrap();
        buffer.bytes_mut()[..2000].copy_from_slice(&pattern(2000));
        let done = send.start(buffer, 2000, None).await;
        assert_eq!((done.result, model.faults_left()), (Ok(2000), 0));
        assert_eq!(model.with(&[], |ecm: &mut Ecm| ecm.from_node.clone()), [pattern(2000)]);
    });
}

#[test]
fn a_stalled_endpoint_works_again_after_its_halt_is_cleared() {
    for kind in BOTH {
        on_bus(kind, plug, async |Setup { model, bus, mut pool, .. }| {
            let device = bus.next_device().await;
            let (receive, _) = pipes(&device);
            // An odd number of packets first, so that the toggle is not where it starts.
            model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(100)));
            let done = receive.start(pool.take(2048).unwrap(), 2048, None).await;
            model.with(&[], |ecm: &mut Ecm| ecm.is_halted = true);
            let done = receive.start(done.buffer.unwrap(), 2048, None).await;
            assert_eq!(done.result, Err(TransferError::Stall));
            receive.clear_halt(&device).await.unwrap();
            model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(200)));
            let done = receive.start(done.buffer.unwrap(), 2048, None).await;
            assert_eq!(done.result, Ok(200));
        });
    }
}

#[test]
fn a_deadline_ends_a_transfer_and_gives_its_buffer_back() {
    for kind in BOTH {
        on_bus(kind, plug, async |Setup { bus, mut pool, .. }| {
            let device = bus.next_device().await;
            let (receive, _) = pipes(&device);
            let start = Instant::now();
            let deadline = Some(start + Duration::from_millis(200));
            let done = receive.start(pool.take(2048).unwrap(), 2048, deadline).await;
            assert_eq!(done.result, Err(TransferError::Timeout), "{kind:?}");
            assert!(done.buffer.is_some());
            let took = start.elapsed().as_millis();
            assert!((200..215).contains(&took), "{took}");
        });
    }
}

#[test]
fn a_channel_that_does_not_halt_is_given_up_and_the_others_go_on() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        model.fail(device.address(), 0x82, &[Fault::Hang]);
        let deadline = Some(Instant::now() + Duration::from_millis(10));
        let done = receive.start(pool.take(2048).unwrap(), 2048, deadline).await;
        assert_eq!(done.result, Err(TransferError::Timeout));
        assert!(done.buffer.is_none(), "the controller may still write to it");
        assert_eq!(controller.counters().stuck_channels, 1);
        let mut buffer = Some(pool.take(2048).unwrap());
        for _ in 0..20 {
            let done = send.start(buffer.take().unwrap(), 100, None).await;
            assert_eq!(done.result, Ok(100));
            buffer = done.buffer;
        }
    });
}

#[test]
fn bits_that_come_after_a_halt_are_no_news_of_the_next_transfer() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (_, send) = pipes(&device);
        let mut buffer = pool.take(64);
        // More than once around the channels.
        for _ in 0..20 {
            model.fail(device.address(), 2, &[Fault::LateBits]);
            let done = send.start(buffer.take().unwrap(), 60, None).await;
            assert_eq!(done.result, Ok(60));
            buffer = done.buffer;
            Timer::after_millis(1).await;
        }
        assert_eq!(model.with(&[], |ecm: &mut Ecm| ecm.from_node.len()), 20);
    });
}

#[test]
fn a_channel_that_halts_without_telling_is_found_out_at_the_deadline() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, _) = pipes(&device);
        model.fail(device.address(), 0x82, &[Fault::SilentHalt]);
        let start = Instant::now();
        let done = receive.start(pool.take(2048).unwrap(), 2048, Some(start + Duration::from_millis(20))).await;
        // The model panics when a channel is told to halt that is not enabled.
        assert_eq!((done.result, done.buffer.is_some()), (Err(TransferError::Timeout), true));
        assert!(start.elapsed() < Duration::from_millis(21), "there is nothing to wait for");
        assert_eq!(controller.counters().stuck_channels, 0);
    });
}

#[test]
fn what_a_stuck_channel_kept_comes_back_when_it_halts() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        for round in 1..=20 {
            model.fail(device.address(), 0x82, &[Fault::Hang]);
            let deadline = Some(Instant::now() + Duration::from_millis(10));
            let buffer = if round == 1 { pool.take(2048) } else { bus.take_returned(2048) };
            let done = receive.start(buffer.unwrap(), 2048, deadline).await;
            assert_eq!((done.result, done.buffer.is_none()), (Err(TransferError::Timeout), true));
            assert!(bus.take_returned(2048).is_none(), "the controller may still write to it");
            model.release_hung();
            Timer::after_millis(1).await;
            assert!(bus.take_returned(1024).is_none(), "somebody else's");
        }
        assert_eq!(controller.counters().stuck_channels, 20);
        let done = send.start(bus.take_returned(2048).unwrap(), 100, None).await;
        assert_eq!(done.result, Ok(100));
    });
}

#[test]
fn a_stuck_channel_keeps_no_buffer_once_the_port_is_disabled() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, _) = pipes(&device);
        model.fail(device.address(), 0x82, &[Fault::Hang]);
        let pull = async {
            Timer::after_millis(5).await;
            model.unplug();
        };
        let (done, ()) = embassy_futures::join::join(receive.start(pool.take(2048).unwrap(), 2048, None), pull).await;
        assert_eq!((done.result, done.buffer.is_some()), (Err(TransferError::Gone), true));
        assert_eq!(controller.counters().stuck_channels, 1);
    });
}

#[test]
fn requests_go_on_after_the_controller_kept_their_buffers() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, .. }| {
        let device = bus.next_device().await;
        let ask = async || {
            let mut bytes = [0; 18];
            device.control_in(ControlRequest::get_descriptor(1, 0, 0), &mut bytes).await
        };
        // A data stage and a status stage that hang.
        model.fail(device.address(), 0x80, &[Fault::Hang]);
        assert_eq!(ask().await, Err(TransferError::Timeout));
        assert_eq!(ask().await, Ok(18));
        model.fail(device.address(), 0, &[Fault::Hang]);
        assert_eq!(ask().await, Err(TransferError::Timeout));
        assert_eq!(ask().await, Ok(18));
        model.release_hung();
        // Again and again, as long as the channels halt in the end.
        for _ in 0..20 {
            model.fail(device.address(), 0x80, &[Fault::Hang]);
            assert_eq!(ask().await, Err(TransferError::Timeout));
            model.release_hung();
            assert_eq!(ask().await, Ok(18));
        }
    });
}

#[test]
fn a_transfer_that_the_emulators_device_holds_is_completed_by_an_interrupt() {
    on_bus(Kind::Emulator, plug, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (receive, _) = pipes(&device);
        model.hold(0x82);
        let mut buffer = Some(pool.take(2048).unwrap());
        for _ in 0..20 {
            let waiting = receive.start(buffer.take().unwrap(), 2048, None);
            let later = async {
                Timer::after_secs(4).await;
                model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(300)));
                Instant::now()
            };
            let (done, at) = embassy_futures::join::join(waiting, later).await;
            assert_eq!(done.result, Ok(300));
            assert!(at.elapsed() < Duration::from_millis(1), "{}", at.elapsed());
            buffer = done.buffer;
        }
    });
}

#[test]
fn a_channel_with_a_transfer_that_the_emulator_still_has_is_not_used_again() {
    on_bus(Kind::Emulator, plug, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        model.hold(0x82);
        // The model panics when one of these channels is enabled again.
        for _ in 0..3 {
            let deadline = Some(Instant::now() + Duration::from_millis(10));
            let done = receive.start(pool.take(2048).unwrap(), 2048, deadline).await;
            assert_eq!(done.result, Err(TransferError::Timeout));
        }
        let mut buffer = Some(pool.take(64).unwrap());
        for _ in 0..100 {
            let done = send.start(buffer.take().unwrap(), 60, None).await;
            assert_eq!(done.result, Ok(60));
            buffer = done.buffer;
        }
    });
}

#[test]
fn split_transactions_survive_a_busy_hub_and_lost_packets() {
    let behind_hub = |model: &Model| {
        let hub = Hub::new(2, Speed::High).with(2, Node::new(Speed::Full, Box::new(Ecm::new(64))));
        model.plug(Node::new(Speed::High, Box::new(hub)));
    };
    on_bus(Kind::Silicon, behind_hub, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        let trouble = [
            Fault::SplitPending,
            Fault::SplitPending,
            Fault::Nak,
            Fault::NoAnswer,
            Fault::SplitPending,
            Fault::NoAnswer,
        ];
        model.fail(device.address(), 2, &trouble);
        model.fail(device.address(), 0x82, &trouble);
        let mut buffer = pool.take(2048).unwrap();
        buffer.bytes_mut()[..1000].copy_from_slice(&pattern(1000));
        let done = send.start(buffer, 1000, None).await;
        assert_eq!(done.result, Ok(1000));
        assert_eq!(model.with(&[2], |ecm: &mut Ecm| ecm.from_node.clone()), [pattern(1000)]);
        model.with(&[2], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(700)));
        let done = receive.start(done.buffer.unwrap(), 2048, None).await;
        assert_eq!(done.result, Ok(700));
        assert_eq!(done.buffer.unwrap().bytes()[..700], pattern(700));
        assert_eq!(model.faults_left(), 0);
    });
}

#[test]
fn more_transfers_than_channels_wait_for_their_turn() {
    let many = |model: &Model| {
        let node = || Node::new(Speed::Full, Box::new(Ecm::new(64)));
        let hub = (1..=12).fold(Hub::new(12, Speed::Full), |hub, port| hub.with(port, node()));
        model.plug(Node::new(Speed::Full, Box::new(hub)));
    };
    for kind in BOTH {
        on_bus(kind, many, async |Setup { model, bus, mut pool, .. }| {
            let mut devices = Vec::new();
            for _ in 0..12 {
                devices.push(bus.next_device().await);
            }
            let receives: [Pipe<'_>; 12] = std::array::from_fn(|index| pipes(&devices[index]).0);
            let deadline = Instant::now() + Duration::from_millis(500);
            let all = receives.each_ref().map(|pipe| {
                let buffer = pool.take(512).unwrap();
                async move { pipe.start(buffer, 512, Some(deadline)).await.result }
            });
            let feed = async {
                for port in 1..=12 {
                    Timer::after_millis(20).await;
                    model.with(&[port], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(60)));
                }
            };
            let (results, ()) = embassy_futures::join::join(join_array(all), feed).await;
            assert_eq!(results, [Ok(60); 12]);
        });
    }
}

#[test]
fn a_dropped_transfer_frees_its_channel() {
    for kind in BOTH {
        on_bus(kind, plug, async |Setup { bus, mut pool, .. }| {
            let device = bus.next_device().await;
            let (receive, send) = pipes(&device);
            for _ in 0..20 {
                let transfer = receive.start(pool.take(2048).unwrap(), 2048, None);
                assert!(with_timeout(Duration::from_millis(5), transfer).await.is_err());
            }
            let done = with_timeout(Duration::from_millis(100), send.start(pool.take(64).unwrap(), 64, None)).await;
            assert_eq!(done.unwrap().result, Ok(64));
        });
    }
}

#[test]
fn an_unknown_request_stalls_and_the_next_one_works() {
    for kind in BOTH {
        on_bus(kind, plug, async |Setup { bus, .. }| {
            let device = bus.next_device().await;
            for _ in 0..3 {
                let unknown = ControlRequest { request_type: 0x40, request: 0x99, value: 0, index: 0 };
                assert_eq!(device.control_out(unknown, &[1, 2, 3]).await, Err(TransferError::Stall));
                let mut bytes = [0; 18];
                assert_eq!(device.control_in(ControlRequest::get_descriptor(1, 0, 0), &mut bytes).await, Ok(18));
                assert_eq!(bytes[8..12], [0x25, 5, 0xA1, 0xA4]);
            }
            let mut huge = [0; 4096];
            let setup = ControlRequest::get_descriptor(1, 0, 0);
            assert_eq!(device.control_in(setup, &mut huge).await, Err(TransferError::TooLong { len: 4096 }));
        });
    }
}

#[test]
fn a_receive_longer_than_its_buffer_is_refused() {
    on_bus(Kind::Silicon, plug, async |Setup { bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let (receive, _) = pipes(&device);
        let done = receive.start(pool.take(1000).unwrap(), 1025, None).await;
        assert_eq!(done.result, Err(TransferError::TooLong { len: 1025 }));
    });
}

#[test]
fn an_interrupt_endpoint_is_asked_at_its_interval_even_if_it_always_has_something_to_say() {
    for kind in BOTH {
        on_bus(kind, plug, async |Setup { model, bus, mut pool, .. }| {
            let device = bus.next_device().await;
            let control = device.configuration().interface(0, 0).unwrap();
            let pipe = device.pipe(control.endpoint(EndpointKind::Interrupt, Direction::In).unwrap());
            let interval = pipe.interval();
            model.with(&[], |ecm: &mut Ecm| ecm.notifications.extend(vec![vec![1; 8]; 10]));
            let mut buffer = pool.take(64);
            let _ = pipe.interrupt(&mut buffer, None).await;
            let start = Instant::now();
            for _ in 0..9 {
                assert_eq!(pipe.interrupt(&mut buffer, None).await, Ok(8));
            }
            assert!(start.elapsed() >= interval * 8, "{} for nine at {interval}", start.elapsed());
            let deadline = Instant::now() + Duration::from_millis(50);
            assert_eq!(pipe.interrupt(&mut buffer, Some(deadline)).await, Err(TransferError::Timeout));
            assert!(buffer.is_some());
        });
    }
}

#[test]
fn an_interrupt_endpoint_survives_disturbances_that_pass() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, mut pool, .. }| {
        let device = bus.next_device().await;
        let pipe = device.report_pipe(device.configuration().interface(0, 0).unwrap()).unwrap();
        let mut buffer = pool.take(64);
        // A transfer fails after three attempts; ten that fail in a row are too many.
        let nine = [Fault::NoAnswer; 27];
        for trouble in [&nine[..], &[Fault::Unexplained; 40], &[Fault::Overrun; 40]] {
            model.fail(device.address(), 0x81, trouble);
            model.with(&[], |ecm: &mut Ecm| ecm.notifications.push_back(vec![1; 8]));
            assert_eq!(pipe.interrupt(&mut buffer, None).await, Ok(8));
            assert_eq!(model.faults_left(), 0);
        }
        model.fail(device.address(), 0x81, &[Fault::NoAnswer; 30]);
        assert!(matches!(pipe.interrupt(&mut buffer, None).await, Err(TransferError::Transaction { .. })));
        assert!(buffer.is_some());
    });
}
