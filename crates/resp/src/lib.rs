//! RESP2, the protocol of Redis: requests are read where they lie, replies are written to any [`Sink`]. No I/O.
//!
//! Source: Redis protocol specification (redis.io, "RESP protocol description"), and for what a server answers to a
//! malformed request `networking.c` of Redis 7.0 (`processInlineBuffer`, `processMultibulkBuffer`), whose texts clients know.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on should panic"))]

mod integer;
mod reply;
mod request;

pub use integer::{INTEGER_LEN_MAX, IntegerText, parse_integer};
pub use reply::{Sink, array, bulk, bulk_header, error, integer, null, simple};
pub use request::{ARGUMENTS_MAX, Argument, Arguments, BULK_LEN_MAX, INLINE_LEN_MAX, Parsed, ProtocolError, parse};
