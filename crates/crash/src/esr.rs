//! ESR_EL1 in words.
//!
//! Source: Arm Architecture Reference Manual for A-profile (DDI 0487), section D24.2.40, "ESR_EL1".

use core::fmt;

/// A value of ESR_EL1. Displays as what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esr(pub u64);

/// Exception classes that the kernel asks for by name.
pub mod class {
    /// Instruction abort, taken without a change of exception level.
    pub const INSTRUCTION_ABORT: u64 = 0x21;
    /// Data abort, taken without a change of exception level.
    pub const DATA_ABORT: u64 = 0x25;
    /// SError interrupt.
    pub const SERROR: u64 = 0x2f;
    /// BRK instruction.
    pub const BRK: u64 = 0x3c;
}

/// ISS bit of aborts: FAR_EL1 is not valid (FnV).
const FAR_NOT_VALID: u64 = 1 << 10;
/// ISS bit of data aborts: caused by cache maintenance (CM).
const CACHE_MAINTENANCE: u64 = 1 << 8;
/// ISS bit of data aborts: caused by a write (WnR).
const WRITE: u64 = 1 << 6;

impl Esr {
    /// Returns the exception class (EC).
    #[must_use]
    pub const fn class(self) -> u64 {
        self.0 >> 26 & 0x3f
    }

    /// Returns what further describes it (ISS).
    #[must_use]
    pub const fn syndrome(self) -> u64 {
        self.0 & 0x1ff_ffff
    }

    /// Returns whether FAR_EL1 holds the address that it is about.
    #[must_use]
    pub const fn has_address(self) -> bool {
        match self.class() {
            0x20 | 0x21 | 0x24 | 0x25 => self.syndrome() & FAR_NOT_VALID == 0,
            // PC alignment fault, watchpoint.
            0x22 | 0x34 | 0x35 => true,
            _ => false,
        }
    }
}

impl fmt::Display for Esr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let syndrome = self.syndrome();
        match self.class() {
            0x00 => f.write_str("undefined instruction"),
            0x01 => f.write_str("trapped WFI or WFE"),
            0x07 => f.write_str("floating point or SIMD is switched off"),
            0x0d => f.write_str("branch target exception"),
            0x0e => f.write_str("illegal execution state"),
            0x15 => write!(f, "SVC {:#x}", syndrome & 0xffff),
            0x16 => write!(f, "HVC {:#x}", syndrome & 0xffff),
            0x17 => write!(f, "SMC {:#x}", syndrome & 0xffff),
            0x18 => f.write_str("trapped access to a system register"),
            0x1c => f.write_str("pointer authentication failure"),
            0x20 | 0x21 => write!(f, "instruction abort, {}", Fault(syndrome)),
            0x22 => f.write_str("the program counter is not aligned"),
            0x24 | 0x25 => {
                let access = match (syndrome & CACHE_MAINTENANCE != 0, syndrome & WRITE != 0) {
                    (true, _) => "cache maintenance",
                    (false, true) => "write",
                    (false, false) => "read",
                };
                write!(f, "data abort, {access}, {}", Fault(syndrome))
            }
            0x26 => f.write_str("the stack pointer is not aligned"),
            0x2c => f.write_str("floating point exception"),
            0x2f => write!(f, "SError, syndrome {syndrome:#x}"),
            0x30 | 0x31 => f.write_str("breakpoint"),
            0x32 | 0x33 => f.write_str("single step"),
            0x34 | 0x35 => f.write_str("watchpoint"),
            0x3c => write!(f, "BRK {:#x}", syndrome & 0xffff),
            other => write!(f, "exception class {other:#04x}, syndrome {syndrome:#x}"),
        }
    }
}

/// The fault status code in an abort's syndrome.
struct Fault(u64);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0 & 0x3f;
        let level = code & 0b11;
        match code {
            0b00_0000..=0b00_0011 => write!(f, "address size fault level {level}"),
            0b00_0100..=0b00_0111 => write!(f, "translation fault level {level}"),
            0b00_1000..=0b00_1011 => write!(f, "access flag fault level {level}"),
            0b00_1100..=0b00_1111 => write!(f, "permission fault level {level}"),
            0b01_0000 => f.write_str("external abort"),
            0b01_0100..=0b01_0111 => write!(f, "external abort in the page tables, level {level}"),
            0b01_1000 => f.write_str("parity or ECC error"),
            0b01_1100..=0b01_1111 => write!(f, "parity or ECC error in the page tables, level {level}"),
            0b10_0001 => f.write_str("alignment fault"),
            0b11_0000 => f.write_str("TLB conflict"),
            _ => write!(f, "fault status {code:#04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encoded by the tables of the manual; the data aborts with a translation fault were seen in QEMU too.
    #[test]
    fn common_exceptions_read_as_sentences() {
        for (esr, text, has_address) in [
            (0x9600_0047, "data abort, write, translation fault level 3", true),
            (0x9600_0007, "data abort, read, translation fault level 3", true),
            (0x9600_004f, "data abort, write, permission fault level 3", true),
            (0x9600_0021, "data abort, read, alignment fault", true),
            (0x9600_0410, "data abort, read, external abort", false),
            (0x9600_0144, "data abort, cache maintenance, translation fault level 0", true),
            (0x8600_000f, "instruction abort, permission fault level 3", true),
            (0x0200_0000, "undefined instruction", false),
            (0xf200_0001, "BRK 0x1", false),
            (0x5600_0000, "SVC 0x0", false),
            (0x8a00_0000, "the program counter is not aligned", true),
            (0xbf00_0002, "SError, syndrome 0x1000002", false),
            (0x1fe0_0000, "floating point or SIMD is switched off", false),
        ] {
            assert_eq!((Esr(esr).to_string().as_str(), Esr(esr).has_address()), (text, has_address), "{esr:#x}");
        }
    }

    #[test]
    fn every_value_has_words() {
        for class in 0..0x40_u64 {
            for fault in 0..0x40 {
                assert!(Esr(class << 26 | fault).to_string().len() > 3);
            }
        }
    }
}
