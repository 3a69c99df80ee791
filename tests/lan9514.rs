//! The network's tests through the driver of the LAN9514, the NIC of a Pi 3B.
#![forbid(unsafe_code)]

mod lan;
