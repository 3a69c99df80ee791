//! GPIO pins: function and level, as far as the console's pins need it.

use rpi_pac::gpio::{Function, Registers};
use safe_mmio::{UniqueMmioPointer, field, field_shared};

/// Pins in a function select register (ARM Peripherals, section 6.1).
const PINS_PER_FSEL: u8 = 10;
/// Bits of each pin in it.
const FSEL_BITS: u8 = 3;

/// The pins. A pin number that the block does not have is ignored, and reads as an input that is low.
#[derive(Debug)]
pub struct Gpio<'a> {
    registers: UniqueMmioPointer<'a, Registers>,
}

impl<'a> Gpio<'a> {
    /// Takes the block over as it is.
    #[must_use]
    pub const fn new(registers: UniqueMmioPointer<'a, Registers>) -> Self {
        Self { registers }
    }

    /// Connects a pin to a function.
    pub fn set_function(&mut self, pin: u8, function: Function) {
        let shift = pin % PINS_PER_FSEL * FSEL_BITS;
        let mut fsel = field!(self.registers, fsel);
        if let Some(mut register) = fsel.get(usize::from(pin / PINS_PER_FSEL)) {
            register.modify(|bits| bits & !(0b111 << shift) | (function as u32) << shift);
        }
    }

    /// Returns what a pin is connected to.
    #[must_use]
    pub fn function(&self, pin: u8) -> Function {
        let shift = pin % PINS_PER_FSEL * FSEL_BITS;
        let fsel = field_shared!(self.registers, fsel);
        let bits = fsel.get(usize::from(pin / PINS_PER_FSEL)).map_or(0, |register| register.read());
        Function::from_code(bits >> shift)
    }

    /// Drives an output pin.
    pub fn set_level(&mut self, pin: u8, is_high: bool) {
        let (index, bit) = (usize::from(pin / 32), 1 << (pin % 32));
        let mut registers = if is_high { field!(self.registers, set) } else { field!(self.registers, clr) };
        if let Some(mut register) = registers.get(index) {
            register.write(bit);
        }
    }

    /// Returns whether a pin is high.
    #[must_use]
    pub fn is_high(&self, pin: u8) -> bool {
        let lev = field_shared!(self.registers, lev);
        lev.get(usize::from(pin / 32)).is_some_and(|register| register.read() & 1 << (pin % 32) != 0)
    }
}
