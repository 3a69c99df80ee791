//! The drivers for CDC-ECM and RNDIS with fake adapters, over the model of the controller's registers.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

use embassy_futures::join::join3;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use nic::exchange::FrameExchange;
use nic::usbnet::{self, BoardInfo, Preference, UsbNics};
use nic::{Link, MacAddress};
use testkit::dma::FakeDma;
use testkit::time;
use testkit::usb::ecm::Ecm;
use testkit::usb::ncm::{self, Ncm};
use testkit::usb::rndis::{Rndis, packet};
use testkit::usb::{Fault, Function, Kind, Machine, Model, Node};
use usb::bus::{Bus, Claims};
use usb::dwc2::Controller;
use usb::host::Speed;

const BOTH: [Kind; 2] = [Kind::Emulator, Kind::Silicon];
/// Buffers in each direction.
const BUFFERS: usize = 8;

fn ecm() -> Node {
    Node::new(Speed::High, Box::new(Ecm::new(512)))
}

fn rndis() -> Node {
    Node::new(Speed::Full, Box::<Rndis>::default())
}

/// An NCM adapter whose cable is in.
fn ncm(max_packet: u16, prepare: impl FnOnce(&mut Ncm)) -> Node {
    let mut ncm = Ncm::new(max_packet);
    ncm.notify(true);
    prepare(&mut ncm);
    Node::new(if max_packet == 512 { Speed::High } else { Speed::Full }, Box::new(ncm))
}

/// Runs a test beside a node's USB and NIC tasks.
fn on_node<T>(kind: Kind, node: Node, test: impl AsyncFnOnce(&Model, &FrameExchange) -> T) -> T {
    let (dma, mut pool) = FakeDma::new(512 * 1024);
    let model = Model::new(kind, dma);
    model.plug(node);
    let controller = Controller::new(model.clone());
    let claims = UsbNics { prefer: Preference::default() };
    let bus = Bus::new(&controller, &claims, &mut pool).unwrap();
    let mut buffers = |len| (0..BUFFERS).map(|_| pool.take(len).unwrap()).collect::<Vec<_>>();
    let exchange = FrameExchange::new(buffers(16 * 1024), buffers(2048));
    let board = BoardInfo::default();
    time::run(async {
        let tasks = join3(
            Machine::run(&model, &controller),
            async {
                controller.init().await.unwrap();
                bus.run().await
            },
            usbnet::run(&bus, &exchange, &board),
        );
        match select(tasks, test(&model, &exchange)).await {
            Either::First(_) => unreachable!("the tasks run for ever"),
            Either::Second(result) => result,
        }
    })
}

async fn wait(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "it never happens");
        Timer::after_millis(1).await;
    }
}

async fn link_up(exchange: &FrameExchange) {
    wait(|| exchange.link().is_up()).await;
}

fn frame(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256 + seed) as u8).collect()
}

async fn receive(exchange: &FrameExchange) -> Vec<u8> {
    wait(|| exchange.has_rx()).await;
    exchange.take_rx().unwrap().bytes().to_vec()
}

fn send(exchange: &FrameExchange, frame: &[u8]) {
    exchange.take_tx().unwrap().send(frame.len(), |to| to.copy_from_slice(frame));
}

/// Lengths at and around whole packets of both sizes, with and without the header of RNDIS.
fn lengths() -> Vec<usize> {
    let mut all = vec![14, 15, 60, 1513, 1514];
    for packets in [64, 128, 512, 1024] {
        all.extend([packets - 1, packets, packets + 1, packets - 45, packets - 44, packets - 43]);
    }
    all.sort_unstable();
    all
}

/// Takes all receive buffers out of the exchange to see that none is missing, and puts them back.
fn assert_no_buffer_is_missing(exchange: &FrameExchange) {
    let buffers: Vec<_> = std::iter::from_fn(|| exchange.try_take_rx_buffer()).collect();
    assert_eq!(buffers.len(), BUFFERS);
    buffers.into_iter().for_each(|buffer| exchange.return_rx_buffer(buffer));
}

#[test]
fn ecm_moves_frames_of_every_length() {
    for kind in BOTH {
        on_node(kind, ecm(), async |model, exchange| {
            link_up(exchange).await;
            let info = exchange.nic().unwrap();
            assert_eq!((info.driver, info.mac), ("cdc-ecm", MacAddress([0x40, 0x54, 0, 0x12, 0x34, 0x5A])));
            for (seed, len) in lengths().into_iter().enumerate() {
                let frame = frame(len, seed);
                model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(frame.clone()));
                assert_eq!(receive(exchange).await, frame, "{kind:?} {len}");
                send(exchange, &frame);
                wait(|| model.with(&[], |ecm: &mut Ecm| !ecm.from_node.is_empty())).await;
                assert_eq!(model.with(&[], |ecm: &mut Ecm| ecm.from_node.pop()).unwrap(), frame, "{kind:?} {len}");
            }
            let counters = exchange.counters();
            assert_eq!((counters.rx_errors, counters.tx_errors), (0, 0));
            assert_eq!(counters.rx_frames, lengths().len() as u64);
            assert_eq!(counters.tx_bytes, lengths().iter().sum::<usize>() as u64);
        });
    }
}

#[test]
fn rndis_moves_frames_of_every_length() {
    for kind in BOTH {
        on_node(kind, rndis(), async |model, exchange| {
            link_up(exchange).await;
            let info = exchange.nic().unwrap();
            assert_eq!((info.driver, info.mac), ("rndis", MacAddress(testkit::usb::rndis::MAC)));
            assert_eq!(exchange.link(), Link::Up { speed_mbps: 100, is_full_duplex: true });
            assert_eq!(model.with(&[], |rndis: &mut Rndis| rndis.filter), 0x0F);
            for (seed, len) in lengths().into_iter().enumerate() {
                let frame = frame(len, seed);
                model.with(&[], |rndis: &mut Rndis| rndis.send(&frame));
                assert_eq!(receive(exchange).await, frame, "{kind:?} {len}");
                send(exchange, &frame);
                wait(|| model.with(&[], |rndis: &mut Rndis| !rndis.from_node.is_empty())).await;
                let sent = model.with(&[], |rndis: &mut Rndis| {
                    let frames = rndis.frames();
                    rndis.from_node.clear();
                    frames
                });
                assert_eq!(sent, [frame], "{kind:?} {len}");
            }
            assert_eq!(exchange.counters().rx_errors, 0);
        });
    }
}

#[test]
fn ncm_moves_frames_of_every_length() {
    for kind in BOTH {
        for max_packet in [64, 512] {
            on_node(kind, ncm(max_packet, |_| {}), async |model, exchange| {
                link_up(exchange).await;
                let info = exchange.nic().unwrap();
                assert_eq!((info.driver, info.mac), ("cdc-ncm", MacAddress(ncm::MAC)));
                for (seed, len) in lengths().into_iter().enumerate() {
                    let frame = frame(len, seed);
                    model.with(&[], |ncm: &mut Ncm| ncm.send(std::slice::from_ref(&frame)));
                    assert_eq!(receive(exchange).await, frame, "{kind:?} {len}");
                    send(exchange, &frame);
                    wait(|| model.with(&[], |ncm: &mut Ncm| !ncm.from_node.is_empty())).await;
                    let sent = model.with(&[], |ncm: &mut Ncm| ncm.from_node.pop());
                    assert_eq!(sent.unwrap(), frame, "{kind:?} {len}");
                }
                assert_eq!((exchange.counters().rx_errors, exchange.counters().tx_errors), (0, 0));
            });
        }
    }
}

#[test]
fn ncm_blocks_hold_several_frames_both_ways_whatever_the_adapter_asks_for() {
    for (rules, has_crc, sizes) in [
        ([4, 0, 4, 0], false, [16_384, 8192]),
        ([32, 14, 32, 3], true, [2048, 2048]),
        ([8, 2, 16, 40], false, [65_536, 65_536]),
    ] {
        let node = ncm(512, |ncm| (ncm.out_rules, ncm.has_crc, ncm.sizes) = (rules, has_crc, sizes));
        on_node(Kind::Silicon, node, async |model, exchange| {
            link_up(exchange).await;
            for round in 0..20_usize {
                let frames: Vec<_> = (0..6).map(|i| frame(60 + (round * 37 + i * 11) % 200, i)).collect();
                model.with(&[], |ncm: &mut Ncm| ncm.send(&frames));
                for frame in &frames {
                    assert_eq!(&receive(exchange).await, frame);
                }
                frames.iter().for_each(|frame| send(exchange, frame));
                wait(|| model.with(&[], |ncm: &mut Ncm| ncm.from_node.len() == frames.len())).await;
                assert_eq!(model.with(&[], |ncm: &mut Ncm| std::mem::take(&mut ncm.from_node)), frames);
            }
            let most = model.with(&[], |ncm: &mut Ncm| ncm.blocks.iter().max().copied()).unwrap();
            assert!(most >= 3, "{most}");
            let size = model.with(&[], |ncm: &mut Ncm| ncm.input_size);
            assert_eq!(size, (sizes[0] > 16_384).then_some(16_384), "blocks fit in a buffer");
        });
    }
}

#[test]
fn an_ncm_adapter_tells_about_its_cable_and_may_know_no_settings() {
    on_node(Kind::Silicon, ncm(512, |ncm| ncm.has_settings = false), async |model, exchange| {
        for _ in 0..3 {
            link_up(exchange).await;
            model.with(&[], |ncm: &mut Ncm| ncm.notify(false));
            wait(|| exchange.link() == Link::Down).await;
            model.with(&[], |ncm: &mut Ncm| ncm.notify(true));
        }
    });
}

#[test]
fn damaged_ncm_blocks_are_counted_and_the_next_one_arrives() {
    let mut random = 0x5EED_000D_u64;
    on_node(Kind::Emulator, ncm(512, |_| {}), async |model, exchange| {
        link_up(exchange).await;
        for round in 0..1000_usize {
            model.with(&[], |ncm: &mut Ncm| {
                ncm.send(&[frame(60, round), frame(61, round)]);
                let block = ncm.to_node.back_mut().unwrap();
                for _ in 0..1 + round % 3 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let at = [random % 12, block.len() as u64 - 20 + random % 20][round % 2];
                    block[at as usize] = (random >> 40) as u8;
                }
                ncm.send(&[frame(99, round)]);
            });
            while receive(exchange).await != frame(99, round) {}
        }
        assert!(exchange.counters().rx_errors > 300, "{:?}", exchange.counters());
        assert_eq!(exchange.counters().restarts, 0);
    });
}

#[test]
fn a_burst_arrives_in_order_and_without_loss() {
    for kind in BOTH {
        on_node(kind, ecm(), async |model, exchange| {
            link_up(exchange).await;
            let frames: Vec<_> = (0..200).map(|seed| frame(60 + seed * 7 % 1400, seed)).collect();
            model.with(&[], |ecm: &mut Ecm| ecm.to_node.extend(frames.clone()));
            for (index, frame) in frames.iter().enumerate() {
                assert_eq!(&receive(exchange).await, frame, "{kind:?} {index}");
            }
            for chunk in frames.chunks(BUFFERS) {
                chunk.iter().for_each(|frame| send(exchange, frame));
                Timer::after_millis(20).await;
            }
            assert_eq!(model.with(&[], |ecm: &mut Ecm| ecm.from_node.clone()), frames, "{kind:?}");
        });
    }
}

#[test]
fn several_rndis_messages_in_one_transfer_are_several_frames_and_damaged_ones_are_counted() {
    for kind in BOTH {
        on_node(kind, rndis(), async |model, exchange| {
            link_up(exchange).await;
            let mut burst: Vec<u8> = (1..=3).flat_map(|seed| packet(&frame(100, seed))).collect();
            burst.extend(&packet(&frame(500, 4))[..300]);
            model.with(&[], |rndis: &mut Rndis| rndis.to_node.push_back(burst));
            for seed in 1..=3 {
                assert_eq!(receive(exchange).await, frame(100, seed));
            }
            assert_eq!(exchange.counters().rx_errors, 1);
            model.with(&[], |rndis: &mut Rndis| rndis.send(&frame(77, 5)));
            assert_eq!(receive(exchange).await, frame(77, 5));
        });
    }
}

#[test]
fn the_cable_is_followed() {
    for kind in BOTH {
        on_node(kind, rndis(), async |model, exchange| {
            link_up(exchange).await;
            for _ in 0..3 {
                model.with(&[], |rndis: &mut Rndis| rndis.indicate(false));
                wait(|| exchange.link() == Link::Down).await;
                model.with(&[], |rndis: &mut Rndis| rndis.indicate(true));
                link_up(exchange).await;
            }
        });
        on_node(kind, ecm(), async |model, exchange| {
            link_up(exchange).await;
            let notify = |bytes: &[u8]| model.with(&[], |ecm: &mut Ecm| ecm.notifications.push_back(bytes.to_vec()));
            notify(&[0xA1, 0, 0, 0, 0, 0, 0, 0]);
            wait(|| exchange.link() == Link::Down).await;
            notify(&[0xA1, 0x2A, 0, 0, 0, 0, 8, 0, 0, 0xE1, 0xF5, 0x05, 0, 0xE1, 0xF5, 0x05]);
            notify(&[0xA1, 0, 1, 0, 0, 0, 0, 0]);
            link_up(exchange).await;
            assert_eq!(exchange.link(), Link::Up { speed_mbps: 100, is_full_duplex: true });
        });
    }
}

#[test]
fn an_adapter_can_be_replugged_for_ever_and_no_buffer_is_lost() {
    for kind in BOTH {
        on_node(kind, ecm(), async |model, exchange| {
            for round in 0..20_usize {
                link_up(exchange).await;
                let frame = frame(200, round);
                if round % 2 == 0 {
                    model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(frame.clone()));
                    assert_eq!(receive(exchange).await, frame);
                }
                // In the middle of sending.
                send(exchange, &frame);
                send(exchange, &frame);
                model.unplug();
                wait(|| exchange.link() == Link::Absent).await;
                assert!(exchange.nic().is_none() && !exchange.has_tx());
                Timer::after_millis(100).await;
                assert_no_buffer_is_missing(exchange);
                model.plug(if round % 3 == 0 { rndis() } else { ecm() });
                link_up(exchange).await;
                if round % 3 == 0 {
                    model.unplug();
                    wait(|| exchange.link() == Link::Absent).await;
                    model.plug(ecm());
                }
            }
            link_up(exchange).await;
            // All transmit buffers are there, too.
            let all: Vec<_> = std::iter::from_fn(|| exchange.take_tx()).collect();
            assert_eq!(all.len(), BUFFERS);
        });
    }
}

#[test]
fn a_stalled_receive_endpoint_is_cleared() {
    for kind in BOTH {
        on_node(kind, ecm(), async |model, exchange| {
            link_up(exchange).await;
            model.with(&[], |ecm: &mut Ecm| {
                ecm.is_halted = true;
                ecm.to_node.push_back(frame(60, 1));
            });
            assert_eq!(receive(exchange).await, frame(60, 1));
            assert_eq!((exchange.counters().rx_errors, exchange.counters().restarts), (1, 0));
        });
    }
}

#[test]
fn an_adapter_that_keeps_failing_is_started_anew() {
    on_node(Kind::Silicon, ecm(), async |model, exchange| {
        link_up(exchange).await;
        let (address, _) = model.address(&[]);
        model.fail(address, 2, &[Fault::NoAnswer; 9]);
        for _ in 0..3 {
            send(exchange, &frame(60, 0));
        }
        wait(|| exchange.counters().restarts == 1).await;
        link_up(exchange).await;
        assert_eq!(exchange.counters().tx_errors, 3);
        send(exchange, &frame(60, 7));
        wait(|| model.with(&[], |ecm: &mut Ecm| ecm.from_node == [frame(60, 7)])).await;
    });
}

#[test]
fn an_rndis_adapter_that_no_longer_answers_is_started_anew() {
    on_node(Kind::Silicon, rndis(), async |model, exchange| {
        link_up(exchange).await;
        model.with(&[], |rndis: &mut Rndis| rndis.is_mute = true);
        wait(|| exchange.counters().restarts == 1).await;
        model.with(&[], |rndis: &mut Rndis| {
            assert!(rndis.commands.contains(&8), "the host showed that it lives");
            rndis.is_mute = false;
        });
        link_up(exchange).await;
    });
}

#[test]
fn an_rndis_adapter_that_asks_whether_the_host_lives_is_answered() {
    on_node(Kind::Emulator, rndis(), async |model, exchange| {
        link_up(exchange).await;
        let ask: Vec<u8> = [8_u32, 12, 99].iter().flat_map(|word| word.to_le_bytes()).collect();
        model.with(&[], |rndis: &mut Rndis| rndis.answers.push_back(ask));
        wait(|| model.with(&[], |rndis: &mut Rndis| rndis.commands.contains(&0x8000_0008))).await;
    });
}

#[test]
fn frames_wait_in_the_adapter_while_the_stack_has_all_buffers() {
    for kind in BOTH {
        on_node(kind, ecm(), async |model, exchange| {
            link_up(exchange).await;
            let frames: Vec<_> = (0..4 * BUFFERS).map(|seed| frame(100, seed)).collect();
            model.with(&[], |ecm: &mut Ecm| ecm.to_node.extend(frames.clone()));
            Timer::after_millis(500).await;
            assert!(model.with(&[], |ecm: &mut Ecm| !ecm.to_node.is_empty()));
            for frame in frames {
                assert_eq!(receive(exchange).await, frame);
            }
            assert_eq!(exchange.counters().rx_dropped, 0);
        });
    }
}

#[test]
fn damaged_transfers_are_counted_and_the_next_frame_arrives() {
    let mut random = 0x5EED_0004_u64;
    on_node(Kind::Emulator, rndis(), async |model, exchange| {
        link_up(exchange).await;
        for round in 0..2000_usize {
            let mut message = packet(&frame(60 + round % 1000, round));
            for _ in 0..1 + round % 4 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = (random % 48) as usize;
                message[at] = (random >> 40) as u8;
            }
            model.with(&[], |rndis: &mut Rndis| {
                rndis.to_node.push_back(message);
                rndis.send(&frame(99, round));
            });
            while receive(exchange).await != frame(99, round) {}
        }
        let counters = exchange.counters();
        assert!(counters.rx_errors > 500, "{counters:?}");
        assert_eq!(counters.restarts, 0);
    });
}

#[test]
fn what_an_adapter_says_about_its_address_is_checked() {
    struct NoAddress(Ecm);
    impl Function for NoAddress {
        fn device_descriptor(&self) -> Vec<u8> {
            self.0.device_descriptor()
        }
        fn configurations(&self) -> Vec<Vec<u8>> {
            self.0.configurations()
        }
        fn string(&self, index: u8) -> Option<String> {
            // A group address.
            if index == 3 { Some("010000000001".into()) } else { self.0.string(index) }
        }
        fn on_request(&mut self, setup: [u8; 8], data: &[u8]) -> testkit::usb::Answer {
            self.0.on_request(setup, data)
        }
        fn on_in(&mut self, endpoint: u8, max: usize) -> testkit::usb::Answer {
            self.0.on_in(endpoint, max)
        }
        fn on_out(&mut self, endpoint: u8, data: &[u8]) -> testkit::usb::Answer {
            self.0.on_out(endpoint, data)
        }
        fn as_any(&mut self) -> &mut dyn std::any::Any {
            &mut self.0
        }
    }
    let node = Node::new(Speed::High, Box::new(NoAddress(Ecm::new(512))));
    on_node(Kind::Silicon, node, async |_, exchange| {
        wait(|| exchange.counters().restarts == 2).await;
        assert!(exchange.nic().is_none());
    });
}

#[test]
fn every_driver_is_in_the_table() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let table = std::fs::read_to_string(sources.join("usbnet.rs")).unwrap();
    let mut drivers = 0;
    for file in std::fs::read_dir(&sources).unwrap() {
        let path = file.unwrap().path();
        let is_driver = path.is_file()
            && path.file_name().is_some_and(|name| name != "usbnet.rs")
            && std::fs::read_to_string(&path).unwrap().contains("pub(crate) fn rate(");
        if is_driver {
            drivers += 1;
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(table.contains(&format!("\n    {name}: ")), "{name} has no line in the table of usbnet.rs");
        }
    }
    assert!(drivers >= 2);
}

#[test]
fn of_two_configurations_the_preferred_one_is_taken() {
    let [ecm, rndis] = [Ecm::new(64).configurations(), Rndis::default().configurations()]
        .map(|all| usb::descriptor::Configuration::parse(&all[0]).unwrap());
    let device = usb::descriptor::DeviceDescriptor::parse(&Ecm::new(64).device_descriptor()).unwrap();
    for (prefer, is_ecm) in [(Preference::Ecm, true), (Preference::Rndis, false)] {
        let nics = UsbNics { prefer };
        let (ecm, rndis) = (nics.rate(&device, &ecm), nics.rate(&device, &rndis));
        assert!(ecm > 0 && rndis > 0);
        assert_eq!(ecm > rndis, is_ecm);
    }
}
