//! Enumeration, hubs, unplug and replug, over the model of the controller's registers.

use crate::fixture::{BOTH, Setup, on_bus};
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use testkit::usb::device::{configuration, device_descriptor};
use testkit::usb::ecm::Ecm;
use testkit::usb::hub::Hub;
use testkit::usb::{Answer, Fault, Function, Kind, Node};
use usb::host::{Speed, TransferError};
use usb::setup::Setup as ControlRequest;

fn ecm(speed: Speed) -> Node {
    Node::new(speed, Box::new(Ecm::new(if speed == Speed::High { 512 } else { 64 })))
}

fn hub(speed: Speed, hub: Hub) -> Node {
    Node::new(speed, Box::new(hub))
}

/// A device with the given descriptors that knows no requests.
struct Plain {
    device: Vec<u8>,
    configurations: Vec<Vec<u8>>,
}

impl Function for Plain {
    fn device_descriptor(&self) -> Vec<u8> {
        self.device.clone()
    }
    fn configurations(&self) -> Vec<Vec<u8>> {
        self.configurations.clone()
    }
    fn string(&self, _index: u8) -> Option<String> {
        None
    }
    fn on_request(&mut self, _setup: [u8; 8], _data: &[u8]) -> Answer {
        Answer::Stall
    }
    fn on_in(&mut self, _endpoint: u8, _max: usize) -> Answer {
        Answer::Nak
    }
    fn on_out(&mut self, _endpoint: u8, _data: &[u8]) -> Answer {
        Answer::Nak
    }
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

#[test]
fn a_device_on_the_root_port_is_configured_and_offered() {
    for kind in BOTH {
        for speed in [Speed::Full, Speed::High] {
            on_bus(
                kind,
                |model| model.plug(ecm(speed)),
                async |Setup { model, bus, .. }| {
                    let device = bus.next_device().await;
                    assert_eq!((device.speed(), device.descriptor().product), (speed, 0xA4A1));
                    assert_eq!(model.address(&[]), (device.address(), 1));
                },
            );
        }
    }
}

#[test]
fn the_first_device_is_there_within_the_minimum_times_of_the_specification() {
    for (kind, limit_ms) in [(Kind::Emulator, 70), (Kind::Silicon, 390)] {
        let took = on_bus(
            kind,
            |model| model.plug(ecm(Speed::High)),
            async |Setup { bus, .. }| {
                let start = Instant::now();
                let _device = bus.next_device().await;
                start.elapsed()
            },
        );
        assert!(took < Duration::from_millis(limit_ms), "{kind:?}: {took}");
    }
}

#[test]
fn devices_behind_hubs_are_found_whatever_the_speeds() {
    use Speed::{Full, High};
    for kind in BOTH {
        for [outer, inner, device] in
            [[Full, Full, Full], [High, High, High], [High, High, Full], [High, Full, Full], [High, Full, High]]
        {
            let device = if inner == Full { Full } else { device };
            on_bus(
                kind,
                |model| {
                    let inner = hub(inner, Hub::new(4, inner).with(2, ecm(device)));
                    model.plug(hub(outer, Hub::new(4, outer).with(3, inner)));
                },
                async |Setup { model, bus, .. }| {
                    let found = bus.next_device().await;
                    assert_eq!(model.address(&[3, 2]), (found.address(), 1), "{kind:?} {outer:?} {inner:?}");
                    let mut status = [0; 2];
                    let stalled = found
                        .control_in(ControlRequest { request_type: 0x80, request: 0, value: 0, index: 0 }, &mut status);
                    assert_eq!(stalled.await, Err(TransferError::Stall));
                },
            );
        }
    }
}

#[test]
fn a_seventh_tier_is_refused_and_the_others_work() {
    for kind in BOTH {
        on_bus(
            kind,
            |model| {
                // Six hubs in a row: one more than may be. A device is at the fifth.
                let sixth = hub(Speed::Full, Hub::new(1, Speed::Full).with(1, ecm(Speed::Full)));
                let mut chain = hub(Speed::Full, Hub::new(2, Speed::Full).with(1, sixth).with(2, ecm(Speed::Full)));
                for _ in 0..4 {
                    chain = hub(Speed::Full, Hub::new(1, Speed::Full).with(1, chain));
                }
                model.plug(chain);
            },
            async |Setup { model, bus, .. }| {
                let device = bus.next_device().await;
                assert_eq!(model.address(&[1, 1, 1, 1, 2]).0, device.address());
                assert!(with_timeout(Duration::from_secs(5), bus.next_device()).await.is_err());
                assert_eq!(model.address(&[1, 1, 1, 1, 1]).1, 0, "the sixth hub has no configuration");
            },
        );
    }
}

#[test]
fn a_device_that_nobody_drives_is_left_alone() {
    for kind in BOTH {
        on_bus(
            kind,
            |model| {
                let keyboard = Plain {
                    device: device_descriptor(0, 0x0627, 1, 1),
                    configurations: vec![configuration(
                        1,
                        1,
                        &[&[9, 4, 0, 0, 1, 3, 1, 1, 0], &[7, 5, 0x81, 3, 8, 0, 10]],
                    )],
                };
                let keyboard = Node::new(Speed::Low, Box::new(keyboard));
                model.plug(hub(Speed::High, Hub::new(4, Speed::High).with(1, keyboard).with(4, ecm(Speed::High))));
            },
            async |Setup { model, bus, .. }| {
                let device = bus.next_device().await;
                assert_eq!(model.address(&[4]).0, device.address());
                let (address, configuration) = model.address(&[1]);
                assert!(address != 0 && configuration == 0, "addressed, but not configured");
            },
        );
    }
}

#[test]
fn an_unplugged_device_ends_its_transfers_and_a_new_one_is_offered() {
    for kind in BOTH {
        on_bus(
            kind,
            |model| model.plug(ecm(Speed::High)),
            async |Setup { model, bus, mut pool, .. }| {
                for _ in 0..20 {
                    let device = with_timeout(Duration::from_secs(2), bus.next_device()).await.unwrap();
                    let data = device.configuration().interface(1, 1).unwrap().clone();
                    let pipe = device.pipe(data.endpoints[0]);
                    let waiting = pipe.start(pool.take(2048).unwrap(), 2048, None);
                    Timer::after_millis(30).await;
                    model.unplug();
                    let done = with_timeout(Duration::from_millis(50), waiting).await.unwrap();
                    assert_eq!(done.result, Err(TransferError::Gone));
                    assert!(done.buffer.is_some(), "the buffer comes back");
                    device.gone().await;
                    let again = pipe.start(done.buffer.unwrap(), 2048, None).await;
                    assert_eq!(again.result, Err(TransferError::Gone));
                    drop(device);
                    model.plug(ecm(Speed::High));
                }
            },
        );
    }
}

#[test]
fn a_device_that_is_unplugged_while_it_is_enumerated_holds_nothing_up() {
    for kind in BOTH {
        on_bus(
            kind,
            |_| {},
            async |Setup { model, bus, .. }| {
                // From before the reset to after the last request.
                for round in 0..40 {
                    model.plug(ecm(Speed::High));
                    Timer::after_micros(500 + round * 5_000).await;
                    model.unplug();
                    Timer::after_millis(3).await;
                    // Those that got through are taken and gone.
                    while let Ok(device) = with_timeout(Duration::from_micros(1), bus.next_device()).await {
                        assert!(with_timeout(Duration::from_millis(1), device.gone()).await.is_ok());
                    }
                    model.plug(ecm(Speed::High));
                    let device = with_timeout(Duration::from_millis(400), bus.next_device()).await;
                    assert!(device.is_ok(), "{kind:?} round {round}");
                    model.unplug();
                    Timer::after_millis(200).await;
                }
            },
        );
    }
}

#[test]
fn a_hub_that_is_unplugged_takes_what_is_behind_it_along() {
    for kind in BOTH {
        on_bus(
            kind,
            |model| model.plug(hub(Speed::High, Hub::new(4, Speed::High))),
            async |Setup { model, bus, .. }| {
                for round in 0..12 {
                    let inner = Hub::new(4, Speed::Full).with(1, ecm(Speed::Full)).with(2, ecm(Speed::Full));
                    model.plug_at(&[2], hub(Speed::Full, inner));
                    let first = with_timeout(Duration::from_secs(5), bus.next_device()).await.unwrap();
                    let second = with_timeout(Duration::from_secs(5), bus.next_device()).await.unwrap();
                    assert_ne!(first.address(), second.address());
                    model.unplug_at(&[2]);
                    let gone = async {
                        first.gone().await;
                        second.gone().await;
                    };
                    assert!(with_timeout(Duration::from_secs(2), gone).await.is_ok(), "{kind:?} round {round}");
                }
            },
        );
    }
}

#[test]
fn a_device_that_its_driver_gives_back_is_enumerated_anew() {
    for kind in BOTH {
        for behind_hub in [false, true] {
            on_bus(
                kind,
                |model| {
                    let device = ecm(Speed::Full);
                    model.plug(if behind_hub {
                        hub(Speed::Full, Hub::new(2, Speed::Full).with(1, device))
                    } else {
                        device
                    });
                },
                async |Setup { bus, .. }| {
                    for _ in 0..5 {
                        let device = with_timeout(Duration::from_secs(2), bus.next_device()).await.unwrap();
                        drop(device);
                    }
                },
            );
        }
    }
}

#[test]
fn a_device_that_fails_at_first_is_tried_again() {
    on_bus(
        Kind::Silicon,
        |model| {
            model.plug(ecm(Speed::High));
            // Six failed packets: two requests with three strikes each.
            model.fail(0, 0x80, &[Fault::NoAnswer; 6]);
        },
        async |Setup { model, bus, .. }| {
            let device = bus.next_device().await;
            assert_eq!(model.faults_left(), 0);
            assert_eq!(model.address(&[]).0, device.address());
        },
    );
}

#[test]
fn a_device_that_always_fails_is_left_alone_until_it_is_replugged() {
    on_bus(
        Kind::Silicon,
        |model| {
            model.plug(ecm(Speed::High));
            model.fail(0, 0x80, &[Fault::NoAnswer; 9]);
        },
        async |Setup { model, bus, .. }| {
            assert!(with_timeout(Duration::from_secs(3), bus.next_device()).await.is_err());
            assert_eq!(model.faults_left(), 0, "three attempts of three");
            model.unplug();
            Timer::after_millis(10).await;
            model.plug(ecm(Speed::High));
            let _device = bus.next_device().await;
        },
    );
}

#[test]
fn a_device_that_can_not_be_replugged_is_tried_again_ever_less_often_until_it_works() {
    for path in [&[][..], &[1]] {
        on_bus(
            Kind::Silicon,
            |model| match path {
                [] => model.plug(ecm(Speed::High)),
                _ => model.plug(hub(Speed::High, Hub::new(2, Speed::High).with(1, ecm(Speed::High)))),
            },
            async |Setup { model, bus, .. }| {
                let device = bus.next_device().await;
                // Its driver gives it up, and for a while it does not answer to anything.
                model.fail(0, 0x80, &[Fault::NoAnswer; 27]);
                device.close();
                drop(device);
                let start = Instant::now();
                assert!(with_timeout(Duration::from_secs(29), bus.next_device()).await.is_err());
                assert_eq!(model.faults_left(), 18, "three attempts of three");
                let _device = bus.next_device().await;
                // 30, 60 and 120 s; nine faults are used up by each of the first two.
                let took = start.elapsed();
                assert!(took > Duration::from_secs(200) && took < Duration::from_secs(220), "{} s", took.as_secs());
            },
        );
    }
}

#[test]
fn more_devices_than_there_is_room_for_are_refused_and_the_others_work() {
    on_bus(
        Kind::Silicon,
        |model| {
            let mut outer = Hub::new(3, Speed::Full);
            for port in 1..=3 {
                let inner = (1..=6).fold(Hub::new(6, Speed::Full), |hub, port| hub.with(port, ecm(Speed::Full)));
                outer = outer.with(port, hub(Speed::Full, inner));
            }
            model.plug(hub(Speed::Full, outer));
        },
        async |Setup { bus, .. }| {
            // Sixteen devices, four of them hubs.
            let mut devices = Vec::new();
            while let Ok(device) = with_timeout(Duration::from_secs(6), bus.next_device()).await {
                devices.push(device);
            }
            assert_eq!(devices.len(), 12);
        },
    );
}

#[test]
fn devices_with_random_descriptors_are_survived() {
    let mut random = 0x5EED_0003_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    on_bus(
        Kind::Emulator,
        |_| {},
        async |Setup { model, bus, .. }| {
            let mut offered = 0;
            for _ in 0..400 {
                let mut damaged = Ecm::new(64);
                let mut device = damaged.device_descriptor();
                let mut configurations = damaged.configurations();
                damaged.to_node.clear();
                for bytes in configurations.iter_mut().chain([&mut device]) {
                    for _ in 0..next() % 4 {
                        let at = (next() % bytes.len() as u64) as usize;
                        bytes[at] = next() as u8;
                    }
                    let len = bytes.len() as u64;
                    if next().is_multiple_of(3) {
                        bytes.truncate((next() % len) as usize);
                    }
                }
                // The fake itself needs these to exist.
                device.resize(device.len().max(8), 0);
                configurations.iter_mut().for_each(|bytes| bytes.resize(bytes.len().max(6), 0));
                model.plug(Node::new(Speed::Full, Box::new(Plain { device, configurations })));
                if let Either::First(_device) = select(bus.next_device(), Timer::after_millis(600)).await {
                    offered += 1;
                }
                model.unplug();
                Timer::after_millis(5).await;
            }
            assert!(offered > 20, "only {offered} got as far as a driver");
            model.plug(ecm(Speed::Full));
            let _device = bus.next_device().await;
        },
    );
}

/// A NIC's interface with an interrupt endpoint of this packet size.
fn reporting(value: u8, max_packet: u16) -> Vec<u8> {
    let [m0, m1] = max_packet.to_le_bytes();
    configuration(value, 1, &[&[9, 4, 0, 0, 1, 2, 6, 0, 0], &[7, 5, 0x81, 3, m0, m1, 8]])
}

#[test]
fn a_configuration_that_makes_no_sense_does_not_hide_one_that_does() {
    for kind in BOTH {
        let plain = Plain {
            device: device_descriptor(0, 0x0525, 1, 2),
            // No packet has 0 bytes.
            configurations: vec![reporting(1, 0), reporting(2, 16)],
        };
        on_bus(
            kind,
            |model| model.plug(Node::new(Speed::High, Box::new(plain))),
            async |Setup { model, bus, .. }| {
                let device = bus.next_device().await;
                assert_eq!(model.address(&[]), (device.address(), 2));
            },
        );
    }
}

#[test]
fn reports_too_long_for_a_buffer_are_not_listened_to() {
    for (max_packet, is_supported) in [(64, true), (65, false), (512, false)] {
        let plain =
            Plain { device: device_descriptor(0, 0x0525, 1, 1), configurations: vec![reporting(1, max_packet)] };
        on_bus(
            Kind::Silicon,
            |model| model.plug(Node::new(Speed::High, Box::new(plain))),
            async |Setup { bus, .. }| {
                let device = bus.next_device().await;
                let interface = device.configuration().interface(0, 0).unwrap();
                let pipe = device.report_pipe(interface);
                assert_eq!(pipe.is_some(), is_supported, "{max_packet}");
                if let Some(pipe) = pipe {
                    let mut buffer = bus.take_small_buffer();
                    assert_eq!(pipe.interrupt_once(&mut buffer).await, Err(TransferError::Nak));
                }
            },
        );
    }
}
