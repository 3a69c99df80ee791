//! The same tests on a virtual Raspberry Pi 4B: what this binary is called is the board that its nodes are
//! (`tests::node::machine`).
#![forbid(unsafe_code)]

#[path = "it/main.rs"]
mod it;
