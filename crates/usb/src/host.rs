//! What a host controller can do, and the words for it.
//!
//! The trait is small and object-safe on purpose: everything above it is tested on the host over fakes, and nothing
//! above it is generic. A transfer is started with a buffer that the controller owns until it is done.

use core::task::{Context, Poll};

use embassy_time::{Duration, Instant};
use hal::dma::DmaBuffer;
use thiserror::Error;

/// Signalling rate of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
}

/// Which way the data of a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Host to device.
    Out,
    /// Device to host.
    In,
}

/// What an endpoint is for. The numbers are those of `bmAttributes` (USB 2.0, table 9-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests.
    Control = 0,
    /// Data at a fixed rate, without retries.
    Isochronous = 1,
    /// Data whenever there is room on the bus.
    Bulk = 2,
    /// Little data, asked for at an interval.
    Interrupt = 3,
}

/// The token or data PID that a transfer starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pid {
    /// A data packet with toggle 0.
    Data0,
    /// A data packet with toggle 1.
    Data1,
    /// The setup packet of a control request.
    Setup,
}

/// The high-speed hub that translates for a full- or low-speed device (USB 2.0, 11.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translator {
    /// Address of the hub.
    pub hub: u8,
    /// Its port on the way to the device, from 1.
    pub port: u8,
}

/// An endpoint, as the controller needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address of the device; 0 while it has none.
    pub address: u8,
    /// Endpoint number, 0 to 15.
    pub number: u8,
    /// Direction of this transfer (control endpoints have both).
    pub direction: Direction,
    /// What it is for.
    pub kind: Kind,
    /// Largest packet in bytes, at least 1.
    pub max_packet: u16,
    /// Speed of the device.
    pub speed: Speed,
    /// Who translates, for a slower device behind a high-speed hub.
    pub translator: Option<Translator>,
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    /// The device is no longer there.
    #[error("the device is gone")]
    Gone,
    /// The endpoint refuses until its halt is cleared, or does not know the request.
    #[error("the endpoint is stalled")]
    Stall,
    /// An interrupt endpoint has nothing to say: ask again after its interval.
    #[error("nothing to report")]
    Nak,
    /// Three attempts in a row had no valid answer.
    #[error("no valid answer in three attempts (HCINT {hcint:#x})")]
    Transaction {
        /// The channel's interrupt register at the last attempt.
        hcint: u32,
    },
    /// The device sent more than it may.
    #[error("the device sent too much")]
    Babble,
    /// The controller could not reach the buffer.
    #[error("the controller could not reach the buffer (HCINT {hcint:#x})")]
    Dma {
        /// The channel's interrupt register.
        hcint: u32,
    },
    /// The deadline passed.
    #[error("no answer before the deadline")]
    Timeout,
    /// The request does not fit the buffer or the controller.
    #[error("a transfer of {len} bytes does not fit")]
    TooLong {
        /// Length asked for.
        len: usize,
    },
}

/// A transfer to be started.
#[derive(Debug)]
pub struct Request {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// The PID of its first packet.
    pub pid: Pid,
    /// The data; the transfer starts at its first byte.
    pub buffer: DmaBuffer,
    /// Bytes to send, or the most to receive. A controller may need room for whole packets behind them.
    pub len: usize,
    /// When to give up. `None` waits until the device is gone.
    pub deadline: Option<Instant>,
}

/// A finished transfer.
#[derive(Debug)]
pub struct Completion {
    /// The buffer, unless the controller would not let go of it.
    pub buffer: Option<DmaBuffer>,
    /// Bytes moved.
    pub result: Result<usize, TransferError>,
    /// The PID of the endpoint's next packet.
    pub next_pid: Pid,
}

/// What becomes of a request that is not started.
#[derive(Debug)]
pub enum Rejected {
    /// It must wait: every channel is busy.
    Busy(Request),
    /// It is over: no channel became free before its deadline, or the root port is disabled.
    Over(Completion),
}

/// Names a started transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferId {
    /// Place in the controller (a channel).
    pub index: usize,
    /// Tells transfers in the same place apart.
    pub serial: u32,
}

/// How long devices are left alone at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleTimes {
    /// How long a connection must be stable before it counts.
    pub debounce: Duration,
    /// Rest after a reset.
    pub reset: Duration,
    /// Rest after a new address.
    pub address: Duration,
    /// Rest before a device that did not work is tried again.
    pub retry: Duration,
}

impl SettleTimes {
    /// For real devices. Debounce is 100 ms (USB 2.0, 7.1.7.3: TATTDB); the specification's minimum for the others, 10 and 2 ms,
    /// is too short for some: Linux rests 10 + 40 ms after a reset (`hub_port_reset`), 10 ms after SET_ADDRESS and 100 ms
    /// between attempts (`hub_port_init`).
    pub const REAL: Self = Self {
        debounce: Duration::from_millis(100),
        reset: Duration::from_millis(50),
        address: Duration::from_millis(10),
        retry: Duration::from_millis(100),
    };
    /// For devices of an emulator, which have nothing to settle: the minimum of the specification (USB 2.0, 7.1.7.5: TRSTRCY,
    /// and 9.2.6.3), and no contacts that bounce.
    pub const EMULATED: Self = Self {
        debounce: Duration::from_millis(0),
        reset: Duration::from_millis(10),
        address: Duration::from_millis(2),
        retry: Duration::from_millis(0),
    };
}

/// A host controller with one root port. While that is not enabled, every transfer ends with [`TransferError::Gone`].
pub trait HostController {
    /// Returns whether a device is connected to the root port.
    fn is_connected(&self) -> bool;

    /// Ready once after each time that the connection may have changed since the last call that was ready.
    fn poll_port_change(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Returns how long devices here take to settle.
    fn settle_times(&self) -> SettleTimes;

    /// Starts or ends a reset of the root port. How long it takes is up to the caller.
    fn set_port_reset(&self, is_on: bool);

    /// Returns the device's speed if the root port is enabled, which a reset does.
    fn enabled_speed(&self) -> Option<Speed>;

    /// Starts a transfer.
    ///
    /// # Errors
    ///
    /// [`Rejected::Busy`] gives the request back; the waker in `cx` is then called when a channel is free, at the request's
    /// deadline, and when transfers are aborted. See [`Rejected`] for the other case.
    fn start(&self, request: Request, cx: &mut Context<'_>) -> Result<TransferId, Rejected>;

    /// Ready when the transfer is done; its name is then void.
    fn poll(&self, id: TransferId, cx: &mut Context<'_>) -> Poll<Completion>;

    /// Stops a transfer that nobody will poll any more. Its buffer is lost, unless it is returned later.
    fn forget(&self, id: TransferId);

    /// Returns a buffer of `len` bytes that the controller kept when a transfer ended ([`Completion::buffer`] was `None`) and
    /// has let go of since. Any of that length will do for who misses one.
    fn take_returned(&self, len: usize) -> Option<DmaBuffer>;

    /// Ends all transfers to the device at `address` with [`TransferError::Gone`].
    fn abort(&self, address: u8);
}
