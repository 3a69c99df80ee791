//! The models, driven by hand-written sequences of requests and transfers as the data sheets have them.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap or panic is a failed test")]

mod bench;
mod descriptors;
mod faults;
mod filters;
mod link;
mod receive;
mod registers;
mod transmit;
