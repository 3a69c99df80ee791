//! Models of USB devices, as pure state machines: no threads, no I/O, and time is what they are told.
//!
//! The same model answers a driver in a host test, over the model of the DWC2's registers in `testkit`, and the real
//! image in QEMU, over the usbredir protocol (`qemu::usb_device`).
#![forbid(unsafe_code)]

pub mod device;
