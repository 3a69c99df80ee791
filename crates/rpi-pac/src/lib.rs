//! Registers of the Raspberry Pi SoCs, one file per block.
#![cfg_attr(not(test), no_std)]
