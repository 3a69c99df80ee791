//! What both sides of a TCP socket share.

use core::cell::Cell;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Instant;

use crate::SocketError;
use crate::bell::Bell;
use crate::ring::Ring;

/// What the program wants of its socket. A new order takes the place of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing yet.
    None,
    /// No connection: one that there is is reset.
    Reset,
    /// The next client of this port.
    Listen(u16),
    /// A connection to this peer.
    Connect(SocketAddr),
    /// The end of the connection, in good order: what was written is still sent.
    Close,
    /// The end of the socket.
    Drop {
        /// Its connection was shut down by the program, and is still to end in good order.
        after_close: bool,
    },
}

/// What has become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Busy,
    /// It is done, and there is no connection.
    Idle,
    /// There is a connection.
    Open,
    /// There is none.
    Failed(SocketError),
}

#[derive(Clone, Copy)]
pub(crate) struct Report {
    /// Number of the order.
    pub(crate) number: u32,
    pub(crate) state: State,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    /// When it was made.
    pub(crate) at: Instant,
}

/// How the received bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxEnd {
    /// More may come.
    None,
    /// The peer has said that it will send no more.
    Finished,
    /// The connection was lost.
    Lost,
}

/// A socket, as both sides see it.
pub(crate) struct Tcp {
    pub(crate) rx_len: usize,
    pub(crate) tx_len: usize,
    pub(crate) rx: Ring,
    pub(crate) tx: Ring,
    /// The program will write no more.
    pub(crate) shutdown: AtomicBool,
    /// The connection exists. Written by core 0.
    pub(crate) is_open: AtomicBool,
    rx_end: AtomicU8,
    /// Bytes that the program has written and that the peer has acknowledged, in this connection; they wrap.
    written: AtomicUsize,
    acknowledged: AtomicUsize,
    pub(crate) sent: Bell,
    order: Mutex<CriticalSectionRawMutex, Cell<(u32, Order)>>,
    pub(crate) ordered: Bell,
    report: Mutex<CriticalSectionRawMutex, Cell<Report>>,
    pub(crate) reported: Bell,
}

impl Tcp {
    pub(crate) fn new(rx_len: usize, tx_len: usize) -> Self {
        let report = Report { number: 0, state: State::Idle, peer: None, local: None, at: Instant::MIN };
        Self {
            rx_len,
            tx_len,
            rx: Ring::new(rx_len),
            tx: Ring::new(tx_len),
            shutdown: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            rx_end: AtomicU8::new(RxEnd::None as u8),
            written: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            sent: Bell::new(),
            order: Mutex::new(Cell::new((0, Order::None))),
            ordered: Bell::new(),
            report: Mutex::new(Cell::new(report)),
            reported: Bell::new(),
        }
    }

    /// Whether there was an order before.
    pub(crate) fn was_used(&self) -> bool {
        self.newest_order().0 != 0
    }

    /// Gives an order and returns its number.
    pub(crate) fn order(&self, order: Order) -> u32 {
        let number = self.order.lock(|cell| {
            let number = cell.get().0.wrapping_add(1).max(1);
            cell.set((number, order));
            number
        });
        self.ordered.ring();
        number
    }

    pub(crate) fn newest_order(&self) -> (u32, Order) {
        self.order.lock(Cell::get)
    }

    pub(crate) fn report(&self) -> Report {
        self.report.lock(Cell::get)
    }

    pub(crate) fn set_report(&self, report: Report) {
        self.report.lock(|cell| cell.set(report));
        self.reported.ring();
    }

    /// Forgets the connection before. For the program, when core 0 has reported that there is none.
    pub(crate) fn renew(&self) {
        self.rx.clear();
        self.shutdown.store(false, Ordering::Relaxed);
        self.rx_end.store(RxEnd::None as u8, Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        self.acknowledged.store(0, Ordering::Relaxed);
    }

    pub(crate) fn shut_down(&self) {
        // Release: what was written before is in the ring for whoever sees this.
        self.shutdown.store(true, Ordering::Release);
        self.tx.announce();
    }

    /// Counts bytes that are in the ring now, and tells core 0.
    pub(crate) fn wrote(&self, len: usize) {
        if len > 0 {
            self.written.fetch_add(len, Ordering::Relaxed);
            self.tx.announce();
        }
    }

    /// Written bytes that are not acknowledged.
    pub(crate) fn unsent(&self) -> usize {
        self.written.load(Ordering::Relaxed).wrapping_sub(self.acknowledged.load(Ordering::Relaxed))
    }

    pub(crate) fn set_acknowledged(&self, len: usize) {
        if self.acknowledged.swap(len, Ordering::Relaxed) != len {
            self.sent.ring();
        }
    }

    pub(crate) fn rx_end(&self) -> RxEnd {
        // Acquire: all bytes before the end are in the ring for whoever sees it.
        match self.rx_end.load(Ordering::Acquire) {
            1 => RxEnd::Finished,
            2 => RxEnd::Lost,
            _ => RxEnd::None,
        }
    }

    pub(crate) fn set_rx_end(&self, end: RxEnd) {
        self.rx_end.store(end as u8, Ordering::Release);
        self.rx.announce();
    }

    /// Wakes the program, whatever it waits for.
    pub(crate) fn wake_program(&self) {
        self.rx.wake();
        self.tx.wake();
        self.sent.ring();
        self.reported.ring();
    }
}
