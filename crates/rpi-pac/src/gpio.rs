//! GPIO: which function each pin has, and its level.
//!
//! Source: ARM Peripherals, section 6.1; the pull registers of BCM2711: BCM2711 Peripherals, section 5.2.

use safe_mmio::fields::{ReadPure, ReadPureWrite, WriteOnly};

/// The register block of BCM2837 and BCM2711.
#[repr(C, align(4))]
pub struct Registers {
    /// 0x00: function select, three bits for each of ten pins per register.
    pub fsel: [ReadPureWrite<u32>; 6],
    reserved_18: u32,
    /// 0x1c: write 1 to drive a pin high.
    pub set: [WriteOnly<u32>; 2],
    reserved_24: u32,
    /// 0x28: write 1 to drive a pin low.
    pub clr: [WriteOnly<u32>; 2],
    reserved_30: u32,
    /// 0x34: levels.
    pub lev: [ReadPure<u32>; 2],
    reserved_3c: [u32; 22],
    /// 0x94: BCM2837: what the next clock of `pud_clk` does to the pulls: 0 off, 1 down, 2 up.
    pub pud: ReadPureWrite<u32>,
    /// 0x98: BCM2837: pins whose pull is set from `pud`.
    pub pud_clk: [ReadPureWrite<u32>; 2],
    reserved_a0: [u32; 17],
    /// 0xe4: BCM2711: pulls, two bits for each of sixteen pins per register: 0 off, 1 up, 2 down.
    pub pull_2711: [ReadPureWrite<u32>; 4],
}

const _: () = assert!(size_of::<Registers>() == 0xf4);

/// What a pin is connected to (ARM Peripherals, table 6-2: the codes are not in order).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Input.
    Input = 0b000,
    /// Output.
    Output = 0b001,
    /// Alternate function 0 (pins 14 and 15: PL011).
    Alt0 = 0b100,
    /// Alternate function 1.
    Alt1 = 0b101,
    /// Alternate function 2.
    Alt2 = 0b110,
    /// Alternate function 3 (pins 32 and 33: PL011, to the Bluetooth chip).
    Alt3 = 0b111,
    /// Alternate function 4.
    Alt4 = 0b011,
    /// Alternate function 5 (pins 14 and 15: mini UART).
    Alt5 = 0b010,
}

impl Function {
    /// Returns the function with this code. Only the low three bits count.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code & 0b111 {
            0b000 => Self::Input,
            0b001 => Self::Output,
            0b010 => Self::Alt5,
            0b011 => Self::Alt4,
            0b100 => Self::Alt0,
            0b101 => Self::Alt1,
            0b110 => Self::Alt2,
            _ => Self::Alt3,
        }
    }
}
