//! A board with the controller, its driver and an exchange.

use std::cell::Cell;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use nic::exchange::{FrameExchange, RX_BUFFERS};
use nic::genet::{Genet, PhyError};
use nic::{Link, MacAddress};
use testkit::dma::FakeDma;
use testkit::genet::{self, Partner};
use testkit::mmio::Model;
use testkit::time;

pub(crate) const MAC: MacAddress = MacAddress([0xdc, 0xa6, 0x32, 0x01, 0x02, 0x03]);
pub(crate) const GIGABIT: Link = Link::Up { speed_mbps: 1000, is_full_duplex: true };
/// Transmit buffers.
pub(crate) const TX_BUFFERS: usize = 64;

pub(crate) struct Board {
    pub(crate) model: Model<genet::Genet>,
    pub(crate) exchange: &'static FrameExchange,
    pub(crate) dma: &'static FakeDma,
    /// Whether there is another controller.
    pub(crate) has_substitute: Cell<bool>,
    /// Why the driver has returned.
    pub(crate) given_up: Cell<Option<PhyError>>,
}

/// Runs a test beside the driver, with a cable to a gigabit switch; at the end the driver must have kept all the rules.
pub(crate) fn on_board<T>(prepare: impl FnOnce(&mut genet::Genet), test: impl AsyncFnOnce(&Board) -> T) -> T {
    on_board_with(RX_BUFFERS, prepare, test)
}

/// The same with a number of receive buffers.
pub(crate) fn on_board_with<T>(
    rx_buffers: usize,
    prepare: impl FnOnce(&mut genet::Genet),
    test: impl AsyncFnOnce(&Board) -> T,
) -> T {
    let (dma, mut pool) = FakeDma::new((rx_buffers + TX_BUFFERS) * 2048 + 64);
    let (registers, model) = genet::claim(dma);
    let mut take = |count| (0..count).map(|_| pool.take(2048).unwrap()).collect::<Vec<_>>();
    let exchange: &'static FrameExchange = Box::leak(Box::new(FrameExchange::new(take(rx_buffers), take(TX_BUFFERS))));
    let board = Board { model, exchange, dma, has_substitute: Cell::new(false), given_up: Cell::new(None) };
    time::run(async {
        board.model.lock().phy.plug(Partner::GIGABIT);
        prepare(&mut board.model.lock());
        let mut driver = Box::new(Genet::identify(registers, MAC).unwrap());
        let substitute = async || {
            while !board.has_substitute.get() {
                Timer::after_millis(1).await;
            }
        };
        let driving = async {
            let error = driver.run(exchange, || genet::interrupt(&board.model), substitute).await;
            board.given_up.set(Some(error));
        };
        let result = match select(join(genet::machine(&board.model), driving), test(&board)).await {
            Either::First(_) => unreachable!("the machine runs for ever"),
            Either::Second(result) => result,
        };
        assert_eq!(board.model.lock().errors(), Vec::<&String>::new());
        result
    })
}

impl Board {
    pub(crate) async fn link_up(&self) {
        wait("the link comes up", || self.exchange.link().is_up()).await;
    }

    pub(crate) async fn link_down(&self) {
        wait("the link goes down", || !self.exchange.link().is_up()).await;
    }

    /// Waits for the next received frame.
    pub(crate) async fn receive(&self) -> Vec<u8> {
        wait("a frame is received", || self.exchange.has_rx()).await;
        self.exchange.take_rx().unwrap().bytes().to_vec()
    }

    /// Takes what was received by now.
    pub(crate) fn receive_all(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.exchange.take_rx().map(|frame| frame.bytes().to_vec())).collect()
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.exchange.take_tx().unwrap().send(frame.len(), |to| to.copy_from_slice(frame));
    }

    /// Waits for the next frame on the wire.
    pub(crate) async fn sent(&self) -> Vec<u8> {
        wait("a frame is sent", || !self.model.lock().sent.is_empty()).await;
        self.model.lock().sent.pop_front().unwrap()
    }

    /// One frame each way.
    pub(crate) async fn assert_works(&self) {
        self.link_up().await;
        self.model.lock().sent.clear();
        self.receive_all();
        let frame = frame(MAC, 100, 9);
        self.send(&frame);
        assert_eq!(self.sent().await, frame);
        self.model.lock().receive(&frame);
        assert_eq!(self.receive().await, frame);
    }

    pub(crate) fn event(&self, name: &str) -> u64 {
        self.exchange.events().find(|(event, _)| *event == name).unwrap().1
    }

    /// Asserts that no buffer is lost: after a while of rest the controller has all receive buffers and no other.
    pub(crate) async fn assert_no_leak(&self, rx_buffers: usize) {
        self.receive_all();
        Timer::after_millis(300).await;
        let tx: Vec<_> = std::iter::from_fn(|| self.exchange.take_tx()).collect();
        assert_eq!(tx.len(), TX_BUFFERS, "transmit buffers");
        let free: Vec<_> = std::iter::from_fn(|| self.exchange.try_take_rx_buffer()).collect();
        assert_eq!(free.len() + self.dma.shared_count(), rx_buffers, "receive buffers");
        free.into_iter().for_each(|buffer| self.exchange.return_rx_buffer(buffer));
    }
}

pub(crate) async fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(90), "it never happens that {what}");
        Timer::after_micros(200).await;
    }
}

/// A frame of `len` bytes to `to`.
pub(crate) fn frame(to: MacAddress, len: usize, seed: usize) -> Vec<u8> {
    let mut frame: Vec<_> = (0..len).map(|i| (i * 7 + i / 256 + seed) as u8).collect();
    frame[..6].copy_from_slice(&to.0);
    frame
}
