//! The registers as the driver names them, and the seam at which tests put a model.

use rpi_pac::dwc2::Registers;
use safe_mmio::{UniqueMmioPointer, field, field_shared};

/// A register of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented where it is laid out, in rpi_pac::dwc2")]
pub enum Register {
    Gahbcfg,
    Gusbcfg,
    Grstctl,
    Gintsts,
    Gintmsk,
    Grxfsiz,
    Gnptxfsiz,
    Gsnpsid,
    Ghwcfg1,
    Ghwcfg2,
    Ghwcfg4,
    Hptxfsiz,
    Hcfg,
    Hfir,
    Hfnum,
    Haint,
    Haintmsk,
    Hprt0,
    Pcgcctl,
    /// A register of a channel.
    Channel(usize, Channel),
}

/// A register of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented where it is laid out, in rpi_pac::dwc2")]
pub enum Channel {
    Hcchar,
    Hcsplt,
    Hcint,
    Hcintmsk,
    Hctsiz,
    Hcdma,
}

/// Reads and writes registers. Every call is one access of the bus.
pub trait RegisterAccess: Send {
    /// Reads a register. One that does not exist reads as 0.
    fn read(&self, register: Register) -> u32;
    /// Writes a register. Writes to read-only registers are lost.
    fn write(&mut self, register: Register, value: u32);
}

impl RegisterAccess for UniqueMmioPointer<'static, Registers> {
    fn read(&self, register: Register) -> u32 {
        match register {
            Register::Gahbcfg => field_shared!(self, gahbcfg).read(),
            Register::Gusbcfg => field_shared!(self, gusbcfg).read(),
            Register::Grstctl => field_shared!(self, grstctl).read(),
            Register::Gintsts => field_shared!(self, gintsts).read(),
            Register::Gintmsk => field_shared!(self, gintmsk).read(),
            Register::Grxfsiz => field_shared!(self, grxfsiz).read(),
            Register::Gnptxfsiz => field_shared!(self, gnptxfsiz).read(),
            Register::Gsnpsid => field_shared!(self, gsnpsid).read(),
            Register::Ghwcfg1 => field_shared!(self, ghwcfg1).read(),
            Register::Ghwcfg2 => field_shared!(self, ghwcfg2).read(),
            Register::Ghwcfg4 => field_shared!(self, ghwcfg4).read(),
            Register::Hptxfsiz => field_shared!(self, hptxfsiz).read(),
            Register::Hcfg => field_shared!(self, hcfg).read(),
            Register::Hfir => field_shared!(self, hfir).read(),
            Register::Hfnum => field_shared!(self, hfnum).read(),
            Register::Haint => field_shared!(self, haint).read(),
            Register::Haintmsk => field_shared!(self, haintmsk).read(),
            Register::Hprt0 => field_shared!(self, hprt0).read(),
            Register::Pcgcctl => field_shared!(self, pcgcctl).read(),
            Register::Channel(index, register) => {
                let channels = field_shared!(self, channels);
                let Some(channel) = channels.get(index) else { return 0 };
                match register {
                    Channel::Hcchar => field_shared!(channel, hcchar).read(),
                    Channel::Hcsplt => field_shared!(channel, hcsplt).read(),
                    Channel::Hcint => field_shared!(channel, hcint).read(),
                    Channel::Hcintmsk => field_shared!(channel, hcintmsk).read(),
                    Channel::Hctsiz => field_shared!(channel, hctsiz).read(),
                    Channel::Hcdma => field_shared!(channel, hcdma).read(),
                }
            }
        }
    }

    fn write(&mut self, register: Register, value: u32) {
        match register {
            Register::Gahbcfg => field!(*self, gahbcfg).write(value),
            Register::Gusbcfg => field!(*self, gusbcfg).write(value),
            Register::Grstctl => field!(*self, grstctl).write(value),
            Register::Gintsts => field!(*self, gintsts).write(value),
            Register::Gintmsk => field!(*self, gintmsk).write(value),
            Register::Grxfsiz => field!(*self, grxfsiz).write(value),
            Register::Gnptxfsiz => field!(*self, gnptxfsiz).write(value),
            Register::Hptxfsiz => field!(*self, hptxfsiz).write(value),
            Register::Hcfg => field!(*self, hcfg).write(value),
            Register::Hfir => field!(*self, hfir).write(value),
            Register::Haintmsk => field!(*self, haintmsk).write(value),
            Register::Hprt0 => field!(*self, hprt0).write(value),
            Register::Pcgcctl => field!(*self, pcgcctl).write(value),
            Register::Gsnpsid
            | Register::Ghwcfg1
            | Register::Ghwcfg2
            | Register::Ghwcfg4
            | Register::Hfnum
            | Register::Haint => {}
            Register::Channel(index, register) => {
                let mut channels = field!(*self, channels);
                let Some(mut channel) = channels.get(index) else { return };
                match register {
                    Channel::Hcchar => field!(channel, hcchar).write(value),
                    Channel::Hcsplt => field!(channel, hcsplt).write(value),
                    Channel::Hcint => field!(channel, hcint).write(value),
                    Channel::Hcintmsk => field!(channel, hcintmsk).write(value),
                    Channel::Hctsiz => field!(channel, hctsiz).write(value),
                    Channel::Hcdma => field!(channel, hcdma).write(value),
                }
            }
        }
    }
}
