//! The drivers for the LAN9514 and the LAN7800 over models of the chips, which were written independently of them, and the
//! model of the USB controller's registers; behind the hubs that the boards have.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

mod hubs;
mod patience;
mod rig;
mod stack;
mod traffic;
mod trouble;
