//! What a workload needs from the node that it runs on.

use core::net::IpAddr;

use embassy_time::{Duration, Instant};

use crate::BoxFuture;

/// The node, as workloads see it. Its methods are called from any core.
pub trait Env: Sync {
    /// Sends one ICMP echo request with `len` bytes of payload to `peer` and returns the time until its answer came.
    ///
    /// The future may be dropped before it is done.
    fn ping(&self, peer: IpAddr, len: usize, timeout: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>>;

    /// Returns the time. Tests have a clock of their own that moves when it is read.
    fn now(&self) -> Instant {
        Instant::now()
    }
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
