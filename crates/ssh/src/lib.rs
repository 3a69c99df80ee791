//! An SSH server (RFC 4250 to 4254) for a node: who holds an accepted key gets a shell, or runs a command. No passwords, no
//! forwarding, no files.
//!
//! [`Connection`] is the protocol, without network and time: bytes go in and out, and [`Event`]s tell what the client wants.
//! [`serve`](server::serve) runs one over a socket for an [`Application`](server::Application), with deadlines.
//! [`Guard`](guard::Guard) knows all connections: who has to go when there are too many, and who has to wait after wrong keys.
//!
//! The cryptography is that of well-kept crates; what is here is the protocol around it. Algorithms are those that OpenSSH
//! prefers, two of each kind at most.
//!
//! Nothing here panics, whatever the client sends, and a connection allocates its buffers when it begins.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on should panic"))]

extern crate alloc;

mod auth;
mod channel;
mod cipher;
mod connection;
mod exchange;
pub mod guard;
mod host_key;
mod message;
mod negotiate;
mod packet;
mod random;
pub mod server;
mod wire;

pub use channel::{COMMAND_LEN_MAX, Output, Terminal};
#[cfg(any(test, fuzzing))]
pub use connection::fuzz::run as fuzz;
pub use connection::{ATTEMPTS_MAX, Connection, Error, Event, Settings};
pub use host_key::{Fingerprint, HostKey, PublicKey};
pub use message::Reason;
pub use random::{Random, SEED_LEN};
