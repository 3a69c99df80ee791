//! The protocol of iperf3, without its authentication and without SCTP.
//!
//! A control connection carries a cookie, one-byte states and JSON with its length in front; data go over TCP connections that
//! begin with the same cookie, or over UDP flows that begin with a greeting. Facts from esnet/iperf 3.12 to 3.17: the states and
//! error numbers from `iperf_api.h`, the order of messages from `iperf_server_api.c` and `iperf_client_api.c`, parameters and
//! results from `send_parameters` and `send_results` in `iperf_api.c`, the datagrams from `iperf_udp.c`; all of it compared
//! with what the real program sends.

mod all;
pub(crate) mod client;
mod control;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod json;
mod results;
mod run;
pub(crate) mod server;
mod settings;
mod tcp;
mod udp;

use sockets::SocketError;

pub(crate) use settings::Settings;

/// Where servers listen.
pub(crate) const PORT: u16 = 5201;
/// Bytes of a cookie: 36 characters and a zero.
pub(crate) const COOKIE_LEN: usize = 37;
/// Streams of a test at most, both directions together.
pub(crate) const STREAMS_MAX: usize = 16;

/// Indices of the figures that the workload has.
pub(crate) mod figure {
    pub(crate) const TESTS: usize = 0;
    pub(crate) const DENIED: usize = 1;
    pub(crate) const SENT_RATE: usize = 2;
    pub(crate) const RECEIVED_RATE: usize = 3;
    pub(crate) const DATAGRAMS: usize = 4;
    pub(crate) const LOST: usize = 5;
    pub(crate) const OUT_OF_ORDER: usize = 6;
    pub(crate) const JITTER: usize = 7;
}

/// What the control connection is about.
mod state {
    pub(super) const TEST_START: u8 = 1;
    pub(super) const TEST_RUNNING: u8 = 2;
    pub(super) const TEST_END: u8 = 4;
    pub(super) const PARAM_EXCHANGE: u8 = 9;
    pub(super) const CREATE_STREAMS: u8 = 10;
    pub(super) const SERVER_TERMINATE: u8 = 11;
    pub(super) const CLIENT_TERMINATE: u8 = 12;
    pub(super) const EXCHANGE_RESULTS: u8 = 13;
    pub(super) const DISPLAY_RESULTS: u8 = 14;
    pub(super) const IPERF_DONE: u8 = 16;
    /// -1 and -2.
    pub(super) const ACCESS_DENIED: u8 = 0xFF;
    pub(super) const SERVER_ERROR: u8 = 0xFE;
}

/// Error numbers that a server tells its client.
mod number {
    /// Too many streams.
    pub(super) const STREAMS: u32 = 6;
    /// Datagrams that are too long.
    pub(super) const UDP_LENGTH: u32 = 20;
    /// Parameters that can't be read.
    pub(super) const PARAMETERS: u32 = 114;
}

/// Why a test has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the server is busy with another test: try again later")]
    Busy,
    #[error("the server refused the test: iperf3 error {0}")]
    Refused(u32),
    #[error("the peer has ended the test")]
    Terminated,
    #[error("the peer did not do its part in time")]
    Timeout,
    #[error("the peer sent {0}, which is not expected here")]
    State(u8),
    #[error("the peer sent something that can't be read: is it an iperf3?")]
    Unreadable,
    #[error("{0} streams are asked for, at most {STREAMS_MAX} are possible")]
    Streams(u64),
    #[error("datagrams of {0} bytes are asked for; with UDP, len is 16 to 1472")]
    Length(u64),
}
