//! A laboratory: a hub, stacks plugged into it, taps to look at frames and to inject them, and tasks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use embassy_time::{Duration, Instant, Timer};
use net::{Identity, Ipv4Settings, Settings, Stack};
use nic::exchange::{FrameExchange, NicInfo};
use nic::{Link, MacAddress};
use testkit::dma::FakeDma;

pub(crate) const UP: Link = Link::Up { speed_mbps: 100, is_full_duplex: true };
/// Bytes that the driver of a test wants in front of a frame, so that a forgotten headroom shows.
const HEADROOM: usize = 20;
const BUFFERS: usize = 16;

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct TaskFlag {
    woken: AtomicBool,
    root: std::sync::Mutex<Option<Waker>>,
}

impl Wake for TaskFlag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if let Some(root) = &*self.root.lock().unwrap() {
            root.wake_by_ref();
        }
    }
}

/// Runs tasks, each polled only when it was woken.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    new: Rc<RefCell<Vec<Task>>>,
}

impl Tasks {
    pub(crate) fn spawn<T>(&self, task: impl Future<Output = T> + 'static) {
        self.new.borrow_mut().push(Box::pin(async move {
            task.await;
        }));
    }

    /// Runs the tasks until `main` has ended.
    fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let mut running: Vec<(Task, Arc<TaskFlag>)> = vec![];
        let mut main = Box::pin(main);
        let main_flag = Arc::new(TaskFlag { woken: AtomicBool::new(true), root: None.into() });
        testkit::time::run(std::future::poll_fn(|cx| {
            *main_flag.root.lock().unwrap() = Some(cx.waker().clone());
            if main_flag.woken.swap(false, Ordering::SeqCst) {
                let waker = Waker::from(main_flag.clone());
                if let Poll::Ready(out) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Poll::Ready(out);
                }
            }
            for task in self.new.borrow_mut().drain(..) {
                let root = Some(cx.waker().clone()).into();
                running.push((task, Arc::new(TaskFlag { woken: AtomicBool::new(true), root })));
                cx.waker().wake_by_ref();
            }
            running.retain_mut(|(task, flag)| {
                if !flag.woken.swap(false, Ordering::SeqCst) {
                    return true;
                }
                let waker = Waker::from(flag.clone());
                task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
            Poll::Pending
        }))
    }
}

/// Something that sees every frame on the hub and can send its own.
#[derive(Clone)]
pub(crate) struct Tap {
    number: usize,
    hears_taps: bool,
    hub: Rc<HubState>,
    seen: Rc<RefCell<VecDeque<Vec<u8>>>>,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Tap {
    /// Returns the next frame that somebody else sent.
    pub(crate) async fn recv(&self) -> Vec<u8> {
        std::future::poll_fn(|cx| match self.seen.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(frame),
            None => {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Returns the next frame for which `find` gives something, if it comes in time.
    pub(crate) async fn find<T>(&self, timeout: Duration, mut find: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let search = async {
            loop {
                if let Some(found) = find(&self.recv().await) {
                    return found;
                }
            }
        };
        embassy_time::with_timeout(timeout, search).await.ok()
    }

    /// Forgets what was seen.
    pub(crate) fn clear(&self) {
        self.seen.borrow_mut().clear();
    }

    /// Sends a frame to everybody else. Waits for free receive buffers.
    pub(crate) async fn send(&self, frame: &[u8]) {
        for port in self.hub.ports() {
            port.receive(frame).await;
        }
        self.hub.show(frame, Some(self.number));
    }
}

struct Port {
    exchange: &'static FrameExchange,
    is_plugged: Cell<bool>,
}

impl Port {
    async fn receive(&self, frame: &[u8]) {
        if !self.is_plugged.get() || frame.is_empty() {
            return;
        }
        let mut buffer = self.exchange.take_rx_buffer().await;
        // Not at the start: a driver's bursts have headers.
        let range = 8..8 + frame.len();
        buffer.bytes_mut()[range.clone()].copy_from_slice(frame);
        self.exchange.deliver(buffer, range);
    }
}

#[derive(Default)]
struct HubState {
    ports: RefCell<Vec<Rc<Port>>>,
    taps: RefCell<Vec<Tap>>,
    /// One of so many frames is lost; 0 for none.
    loss: Cell<u32>,
    random: Cell<u32>,
}

impl HubState {
    fn loses(&self) -> bool {
        self.random.set(self.random.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        self.loss.get() > 0 && (self.random.get() >> 16).is_multiple_of(self.loss.get())
    }

    fn ports(&self) -> Vec<Rc<Port>> {
        self.ports.borrow().clone()
    }

    fn show(&self, frame: &[u8], sender: Option<usize>) {
        let hears = |tap: &&Tap| Some(tap.number) != sender && (sender.is_none() || tap.hears_taps);
        for tap in self.taps.borrow().iter().filter(hears) {
            tap.seen.borrow_mut().push_back(frame.to_vec());
            if let Some(waker) = tap.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

/// A node in the laboratory.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) stack: &'static Stack,
    pub(crate) exchange: &'static FrameExchange,
    pub(crate) mac: MacAddress,
    port: Rc<Port>,
}

impl Node {
    /// Pulls the cable, or puts it back.
    pub(crate) fn plug(&self, is_plugged: bool) {
        self.port.is_plugged.set(is_plugged);
        self.exchange.set_link(if is_plugged { UP } else { Link::Down });
    }

    /// Asserts that all buffers are where they should be when nothing is under way.
    pub(crate) fn assert_no_leak(&self) {
        assert!(!self.exchange.has_rx(), "frames wait that nobody takes");
        let rx: Vec<_> = std::iter::from_fn(|| self.exchange.try_take_rx_buffer()).collect();
        assert_eq!(rx.len(), BUFFERS, "receive buffers");
        rx.into_iter().for_each(|buffer| self.exchange.return_rx_buffer(buffer));
        let tx: Vec<_> = std::iter::from_fn(|| self.exchange.take_tx()).collect();
        assert_eq!(tx.len(), BUFFERS, "transmit buffers");
    }
}

/// The hub and its tasks.
#[derive(Clone, Default)]
pub(crate) struct Lab {
    pub(crate) tasks: Tasks,
    hub: Rc<HubState>,
}

/// Runs a test in a laboratory of its own.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(Lab) -> F) {
    let lab = Lab::default();
    let tasks = lab.tasks.clone();
    tasks.run(test(lab));
}

pub(crate) fn settings(ipv4: Ipv4Settings) -> Settings {
    let identity = Identity { version: "1.2.3".into(), board: "Pi 3B".into(), serial: "00ab".into() };
    Settings { name: None, ipv4, ntp: None, identity, seed: 42, secret: [7; 16] }
}

pub(crate) fn fixed(last: u8) -> Ipv4Settings {
    Ipv4Settings::Static { address: [10, 0, 0, last].into(), prefix_len: 24, gateway: None }
}

impl Lab {
    pub(crate) fn tap(&self) -> Tap {
        self.add_tap(true)
    }

    /// Has the hub lose one of `loss` frames; 0 for none.
    pub(crate) fn lose(&self, loss: u32) {
        self.hub.loss.set(loss);
    }

    /// Returns a tap that sees what nodes send, and not what comes from other taps.
    pub(crate) fn tap_of_nodes(&self) -> Tap {
        self.add_tap(false)
    }

    fn add_tap(&self, hears_taps: bool) -> Tap {
        let number = self.hub.taps.borrow().len();
        let tap = Tap { number, hears_taps, hub: self.hub.clone(), seen: Rc::default(), waker: Rc::default() };
        self.hub.taps.borrow_mut().push(tap.clone());
        tap
    }

    /// Adds a node with its stack and addresses running, and its cable plugged in.
    pub(crate) fn node(&self, last: u8, settings: Settings) -> Node {
        let (_, mut pool) = FakeDma::new(BUFFERS * 2 * 2048 + 64);
        let mut buffers = || (0..BUFFERS).map(|_| pool.take(2048).unwrap()).collect::<Vec<_>>();
        let exchange: &'static FrameExchange = Box::leak(Box::new(FrameExchange::new(buffers(), buffers())));
        let mac = MacAddress([0x52, 0x54, 0, 0x12, 0x34, last]);
        let stack = Stack::new(exchange, settings);
        let port = Rc::new(Port { exchange, is_plugged: Cell::new(false) });
        self.hub.ports.borrow_mut().push(port.clone());
        self.tasks.spawn(stack.run());
        self.tasks.spawn(net::address::run_ipv4(stack));
        self.tasks.spawn(net::address::run_ipv6(stack));
        self.tasks.spawn(send(port.clone(), self.hub.clone()));
        exchange.attach(NicInfo { driver: "test", mac, tx_headroom: HEADROOM });
        let node = Node { stack, exchange, mac, port };
        node.plug(true);
        node
    }
}

/// A driver: takes what the stack sends to everybody else on the hub.
async fn send(port: Rc<Port>, hub: Rc<HubState>) {
    loop {
        let frame = port.exchange.take_tx_frame().await;
        let bytes = frame.buffer.bytes()[frame.frame.clone()].to_vec();
        assert!(frame.frame.start >= HEADROOM, "the driver has no room for its header");
        if port.is_plugged.get() && !hub.loses() {
            hub.show(&bytes, None);
            for other in hub.ports().iter().filter(|other| !Rc::ptr_eq(other, &port)) {
                other.receive(&bytes).await;
            }
        }
        port.exchange.return_tx_buffer(frame.buffer, bytes.len(), true);
    }
}

/// Waits until `done`.
///
/// # Panics
///
/// When it takes longer than `timeout`.
pub(crate) async fn wait_until(timeout: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + timeout;
    while !done() {
        assert!(Instant::now() < end, "not within {timeout:?}: {what}");
        Timer::after_millis(10).await;
    }
}
