//! For tests only: fakes of what a node has and a host has not.

pub mod dma;
pub mod time;
