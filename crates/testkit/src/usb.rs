//! A USB bus with fake devices behind a model of the DWC2's registers.
//!
//! The model comes in two kinds. [`Kind::Emulator`] does what QEMU's does, with all its peculiarities, and panics where QEMU
//! would die of an assertion. [`Kind::Silicon`] goes by the specification where a driver can be wrong without QEMU
//! noticing: packet sizes and data toggles are checked, NAKs are retried by the core, channels halt when they are told
//! to, full-speed devices behind a high-speed hub answer to split transactions only, and everything takes time:
//! [`Machine::run`] must run beside the code under test.

pub mod device;
pub mod ecm;
pub mod hub;
pub mod model;
pub mod ncm;
pub mod rndis;

pub use self::device::{Answer, Function, Node};
pub use self::model::{Fault, Kind, Machine, Model};
