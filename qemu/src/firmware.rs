//! A firmware for the virtual board, instead of QEMU's own way to load a kernel: it decides at which exception level the
//! image is entered, and which UART is on the header's pins.
//!
//! QEMU enters an image at EL2 with no function selected for any pin. A board's firmware leaves a UART there, and a stub of
//! the user's may enter at another level. QEMU starts all cores at address 0, at EL3, when there is no `-kernel`; what is put
//! there is the machine code below, laid out as the stub of the Raspberry Pi's firmware (raspberrypi/tools,
//! armstubs/armstub8.S): entered by all cores, with the spin table of cores 1-3 at 0xe0.

use crate::config::Machine;

/// How the image is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// At which exception level.
    pub level: Level,
    /// Which UART is connected to GPIO 14 and 15.
    pub console: ConsolePins,
    /// Whether a system error is pending that the image gets at EL1 as soon as it does not mask it any more. Needs
    /// [`Level::El1`]: a hypervisor can pretend one (Arm ARM, HCR_EL2.VSE), and nothing in QEMU raises a real one.
    pub has_system_error: bool,
    /// What MIDR_EL1 says at EL1, in which a hypervisor may pretend another processor; `None` for the board's own.
    pub midr: Option<u32>,
    /// Where the image is loaded and entered: a multiple of 64 KiB, and not the first.
    pub load_address: u32,
    /// Where the image is told that a device tree is; 0 for none. To put one there takes an argument of QEMU's (`-device loader`).
    pub device_tree: u32,
}

/// Where the firmware of every 64-bit Pi puts the image, unless config.txt says otherwise.
const LOAD_ADDRESS: u32 = 0x80000;

impl Default for Firmware {
    /// As a board's firmware enters the image, with the PL011 on the pins.
    fn default() -> Self {
        Self {
            level: Level::El2,
            console: ConsolePins::Pl011,
            has_system_error: false,
            midr: None,
            load_address: LOAD_ADDRESS,
            device_tree: 0,
        }
    }
}

/// An exception level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An operating system's, without a hypervisor below us.
    El1,
    /// A hypervisor's: what boards do.
    El2,
    /// A firmware's: the image takes the stub's place.
    El3,
}

/// What GPIO 14 and 15 are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsolePins {
    /// Nothing.
    Input,
    /// The PL011: alternate function 0.
    Pl011,
    /// The mini UART: alternate function 5.
    MiniUart,
}

/// Where the machine code looks for its parameters, as words.
const BRANCH: usize = 0x84 / 4;
const MIDR: usize = 0xa4 / 4;
const HCR: usize = 0xa8 / 4;
const SPSR: usize = 0xb0 / 4;
const PINS_REGISTER: usize = 0xc0 / 4;
const PINS_VALUE: usize = 0xc8 / 4;
const DEVICE_TREE: usize = 0xd0 / 4;

/// EL1 has 64 bits (bit 31); system errors go to EL2 unless they are virtual ones (5), and one is pending (8).
const HCR_PLAIN: u32 = 1 << 31;
const HCR_SYSTEM_ERROR: u32 = HCR_PLAIN | 1 << 5 | 1 << 8;

/// Interrupts masked; then the level, with its own stack pointer (Arm ARM, SPSR_EL3).
const SPSR_EL1: u32 = 0x3c5;
const SPSR_EL2: u32 = 0x3c9;

/// Pins 14 and 15 in GPFSEL1 (BCM2711 Peripherals, section 5.2): bits 14:12 and 17:15.
const ALT_0: u32 = 0b100 << 12 | 0b100 << 15;
const ALT_5: u32 = 0b010 << 12 | 0b010 << 15;

const MOVE_UPPER_HALF_TO_X4: u32 = 0xd2a0_0004;

#[rustfmt::skip]
const CODE: [u32; 62] = [
    0xd538_00a6, //         mrs   x6, mpidr_el1
    0x9240_04c6, //         and   x6, x6, #3
    0x5800_0541, //         ldr   x1, [0xb0]            // SPSR, or 0 to stay at EL3
    0xb400_02a1, //         cbz   x1, entered
    0xd280_b622, //         mov   x2, #0x5b1            // non-secure, 64 bits, HVC
    0xd51e_1102, //         msr   scr_el3, x2
    0xd51e_115f, //         msr   cptr_el3, xzr
    0x5800_0462, //         ldr   x2, [0xa8]            // HCR
    0xd51c_1102, //         msr   hcr_el2, x2
    0xd280_0062, //         mov   x2, #3                // EL1 may use the physical timer
    0xd51c_e102, //         msr   cnthctl_el2, x2
    0xd51c_e07f, //         msr   cntvoff_el2, xzr
    0xd286_7fe2, //         mov   x2, #0x33ff           // no trap of FP and SIMD
    0xd51c_1142, //         msr   cptr_el2, x2
    0x1800_0362, //         ldr   w2, [0xa4]            // MIDR
    0xd51c_0002, //         msr   vpidr_el2, x2
    0xd538_00a2, //         mrs   x2, mpidr_el1
    0xd51c_00a2, //         msr   vmpidr_el2, x2
    0x5800_0382, //         ldr   x2, [0xb8]            // SCTLR: everything off
    0xd518_1002, //         msr   sctlr_el1, x2
    0xd51e_4001, //         msr   spsr_el3, x1
    0x1000_0062, //         adr   x2, entered
    0xd51e_4022, //         msr   elr_el3, x2
    0xd69f_03e0, //         eret
    0xb500_0166, // entered: cbnz x6, wait
    0x5800_02e1, //         ldr   x1, [0xc0]            // GPFSEL1, or 0
    0x5800_0302, //         ldr   x2, [0xc8]
    0xb400_0041, //         cbz   x1, 1f
    0xb900_0022, //         str   w2, [x1]
    0x5800_02e0, // 1:      ldr   x0, [0xd0]            // device tree
    0xaa1f_03e1, //         mov   x1, xzr
    0xaa1f_03e2, //         mov   x2, xzr
    0xaa1f_03e3, //         mov   x3, xzr
    0xd2a0_0104, //         mov   x4, #0x80000
    0xd61f_0080, //         br    x4
    0x1000_0265, // wait:   adr   x5, 0xd8
    0xd503_205f, // 2:      wfe
    0xf866_78a4, //         ldr   x4, [x5, x6, lsl #3]
    0xb4ff_ffc4, //         cbz   x4, 2b
    0xaa1f_03e0, //         mov   x0, xzr
    0xd61f_0080, //         br    x4
    0,              // 0xa4: MIDR_EL1
    0, 0,           // 0xa8: HCR_EL2
    0, 0,           // 0xb0: SPSR
    0x30d0_0800, 0, // 0xb8: SCTLR_EL1
    0, 0,           // 0xc0: GPFSEL1
    0, 0,           // 0xc8: its value
    0, 0,           // 0xd0: device tree
    0, 0, 0, 0, 0, 0, 0, 0, // 0xd8: where each core is to go
];

impl Firmware {
    /// Returns the machine code for address 0 of a board.
    #[must_use]
    pub fn code(&self, machine: Machine) -> Vec<u8> {
        let hcr = if self.has_system_error { HCR_SYSTEM_ERROR } else { HCR_PLAIN };
        let spsr = match self.level {
            Level::El1 => SPSR_EL1,
            Level::El2 => SPSR_EL2,
            Level::El3 => 0,
        };
        let pins = match self.console {
            ConsolePins::Input => 0,
            ConsolePins::Pl011 => ALT_0,
            ConsolePins::MiniUart => ALT_5,
        };
        let midr = self.midr.unwrap_or_else(|| machine.midr());
        let register = machine.gpio() + 4;
        // Arm ARM, MOVZ: the upper half of the address in bits 20:5.
        let branch = MOVE_UPPER_HALF_TO_X4 | (self.load_address >> 16) << 5;
        let mut code = CODE;
        let parameters = [
            (BRANCH, branch),
            (MIDR, midr),
            (HCR, hcr),
            (SPSR, spsr),
            (PINS_REGISTER, register),
            (PINS_VALUE, pins),
            (DEVICE_TREE, self.device_tree),
        ];
        for (at, value) in parameters {
            if let Some(word) = code.get_mut(at) {
                *word = value;
            }
        }
        code.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_where_the_code_looks_for_them() {
        // A load of a literal has the distance in words in bits 23:5 (Arm ARM, LDR (literal)).
        let target = |at: usize| at + (CODE[at] >> 5 & 0x7_ffff) as usize;
        assert_eq!([2, 7, 14, 25, 26, 29].map(target), [SPSR, HCR, MIDR, PINS_REGISTER, PINS_VALUE, DEVICE_TREE]);
        assert_eq!((CODE.len() * 4, 0xd8 + 4 * 8), (0xf8, 0xf8), "the table ends the code");
        assert_eq!(CODE[BRANCH], MOVE_UPPER_HALF_TO_X4 | 8 << 5);
        let firmware = Firmware {
            level: Level::El1,
            console: ConsolePins::MiniUart,
            has_system_error: true,
            midr: None,
            load_address: 0x20_0000,
            device_tree: 0x1234_5678,
        };
        let code = firmware.code(Machine::Raspi4b);
        assert_eq!(code.get(0x84..0x88), Some(&0xd2a0_0404_u32.to_le_bytes()[..]));
        assert_eq!(code.get(0xa4..0xa8), Some(&0x410f_d083_u32.to_le_bytes()[..]));
        assert_eq!(code.get(0xa8..0xac), Some(&0x8000_0120_u32.to_le_bytes()[..]));
        assert_eq!(code.get(0xb0..0xb4), Some(&0x3c5_u32.to_le_bytes()[..]));
        assert_eq!(code.get(0xc0..0xc4), Some(&0xfe20_0004_u32.to_le_bytes()[..]));
        assert_eq!(code.get(0xd0..0xd4), Some(&0x1234_5678_u32.to_le_bytes()[..]));
        assert_eq!(code.get(0xc8..0xcc), Some(&0x0001_2000_u32.to_le_bytes()[..]));
    }
}
