//! What a workload needs from the node that it runs on.

use alloc::boxed::Box;
use core::net::IpAddr;

use embassy_time::{Duration, Instant};
use sockets::Network;
use telemetry::{NetInfo, Sample};

use crate::BoxFuture;

/// The node, as workloads see it. Its methods are called from any core.
pub trait Env: Sync {
    /// Sends one ICMP echo request with `len` bytes of payload to `peer` and returns the time until its answer came.
    ///
    /// The future may be dropped before it is done.
    fn ping(&self, peer: IpAddr, len: usize, timeout: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>>;

    /// Returns what core 0 knows of the board at the moment; `None` if it does not tell.
    ///
    /// The answer comes from core 0 itself, so how long it takes says how busy that is. The future may be dropped.
    fn look(&self) -> BoxFuture<'_, Option<Box<Observation>>> {
        Box::pin(async { None })
    }

    /// Asks a time server, once. The future may be dropped.
    fn ask_time(&self) -> BoxFuture<'_, Result<TimeReading, TimeFailure>> {
        Box::pin(async { Err(TimeFailure::NoServer) })
    }

    /// Returns the network, for sockets that work on any core.
    ///
    /// What this default opens waits for ever: it is for tests that need no sockets.
    fn network(&self) -> &'static Network {
        static NOWHERE: Network = Network::new();
        &NOWHERE
    }

    /// Returns a number that nobody outside can guess, another one each time. This default is for tests, which want to be
    /// repeated.
    fn seed(&self) -> u64 {
        0x5EED
    }

    /// Returns the time. Tests have a clock of their own that moves when it is read.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// What core 0 knows of the board.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The newest sample.
    pub sample: Sample,
    /// The state of the network when it was taken.
    pub net: NetInfo,
}

/// What a time server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeReading {
    /// A moment by the node's clock.
    pub at: Instant,
    /// The same moment by the server's, in µs since 1970.
    pub unix_us: u64,
    /// How far the two may be apart because of the way to the server and back: half of the time that took.
    pub error_us: u64,
}

/// Why there is no such reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeFailure {
    /// No server is known, or the network is not up.
    #[error("no time server is known")]
    NoServer,
    /// It did not answer, or not with the time.
    #[error("the time server did not answer")]
    NoAnswer,
}

/// Why there is no round-trip time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PingFailure {
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// There is no link, no address or no route.
    #[error("the network is not up")]
    NoNetwork,
    /// No way leads there: a router or the peer's network said so, or its Ethernet address can't be found.
    #[error("the peer can't be reached")]
    Unreachable,
    /// The node has too many requests open.
    #[error("too many requests are open")]
    Busy,
}
