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

#[cfg(test)]
mod tests {
    use testkit::mmio::{Ram, claim};

    use super::*;

    #[test]
    fn a_function_is_set_without_disturbing_the_neighbours() {
        let (registers, model) = claim(Ram::default());
        model.lock().values.insert(0x04, 0x3fff_ffff);
        let mut gpio = Gpio::new(registers);
        // Pins 14 and 15 are bits 12 to 17 of the second register (ARM Peripherals, table 6-3).
        gpio.set_function(14, Function::Alt0);
        gpio.set_function(15, Function::Alt0);
        assert_eq!(model.lock().writes.last(), Some(&(0x04, 0x3ffe_4fff)));
        gpio.set_function(53, Function::Output);
        assert_eq!(model.lock().writes.last(), Some(&(0x14, 1 << 9)));
        assert_eq!(
            [13, 14, 15, 53].map(|pin| gpio.function(pin)),
            [Function::Alt3, Function::Alt0, Function::Alt0, Function::Output]
        );
    }

    #[test]
    fn every_function_is_read_back() {
        let (registers, _) = claim(Ram::default());
        let mut gpio = Gpio::new(registers);
        for code in 0..8 {
            let function = Function::from_code(code);
            assert_eq!(function as u32, code);
            gpio.set_function(33, function);
            assert_eq!(gpio.function(33), function);
        }
    }

    #[test]
    fn levels_are_set_and_read_by_their_bits() {
        let (registers, model) = claim(Ram::default());
        let mut gpio = Gpio::new(registers);
        gpio.set_level(29, true);
        gpio.set_level(42, false);
        assert_eq!(model.lock().writes, [(0x1c, 1 << 29), (0x2c, 1 << 10)]);
        model.lock().values.insert(0x38, 1 << 10);
        assert_eq!([10, 42].map(|pin| gpio.is_high(pin)), [false, true]);
    }

    #[test]
    fn pins_that_do_not_exist_are_ignored() {
        let (registers, model) = claim(Ram::default());
        let mut gpio = Gpio::new(registers);
        gpio.set_function(60, Function::Output);
        gpio.set_level(64, true);
        gpio.set_level(255, false);
        assert!(model.lock().writes.is_empty());
        assert_eq!((gpio.function(255), gpio.is_high(255)), (Function::Input, false));
    }
}
