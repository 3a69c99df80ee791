//! Sockets: a thin asynchronous layer over smoltcp's.

pub mod tcp;
pub mod udp;
