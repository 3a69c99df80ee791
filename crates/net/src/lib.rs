//! The network stack over smoltcp: addresses, sockets, services.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
