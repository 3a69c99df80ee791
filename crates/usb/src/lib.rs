//! USB host stack: the DWC2 controller, enumeration, hubs and transfers.
//!
//! Three layers, each of which knows only the one below:
//!
//! - [`host`]: what a host controller can do, as a trait. [`dwc2`] is the real one; `testkit::usb` a bus of fakes.
//! - [`bus`]: the tree of devices. [`bus::Bus::run`] enumerates what is plugged in, serves hubs, and asks a [`Claims`]
//!   table who drives a device. A device that nobody drives is named on the log and left alone.
//! - [`device`]: a claimed device in its driver's hands: control requests and [`device::Pipe`]s.
//!
//! Everything runs on one core's executor; only [`dwc2::Controller::on_interrupt`] runs elsewhere.
//!
//! [`Claims`]: bus::Claims
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod bus;
pub mod descriptor;
pub mod device;
pub mod dwc2;
pub mod host;
pub mod setup;
