//! The LED that shows which board among many is meant.

use boards::{Led as LedFacts, LedLine};
use rpi_pac::gpio::Function;

use crate::gpio::Gpio;
use crate::mailbox::{self, Mailbox, SetGpio};

/// An LED, which is the board's own until it is first [`set`](Self::set), and again after [`release`](Self::release).
#[derive(Debug)]
pub struct Led<'a> {
    facts: LedFacts,
    gpio: Gpio<'a>,
    /// What the pin was connected to, and its level, while it is ours.
    former: Option<(Function, bool)>,
}

impl<'a> Led<'a> {
    /// Makes the LED of a board.
    #[must_use]
    pub const fn new(facts: LedFacts, gpio: Gpio<'a>) -> Self {
        Self { facts, gpio, former: None }
    }

    /// Switches it. `mailbox` is used for LEDs that the firmware drives.
    ///
    /// # Errors
    ///
    /// When the firmware does not know the line, as QEMU's does not, or does not answer.
    pub async fn set(&mut self, is_on: bool, mailbox: &mut Mailbox<'_>) -> Result<(), mailbox::Error> {
        let is_high = is_on != self.facts.is_active_low;
        match self.facts.line {
            LedLine::Gpio(pin) => {
                if self.former.is_none() {
                    self.former = Some((self.gpio.function(pin), self.gpio.is_high(pin)));
                }
                // The level first: an output shows what was set last.
                self.gpio.set_level(pin, is_high);
                self.gpio.set_function(pin, Function::Output);
                Ok(())
            }
            LedLine::Firmware(gpio) => mailbox.get_async(&SetGpio { gpio, is_high }).await,
        }
    }

    /// Gives the LED back to the board, in the state in which it was. Those that the firmware drives go dark: it lights them
    /// when it next has a reason.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub async fn release(&mut self, mailbox: &mut Mailbox<'_>) -> Result<(), mailbox::Error> {
        match (self.facts.line, self.former.take()) {
            (LedLine::Gpio(pin), Some((function, was_high))) => {
                self.gpio.set_level(pin, was_high);
                self.gpio.set_function(pin, function);
                Ok(())
            }
            (LedLine::Gpio(_), None) => Ok(()),
            (LedLine::Firmware(_), _) => self.set(false, mailbox).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::mmio::{Block, Model, claim};
    use testkit::time;

    use super::*;
    use crate::mailbox::tests::{mailbox, pi_3b};

    /// GPIO as far as an LED goes: what is driven, and what its level is.
    #[derive(Default)]
    struct Pins {
        fsel: [u32; 6],
        latches: u64,
        writes: Vec<usize>,
    }

    impl Block for Pins {
        fn read(&mut self, offset: usize) -> u32 {
            match offset {
                0x00..0x18 => self.fsel[offset / 4],
                0x34 => self.latches as u32,
                0x38 => (self.latches >> 32) as u32,
                _ => 0,
            }
        }

        fn write(&mut self, offset: usize, value: u32) {
            self.writes.push(offset);
            match offset {
                0x00..0x18 => self.fsel[offset / 4] = value,
                0x1c => self.latches |= u64::from(value),
                0x20 => self.latches |= u64::from(value) << 32,
                0x28 => self.latches &= !u64::from(value),
                0x2c => self.latches &= !(u64::from(value) << 32),
                _ => {}
            }
        }
    }

    fn led(line: LedLine, is_active_low: bool) -> (Led<'static>, Model<Pins>) {
        let (registers, model) = claim(Pins::default());
        (Led::new(LedFacts { line, is_active_low }, Gpio::new(registers)), model)
    }

    #[test]
    fn a_pin_lights_it_by_its_polarity_and_is_given_back_as_it_was() {
        time::run(async {
            for is_active_low in [false, true] {
                let (mut led, pins) = led(LedLine::Gpio(42), is_active_low);
                let (mut mailbox, _firmware) = mailbox(pi_3b);
                // Before: an alternate function, low.
                pins.lock().fsel[4] = 0b111 << 6;
                for is_on in [true, false, true] {
                    assert_eq!(led.set(is_on, &mut mailbox).await, Ok(()));
                    let pins = pins.lock();
                    assert_eq!(pins.latches >> 42 & 1 == 1, is_on != is_active_low);
                    assert_eq!(pins.fsel[4] >> 6 & 0b111, 0b001, "an output");
                }
                assert_eq!(led.release(&mut mailbox).await, Ok(()));
                let pins = pins.lock();
                assert_eq!((pins.latches, pins.fsel), (0, [0, 0, 0, 0, 0b111 << 6, 0]));
                // The level before the function, so that it never shows something else.
                assert_eq!(pins.writes[..2], [if is_active_low { 0x2c } else { 0x20 }, 0x10]);
            }
        });
    }

    #[test]
    fn what_was_never_used_is_left_alone() {
        time::run(async {
            let (mut led, pins) = led(LedLine::Gpio(29), false);
            let (mut mailbox, _firmware) = mailbox(pi_3b);
            assert_eq!(led.release(&mut mailbox).await, Ok(()));
            assert!(pins.lock().writes.is_empty());
        });
    }

    #[test]
    fn the_expander_s_line_is_set_by_the_firmware() {
        time::run(async {
            let (mut led, pins) = led(LedLine::Firmware(130), false);
            let (mut mailbox, firmware) = mailbox(pi_3b);
            assert_eq!(led.set(true, &mut mailbox).await, Ok(()));
            assert_eq!(led.set(false, &mut mailbox).await, Ok(()));
            assert_eq!(led.set(true, &mut mailbox).await, Ok(()));
            assert_eq!(led.release(&mut mailbox).await, Ok(()));
            assert_eq!(firmware.lock().gpios, [(130, 1), (130, 0), (130, 1), (130, 0)]);
            assert!(pins.lock().writes.is_empty());
        });
    }
}
