//! The board revision code that the firmware reports.
//!
//! Source: Raspberry Pi documentation, "Raspberry Pi revision codes": new-style codes are bit fields
//! `NOQuuuWuFMMMCCCCPPPPTTTTTTTTRRRR`; codes without the F bit are the numbers 0x0002 to 0x0015 of the first boards.

use core::fmt;

use crate::board::{self, Board};

/// A revision code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub u32);

/// A board model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// A model that the image is made for.
    Supported(&'static Board),
    /// A model that exists, but that the image is not made for.
    Other(&'static str),
    /// One of the first boards, with a code that is a plain number.
    FirstGeneration,
    /// A type number that is not in the table.
    Unknown(u8),
}

/// Bit that marks a new-style code.
const NEW_STYLE: u32 = 1 << 23;
/// Where the second GiB starts: what the firmware tells of memory is below.
const GIB: u64 = 1 << 30;
/// Where the peripherals of BCM2711 hide the RAM below 4 GiB (BCM2711 Peripherals, section 1.2.4, low peripheral mode).
const PERIPHERALS_2711: u64 = 0xfc00_0000;
/// MiB of memory of code 0; each further code doubles it.
const SMALLEST_MEMORY_MIB: u32 = 256;

impl Revision {
    /// Returns the model.
    #[must_use]
    pub const fn model(self) -> Model {
        if self.0 & NEW_STYLE == 0 {
            return Model::FirstGeneration;
        }
        let kind = (self.0 >> 4 & 0xff) as u8;
        match kind {
            0x08 => Model::Supported(&board::PI_3B),
            0x0a => Model::Supported(&board::CM3),
            0x0d => Model::Supported(&board::PI_3B_PLUS),
            0x0e => Model::Supported(&board::PI_3A_PLUS),
            0x10 => Model::Supported(&board::CM3_PLUS),
            0x11 => Model::Supported(&board::PI_4B),
            0x12 => Model::Supported(&board::ZERO_2_W),
            0x13 => Model::Supported(&board::PI_400),
            0x14 => Model::Supported(&board::CM4),
            0x15 => Model::Supported(&board::CM4S),
            0x00 => Model::Other("Raspberry Pi Model A"),
            0x01 => Model::Other("Raspberry Pi Model B"),
            0x02 => Model::Other("Raspberry Pi Model A+"),
            0x03 => Model::Other("Raspberry Pi Model B+"),
            0x04 => Model::Other("Raspberry Pi 2 Model B"),
            0x06 => Model::Other("Raspberry Pi Compute Module 1"),
            0x09 => Model::Other("Raspberry Pi Zero"),
            0x0c => Model::Other("Raspberry Pi Zero W"),
            0x17 => Model::Other("Raspberry Pi 5"),
            0x18 => Model::Other("Raspberry Pi Compute Module 5"),
            0x19 => Model::Other("Raspberry Pi 500"),
            0x1a => Model::Other("Raspberry Pi Compute Module 5 Lite"),
            other => Model::Unknown(other),
        }
    }

    /// Returns what is known about the board, if the image is made for it.
    #[must_use]
    pub const fn board(self) -> Option<&'static Board> {
        match self.model() {
            Model::Supported(board) => Some(board),
            _ => None,
        }
    }

    /// Returns the revision of the board's model: 2 for "Rev 1.2".
    #[must_use]
    pub const fn minor(self) -> Option<u8> {
        if self.0 & NEW_STYLE == 0 { None } else { Some((self.0 & 0xf) as u8) }
    }

    /// Returns how much RAM the board has, in MiB.
    #[must_use]
    pub const fn memory_mib(self) -> Option<u32> {
        if self.0 & NEW_STYLE == 0 {
            return None;
        }
        match self.0 >> 20 & 0b111 {
            7 => None,
            code => Some(SMALLEST_MEMORY_MIB << code),
        }
    }

    /// Returns how many bytes of RAM the ARM cores have above the first GiB: the VideoCore's part is below, and some is hidden
    /// behind the peripherals of BCM2711.
    #[must_use]
    pub fn memory_above_1_gib(self) -> u64 {
        let total = u64::from(self.memory_mib().unwrap_or(0)) << 20;
        total.min(PERIPHERALS_2711).saturating_sub(GIB) + total.saturating_sub(4 * GIB)
    }

    /// Returns the processor's name.
    #[must_use]
    pub const fn processor(self) -> Option<&'static str> {
        if self.0 & NEW_STYLE == 0 {
            return None;
        }
        match self.0 >> 12 & 0xf {
            0 => Some("BCM2835"),
            1 => Some("BCM2836"),
            2 => Some("BCM2837"),
            3 => Some("BCM2711"),
            4 => Some("BCM2712"),
            _ => None,
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supported(board) => f.write_str(board.name),
            Self::Other(name) => f.write_str(name),
            Self::FirstGeneration => f.write_str("Raspberry Pi of the first generation"),
            Self::Unknown(kind) => write!(f, "Raspberry Pi of unknown type {kind:#04x}"),
        }
    }
}

/// As the firmware's device tree puts it, with the memory: "Raspberry Pi 3 Model B Rev 1.2, 1 GB".
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model())?;
        match self.minor() {
            Some(minor) => write!(f, " Rev 1.{minor}")?,
            None => write!(f, " (code {:#06x})", self.0)?,
        }
        match self.memory_mib() {
            Some(mib) if mib >= 1024 => write!(f, ", {} GB", mib / 1024),
            Some(mib) => write!(f, ", {mib} MB"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Ethernet, LedLine};

    /// Codes, and what the table "New-style revision codes in use" of the documentation says about them: every code of
    /// BCM2837 and BCM2711 but the Pi 2's, and one of a CM4S by the bit fields. Then what the device trees say: see board.rs.
    #[test]
    fn every_code_in_use_is_named_as_in_the_documentation() {
        type Row = (&'static [u32], &'static str, Option<Ethernet>, Option<(LedLine, bool)>);
        let rows: &[Row] = &[
            (
                &[0xa0_2082, 0xa2_2082, 0xa3_2082, 0xa5_2082],
                "Raspberry Pi 3 Model B Rev 1.2, 1 GB",
                Some(Ethernet::Lan9514),
                Some((LedLine::Firmware(130), false)),
            ),
            (
                &[0xa2_2083],
                "Raspberry Pi 3 Model B Rev 1.3, 1 GB",
                Some(Ethernet::Lan9514),
                Some((LedLine::Firmware(130), false)),
            ),
            (&[0xa0_20a0, 0xa2_20a0], "Raspberry Pi Compute Module 3 Rev 1.0, 1 GB", None, None),
            (
                &[0xa0_20d3],
                "Raspberry Pi 3 Model B+ Rev 1.3, 1 GB",
                Some(Ethernet::Lan7515),
                Some((LedLine::Gpio(29), false)),
            ),
            (
                &[0xa0_20d4],
                "Raspberry Pi 3 Model B+ Rev 1.4, 1 GB",
                Some(Ethernet::Lan7515),
                Some((LedLine::Gpio(29), false)),
            ),
            (&[0x90_20e0], "Raspberry Pi 3 Model A+ Rev 1.0, 512 MB", None, Some((LedLine::Gpio(29), false))),
            (&[0x90_20e1], "Raspberry Pi 3 Model A+ Rev 1.1, 512 MB", None, Some((LedLine::Gpio(29), false))),
            (&[0xa0_2100], "Raspberry Pi Compute Module 3+ Rev 1.0, 1 GB", None, None),
            (&[0x90_2120], "Raspberry Pi Zero 2 W Rev 1.0, 512 MB", None, Some((LedLine::Gpio(29), true))),
            (&[0xa0_3150], "Raspberry Pi Compute Module 4S Rev 1.0, 1 GB", None, None),
        ];
        for (codes, text, ethernet, led) in rows {
            for &code in *codes {
                assert_board(code, text, *ethernet, *led);
            }
        }
        let bcm2711: &[(&[u32], &str)] = &[
            (&[0xa0_3111], "Raspberry Pi 4 Model B Rev 1.1, 1 GB"),
            (&[0xb0_3111], "Raspberry Pi 4 Model B Rev 1.1, 2 GB"),
            (&[0xc0_3111], "Raspberry Pi 4 Model B Rev 1.1, 4 GB"),
            (&[0xb0_3112], "Raspberry Pi 4 Model B Rev 1.2, 2 GB"),
            (&[0xc0_3112], "Raspberry Pi 4 Model B Rev 1.2, 4 GB"),
            (&[0xb0_3114], "Raspberry Pi 4 Model B Rev 1.4, 2 GB"),
            (&[0xc0_3114], "Raspberry Pi 4 Model B Rev 1.4, 4 GB"),
            (&[0xd0_3114], "Raspberry Pi 4 Model B Rev 1.4, 8 GB"),
            (&[0xb0_3115], "Raspberry Pi 4 Model B Rev 1.5, 2 GB"),
            (&[0xc0_3115], "Raspberry Pi 4 Model B Rev 1.5, 4 GB"),
            (&[0xd0_3115], "Raspberry Pi 4 Model B Rev 1.5, 8 GB"),
            (&[0xc0_3130], "Raspberry Pi 400 Rev 1.0, 4 GB"),
            (&[0xa0_3140], "Raspberry Pi Compute Module 4 Rev 1.0, 1 GB"),
            (&[0xb0_3140], "Raspberry Pi Compute Module 4 Rev 1.0, 2 GB"),
            (&[0xc0_3140], "Raspberry Pi Compute Module 4 Rev 1.0, 4 GB"),
            (&[0xd0_3140], "Raspberry Pi Compute Module 4 Rev 1.0, 8 GB"),
        ];
        for (codes, text) in bcm2711 {
            for &code in *codes {
                assert_board(code, text, Some(Ethernet::Genet), Some((LedLine::Gpio(42), false)));
            }
        }
    }

    fn assert_board(code: u32, text: &str, ethernet: Option<Ethernet>, led: Option<(LedLine, bool)>) {
        let revision = Revision(code);
        assert_eq!(revision.to_string(), text);
        let board = revision.board();
        assert!(board.is_some(), "{code:#x}");
        assert_eq!(board.and_then(|board| board.ethernet), ethernet, "{code:#x}");
        let known = board.and_then(|board| board.led).map(|led| (led.line, led.is_active_low));
        assert_eq!(known, led, "{code:#x}");
        let processor = if code >> 12 & 0xf == 3 { "BCM2711" } else { "BCM2837" };
        assert_eq!(revision.processor(), Some(processor), "{code:#x}");
    }

    #[test]
    fn memory_above_the_first_gib_is_what_the_peripherals_leave() {
        const MIB: u64 = 1 << 20;
        for (code, mib) in [
            (0x90_2120, 0),
            (0xa0_2082, 0),
            (0xb0_3115, 1024),
            // 64 MiB are behind the peripherals: the firmware's device tree has 0x40000000 to 0xfc000000.
            (0xc0_3115, 3008),
            (0xd0_3115, 3008 + 4096),
            (0x000e, 0),
        ] {
            assert_eq!(Revision(code).memory_above_1_gib(), mib * MIB, "{code:#x}");
        }
    }

    #[test]
    fn boards_that_are_not_ours_are_named_too() {
        assert_eq!(Revision(0x00d0_4170).to_string(), "Raspberry Pi 5 Rev 1.0, 8 GB");
        assert_eq!(Revision(0x0090_0093).to_string(), "Raspberry Pi Zero Rev 1.3, 512 MB");
        assert!(matches!(Revision(0x00d0_4170).model(), Model::Other(_)));
    }

    #[test]
    fn old_and_unknown_codes_say_that_they_are() {
        assert_eq!(Revision(0x000e).to_string(), "Raspberry Pi of the first generation (code 0x000e)");
        assert_eq!(Revision(0).model(), Model::FirstGeneration);
        assert_eq!(Revision(0x00f0_5fe3).to_string(), "Raspberry Pi of unknown type 0xfe Rev 1.3");
        assert_eq!(Revision(0x00f0_5fe3).processor(), None);
    }

    #[test]
    fn overvoltage_and_otp_bits_do_not_matter() {
        assert_eq!(Revision(0x02a0_2082).model(), Revision(0x00a0_2082).model());
    }
}
