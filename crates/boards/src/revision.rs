//! The board revision code that the firmware reports.
//!
//! Source: Raspberry Pi documentation, "Raspberry Pi revision codes": new-style codes are bit fields
//! `NOQuuuWuFMMMCCCCPPPPTTTTTTTTRRRR`; codes without the F bit are the numbers 0x0002 to 0x0015 of the first boards.

use core::fmt;

/// A revision code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub u32);

/// A board model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// A model that the image is made for.
    Supported(&'static str),
    /// A model that exists, but that the image is not made for.
    Other(&'static str),
    /// One of the first boards, with a code that is a plain number.
    FirstGeneration,
    /// A type number that is not in the table.
    Unknown(u8),
}

/// Bit that marks a new-style code.
const NEW_STYLE: u32 = 1 << 23;
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
            0x08 => Model::Supported("Raspberry Pi 3 Model B"),
            0x0a => Model::Supported("Raspberry Pi Compute Module 3"),
            0x0d => Model::Supported("Raspberry Pi 3 Model B+"),
            0x0e => Model::Supported("Raspberry Pi 3 Model A+"),
            0x10 => Model::Supported("Raspberry Pi Compute Module 3+"),
            0x11 => Model::Supported("Raspberry Pi 4 Model B"),
            0x12 => Model::Supported("Raspberry Pi Zero 2 W"),
            0x13 => Model::Supported("Raspberry Pi 400"),
            0x14 => Model::Supported("Raspberry Pi Compute Module 4"),
            0x00 => Model::Other("Raspberry Pi Model A"),
            0x01 => Model::Other("Raspberry Pi Model B"),
            0x02 => Model::Other("Raspberry Pi Model A+"),
            0x03 => Model::Other("Raspberry Pi Model B+"),
            0x04 => Model::Other("Raspberry Pi 2 Model B"),
            0x06 => Model::Other("Raspberry Pi Compute Module 1"),
            0x09 => Model::Other("Raspberry Pi Zero"),
            0x0c => Model::Other("Raspberry Pi Zero W"),
            0x15 => Model::Other("Raspberry Pi Compute Module 4S"),
            0x17 => Model::Other("Raspberry Pi 5"),
            0x18 => Model::Other("Raspberry Pi Compute Module 5"),
            0x19 => Model::Other("Raspberry Pi 500"),
            0x1a => Model::Other("Raspberry Pi Compute Module 5 Lite"),
            other => Model::Unknown(other),
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
            Self::Supported(name) | Self::Other(name) => f.write_str(name),
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

    /// Codes and what the table "New-style revision codes in use" of the documentation says about them.
    #[test]
    fn codes_in_use_are_named_as_in_the_documentation() {
        for (code, text, processor) in [
            (0x00a0_2082, "Raspberry Pi 3 Model B Rev 1.2, 1 GB", "BCM2837"),
            (0x00a2_20a0, "Raspberry Pi Compute Module 3 Rev 1.0, 1 GB", "BCM2837"),
            (0x00a0_20d3, "Raspberry Pi 3 Model B+ Rev 1.3, 1 GB", "BCM2837"),
            (0x0090_20e0, "Raspberry Pi 3 Model A+ Rev 1.0, 512 MB", "BCM2837"),
            (0x00a0_2100, "Raspberry Pi Compute Module 3+ Rev 1.0, 1 GB", "BCM2837"),
            (0x0090_2120, "Raspberry Pi Zero 2 W Rev 1.0, 512 MB", "BCM2837"),
            (0x00b0_3115, "Raspberry Pi 4 Model B Rev 1.5, 2 GB", "BCM2711"),
            (0x00d0_3114, "Raspberry Pi 4 Model B Rev 1.4, 8 GB", "BCM2711"),
            (0x00c0_3130, "Raspberry Pi 400 Rev 1.0, 4 GB", "BCM2711"),
            (0x00a0_3140, "Raspberry Pi Compute Module 4 Rev 1.0, 1 GB", "BCM2711"),
        ] {
            let revision = Revision(code);
            assert!(matches!(revision.model(), Model::Supported(_)), "{code:#x}");
            assert_eq!((revision.to_string().as_str(), revision.processor()), (text, Some(processor)));
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
