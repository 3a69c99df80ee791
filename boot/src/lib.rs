//! boot
#![no_std]
