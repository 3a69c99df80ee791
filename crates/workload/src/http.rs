//! A web server that takes as long, fails as often and works as hard as it is told: what the `http` workload runs.
//!
//! A core has a number of seats, each a future with a socket of its own that serves one connection after the other
//! ([`connection`]). Requests are read into the seat's buffer and replies are written straight into the socket's ring, so
//! that a request allocates nothing. One watchman for all seats ([`seat`](crate::seat)) sees to every deadline, and takes seats away
//! from clients that do not get on when none is free, so that slow clients can't keep others out.

pub(crate) mod connection;
pub(crate) mod gate;
pub(crate) mod reply;
pub(crate) mod request;
