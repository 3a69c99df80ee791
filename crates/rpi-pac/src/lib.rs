//! Registers of the Raspberry Pi SoCs: one file per block, and one file per SoC with its addresses and interrupts.
//!
//! A block is a `#[repr(C)]` struct of safe-mmio fields. The kernel claims each block once, as a
//! [`UniqueMmioPointer`](safe_mmio::UniqueMmioPointer), and moves it into its driver. Blocks that are ARM's own design
//! come from their crates (PL011: `arm-pl011-uart`).
//!
//! Sources, by the short names used in the files:
//! - *ARM Peripherals*: "BCM2835 ARM Peripherals", Broadcom, 2012 (with the errata at elinux.org/BCM2835_datasheet_errata).
//! - *BCM2711 Peripherals*: "BCM2711 ARM Peripherals", Raspberry Pi Ltd, version 5, 2022.
//! - *QA7*: "ARM Quad A7 core", Broadcom, revision 3.4, 2014.
#![cfg_attr(not(test), no_std)]

pub mod armctrl;
pub mod aux_mini_uart;
pub mod bcm2711;
pub mod bcm2837;
pub mod dwc2;
pub mod genet;
pub mod gic400;
pub mod gpio;
pub mod local_intc;
pub mod mailbox;
pub mod pm;
pub mod rng;
pub mod rng200;
mod shared;
