//! Models of USB devices, as pure state machines: no threads, no I/O, and time is what they are told.
//!
//! The same model answers a driver in a host test, over the model of the DWC2's registers in `testkit`, and the real
//! image in QEMU, over the usbredir protocol (`qemu::usb_nic`).
//!
//! A model is strict: what a driver does against the data sheet is a [`nic::Mistakes`], and a test asserts that there are
//! none. What can go wrong in the world is a [`nic::Faults`].
#![forbid(unsafe_code)]

pub mod device;
pub mod lan7800;
pub mod lan9514;
pub mod nic;
