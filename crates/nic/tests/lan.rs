//! The drivers for the LAN9514 and the LAN7800 over models of the chips, which were written independently of them, and the
//! model of the USB controller's registers.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

use embassy_futures::join::join3;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use nic::events::NicEvent;
use nic::exchange::FrameExchange;
use nic::usbnet::{self, BoardInfo, UsbNics};
use nic::{Link, MacAddress};
use testkit::dma::FakeDma;
use testkit::time;
use testkit::usb::hub::Hub;
use testkit::usb::{Kind, Machine, Model, Node};
use usb::bus::Bus;
use usb::dwc2::Controller;
use usb::host::Speed;
use usb_models::lan7800::Lan7800;
use usb_models::lan9514::Lan9514;
use usb_models::nic::{Core, Descriptors, NicModel, Partner, UsbSpeed};

const BOTH: [Kind; 2] = [Kind::Emulator, Kind::Silicon];
/// Buffers in each direction.
const BUFFERS: usize = 12;
/// The board's address.
const MAC: MacAddress = MacAddress([0xB8, 0x27, 0xEB, 1, 2, 3]);
/// Where the Ethernet function is: as on the boards, at the first port of a hub.
const PLACE: [usize; 1] = [1];

/// A model of a chip.
trait Chip: NicModel + 'static {
    const DRIVER: &'static str;
    const SPEED_MBPS: u32;
    fn make(speed: UsbSpeed) -> Self;
}

impl Chip for Lan9514 {
    const DRIVER: &'static str = "lan95xx";
    const SPEED_MBPS: u32 = 100;
    fn make(speed: UsbSpeed) -> Self {
        Self::new(speed)
    }
}

impl Chip for Lan7800 {
    const DRIVER: &'static str = "lan78xx";
    const SPEED_MBPS: u32 = 1000;
    fn make(speed: UsbSpeed) -> Self {
        Self::new(speed)
    }
}

/// What a test has in hand.
struct Rig<'a> {
    model: &'a Model,
    exchange: &'a FrameExchange,
}

impl Rig<'_> {
    fn chip<C: Chip, R>(&self, look: impl FnOnce(&mut C) -> R) -> R {
        self.model.with(&PLACE, look)
    }

    fn core<C: Chip, R>(&self, look: impl FnOnce(&mut Core) -> R) -> R {
        self.chip(|chip: &mut C| look(chip.core()))
    }

    async fn link_up(&self) {
        wait(|| self.exchange.link().is_up()).await;
    }

    async fn receive(&self) -> Vec<u8> {
        wait(|| self.exchange.has_rx()).await;
        self.exchange.take_rx().unwrap().bytes().to_vec()
    }

    fn send(&self, frame: &[u8]) {
        self.exchange.take_tx().unwrap().send(frame.len(), |to| to.copy_from_slice(frame));
    }

    async fn sent<C: Chip>(&self) -> Vec<u8> {
        let mut frame = None;
        wait(|| {
            frame = self.chip(|chip: &mut C| chip.take_sent());
            frame.is_some()
        })
        .await;
        frame.unwrap()
    }

    /// A frame each way.
    async fn talk<C: Chip>(&self, seed: usize) {
        let frame = to_node(200 + seed % 100, seed);
        self.chip(|chip: &mut C| chip.receive(&frame));
        assert_eq!(self.receive().await, frame);
        let frame = to_node(100 + seed % 100, seed);
        self.send(&frame);
        assert_eq!(self.sent::<C>().await, frame);
    }

    fn event(&self, event: NicEvent) -> u64 {
        self.exchange.events().nth(event as usize).unwrap().1
    }

    fn restarts(&self) -> u64 {
        self.exchange.counters().restarts
    }

    fn assert_no_mistakes<C: Chip>(&self) {
        let mistakes = self.core::<C, _>(|core| core.mistakes().clone());
        assert_eq!(mistakes.count(), 0, "{:#?}", mistakes.first());
    }

    fn assert_no_buffer_is_missing(&self) {
        let rx: Vec<_> = std::iter::from_fn(|| self.exchange.try_take_rx_buffer()).collect();
        assert_eq!(rx.len(), BUFFERS);
        rx.into_iter().for_each(|buffer| self.exchange.return_rx_buffer(buffer));
    }
}

async fn wait(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "it never happens");
        Timer::after_micros(250).await;
    }
}

/// A frame that the node takes: to its address.
fn to_node(len: usize, seed: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256 + seed) as u8).collect();
    frame[..6].copy_from_slice(&MAC.0);
    frame
}

/// Runs a test beside a node's USB and NIC tasks, with a chip behind a hub.
fn on_node<C: Chip, T>(kind: Kind, prepare: impl FnOnce(&mut C), test: impl AsyncFnOnce(&Rig<'_>) -> T) -> T {
    on_node_with_buffers(kind, 16 * 1024, prepare, test)
}

/// The same with receive buffers of another length.
fn on_node_with_buffers<C: Chip, T>(
    kind: Kind,
    rx_buffer_len: usize,
    prepare: impl FnOnce(&mut C),
    test: impl AsyncFnOnce(&Rig<'_>) -> T,
) -> T {
    let (dma, mut pool) = FakeDma::new(1024 * 1024);
    let model = Model::new(kind, dma);
    model.plug(Node::new(Speed::High, Box::new(Hub::new(4, Speed::High))));
    let mut chip = C::make(UsbSpeed::High);
    chip.core().set_negotiation_time(200_000);
    prepare(&mut chip);
    model.plug_at(&PLACE, Node::new(Speed::High, Box::new(chip)));
    let controller = Controller::new(model.clone());
    let claims = UsbNics::default();
    let bus = Bus::new(&controller, &claims, &mut pool).unwrap();
    let mut buffers = |len| (0..BUFFERS).map(|_| pool.take(len).unwrap()).collect::<Vec<_>>();
    let exchange = FrameExchange::new(buffers(rx_buffer_len), buffers(2048));
    let board = BoardInfo { mac: Some(MAC), id: 0 };
    time::run(async {
        let tasks = join3(
            Machine::run(&model, &controller),
            async {
                controller.init().await.unwrap();
                bus.run().await
            },
            usbnet::run(&bus, &exchange, &board),
        );
        match select(tasks, test(&Rig { model: &model, exchange: &exchange })).await {
            Either::First(_) => unreachable!("the tasks run for ever"),
            Either::Second(result) => result,
        }
    })
}

/// Runs a generic test for both chips.
macro_rules! for_both_chips {
    ($($name:ident)*) => {
        $(
            mod $name {
                #[test]
                fn lan9514() {
                    super::$name::<super::Lan9514>();
                }
                #[test]
                fn lan7800() {
                    super::$name::<super::Lan7800>();
                }
            }
        )*
    };
}

for_both_chips! {
    it_comes_up_with_the_boards_address_and_the_link_as_negotiated
    frames_of_every_length_pass_both_ways
    what_comes_in_a_burst_arrives_in_order
    short_receive_buffers_get_short_bursts_or_single_frames
    what_waits_to_be_sent_goes_out_together
    a_link_is_used_within_a_tenth_of_a_second
    duplex_and_pauses_follow_the_partner
    a_link_that_flaps_a_thousand_times_costs_nothing
    a_link_without_traffic_costs_next_to_nothing
    damaged_frames_and_bursts_are_counted_and_the_next_one_arrives
    halted_endpoints_are_cleared
    a_transmitter_that_hangs_is_noticed_and_healed
    a_chip_that_does_not_start_is_tried_ever_less_often_until_it_does
    a_chip_that_falls_silent_is_started_anew
    it_works_without_an_interrupt_endpoint
    descriptors_without_what_is_needed_are_refused
    a_configuration_that_is_shorter_than_it_says_is_taken_as_it_is
    unplugging_it_in_the_middle_loses_no_buffer
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

fn descriptors_without_what_is_needed_are_refused<C: Chip>() {
    for wrong in [Descriptors::WithoutBulkIn, Descriptors::EmptyDescriptor] {
        on_node::<C, _>(
            Kind::Silicon,
            |chip| chip.core().faults.descriptors = wrong,
            async |rig| {
                Timer::after_secs(20).await;
                assert_eq!(rig.exchange.nic(), None, "{wrong:?}");
                rig.model.unplug_at(&PLACE);
                Timer::after_secs(1).await;
                rig.model.plug_at(&PLACE, Node::new(Speed::High, Box::new(C::make(UsbSpeed::High))));
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
                    rig.model.unplug_at(&PLACE);
                    wait(|| rig.exchange.link() == Link::Absent).await;
                    Timer::after_millis(200).await;
                    while rig.exchange.take_rx().is_some() {}
                    rig.assert_no_buffer_is_missing();
                    rig.model.plug_at(&PLACE, Node::new(Speed::High, Box::new(C::make(UsbSpeed::High))));
                }
                rig.link_up().await;
                let all: Vec<_> = std::iter::from_fn(|| rig.exchange.take_tx()).collect();
                assert_eq!(all.len(), BUFFERS);
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
                rig.model.unplug_at(&PLACE);
                wait(|| rig.exchange.link() == Link::Absent).await;
                rig.model.plug_at(&PLACE, Node::new(Speed::Full, Box::new(C::make(UsbSpeed::Full))));
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
