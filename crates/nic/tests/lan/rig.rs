//! A chip on a bus, and what a test has in hand.

use embassy_futures::join::join3;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use nic::MacAddress;
use nic::events::NicEvent;
use nic::exchange::FrameExchange;
use nic::usbnet::{self, BoardInfo, UsbNics};
use testkit::dma::FakeDma;
use testkit::time;
use testkit::usb::hub::Hub;
use testkit::usb::{Kind, Machine, Model, Node};
use usb::bus::Bus;
use usb::dwc2::Controller;
use usb::host::Speed;
use usb_models::lan7800::Lan7800;
use usb_models::lan9514::Lan9514;
use usb_models::nic::{Core, NicModel, UsbSpeed};

pub(crate) const BOTH: [Kind; 2] = [Kind::Emulator, Kind::Silicon];
/// Buffers in each direction.
pub(crate) const BUFFERS: usize = 12;
/// The board's address.
pub(crate) const MAC: MacAddress = MacAddress([0xB8, 0x27, 0xEB, 1, 2, 3]);
/// A model of a chip.
pub(crate) trait Chip: NicModel + 'static {
    const DRIVER: &'static str;
    const SPEED_MBPS: u32;
    /// Where the Ethernet function is: the ports from the root on.
    const PLACE: &'static [usize];
    fn make(speed: UsbSpeed) -> Self;
    /// Plugs in the hubs that are in the same chip, as on the board.
    fn plug_hubs(model: &Model);
}

impl Chip for Lan9514 {
    const DRIVER: &'static str = "lan95xx";
    const SPEED_MBPS: u32 = 100;
    const PLACE: &'static [usize] = &[1];
    fn make(speed: UsbSpeed) -> Self {
        Self::new(speed)
    }
    fn plug_hubs(model: &Model) {
        model.plug(Node::new(Speed::High, Box::new(Hub::lan9514())));
    }
}

impl Chip for Lan7800 {
    const DRIVER: &'static str = "lan78xx";
    const SPEED_MBPS: u32 = 1000;
    const PLACE: &'static [usize] = &[1, 1];
    fn make(speed: UsbSpeed) -> Self {
        Self::new(speed)
    }
    fn plug_hubs(model: &Model) {
        let inner = Node::new(Speed::High, Box::new(Hub::lan7515(3)));
        model.plug(Node::new(Speed::High, Box::new(Hub::lan7515(4).with(1, inner))));
    }
}

/// What a test has in hand.
pub(crate) struct Rig<'a> {
    pub(crate) model: &'a Model,
    pub(crate) exchange: &'static FrameExchange,
}

impl Rig<'_> {
    pub(crate) fn chip<C: Chip, R>(&self, look: impl FnOnce(&mut C) -> R) -> R {
        self.model.with(C::PLACE, look)
    }

    pub(crate) fn core<C: Chip, R>(&self, look: impl FnOnce(&mut Core) -> R) -> R {
        self.chip(|chip: &mut C| look(chip.core()))
    }

    pub(crate) async fn link_up(&self) {
        wait(|| self.exchange.link().is_up()).await;
    }

    pub(crate) async fn receive(&self) -> Vec<u8> {
        wait(|| self.exchange.has_rx()).await;
        self.exchange.take_rx().unwrap().bytes().to_vec()
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.exchange.take_tx().unwrap().send(frame.len(), |to| to.copy_from_slice(frame));
    }

    pub(crate) async fn sent<C: Chip>(&self) -> Vec<u8> {
        let mut frame = None;
        wait(|| {
            frame = self.chip(|chip: &mut C| chip.take_sent());
            frame.is_some()
        })
        .await;
        frame.unwrap()
    }

    /// A frame each way.
    pub(crate) async fn talk<C: Chip>(&self, seed: usize) {
        let frame = to_node(200 + seed % 100, seed);
        self.chip(|chip: &mut C| chip.receive(&frame));
        assert_eq!(self.receive().await, frame);
        let frame = to_node(100 + seed % 100, seed);
        self.send(&frame);
        assert_eq!(self.sent::<C>().await, frame);
    }

    pub(crate) fn event(&self, event: NicEvent) -> u64 {
        self.exchange.events().nth(event as usize).unwrap().1
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.exchange.counters().restarts
    }

    pub(crate) fn assert_no_mistakes<C: Chip>(&self) {
        let mistakes = self.core::<C, _>(|core| core.mistakes().clone());
        assert_eq!(mistakes.count(), 0, "{:#?}", mistakes.first());
    }

    pub(crate) fn assert_no_buffer_is_missing(&self) {
        let rx: Vec<_> = std::iter::from_fn(|| self.exchange.try_take_rx_buffer()).collect();
        assert_eq!(rx.len(), BUFFERS);
        rx.into_iter().for_each(|buffer| self.exchange.return_rx_buffer(buffer));
    }
}

pub(crate) async fn wait(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "it never happens");
        Timer::after_micros(250).await;
    }
}

/// A frame that the node takes: to its address.
pub(crate) fn to_node(len: usize, seed: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256 + seed) as u8).collect();
    frame[..6].copy_from_slice(&MAC.0);
    frame
}

/// Runs a test beside a node's USB and NIC tasks, with a chip behind a hub.
pub(crate) fn on_node<C: Chip, T>(
    kind: Kind,
    prepare: impl FnOnce(&mut C),
    test: impl AsyncFnOnce(&Rig<'_>) -> T,
) -> T {
    on_node_with_buffers(kind, 16 * 1024, prepare, test)
}

/// The same with receive buffers of another length.
pub(crate) fn on_node_with_buffers<C: Chip, T>(
    kind: Kind,
    rx_buffer_len: usize,
    prepare: impl FnOnce(&mut C),
    test: impl AsyncFnOnce(&Rig<'_>) -> T,
) -> T {
    let (dma, mut pool) = FakeDma::new(1024 * 1024);
    let model = Model::new(kind, dma);
    C::plug_hubs(&model);
    let mut chip = C::make(UsbSpeed::High);
    chip.core().set_negotiation_time(200_000);
    prepare(&mut chip);
    model.plug_at(C::PLACE, Node::new(Speed::High, Box::new(chip)));
    let controller = Controller::new(model.clone());
    let claims = UsbNics::default();
    let bus = Bus::new(&controller, &claims, &mut pool).unwrap();
    let mut buffers = |len| (0..BUFFERS).map(|_| pool.take(len).unwrap()).collect::<Vec<_>>();
    let exchange: &'static _ = Box::leak(Box::new(FrameExchange::new(buffers(rx_buffer_len), buffers(2048))));
    let board = BoardInfo { mac: Some(MAC), id: 0 };
    time::run(async {
        let tasks = join3(
            Machine::run(&model, &controller),
            async {
                controller.init().await.unwrap();
                bus.run().await
            },
            usbnet::run(&bus, exchange, &board),
        );
        match select(tasks, test(&Rig { model: &model, exchange })).await {
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
                    super::$name::<usb_models::lan9514::Lan9514>();
                }
                #[test]
                fn lan7800() {
                    super::$name::<usb_models::lan7800::Lan7800>();
                }
            }
        )*
    };
}

pub(crate) use for_both_chips;
