//! The host stack over the model of the controller's registers, with fake devices behind it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test, as it should")]

mod bus;
mod fixture;
mod start;
mod stuck;
mod transfers;
