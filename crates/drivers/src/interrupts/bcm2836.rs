//! The interrupt controllers of BCM2837: BCM2836's per-core controller, and ARMCTRL for the peripherals.
//!
//! What several cores write are registers of the kind "a written 1 acts on its bit, a 0 does nothing", and the two control
//! registers that are not are per core and written whole, by [`Bcm2836::init_core`]. Nothing is read, modified and written
//! back.
//!
//! Sources: QA7, chapters 3 and 4; ARM Peripherals, chapter 7.

use boards::Irq;
use rpi_pac::armctrl::{self, ArmCtrl, IRQ_COUNT};
use rpi_pac::local_intc::{self, LocalIntc, Source};
use safe_mmio::UniqueMmioPointer;

use super::{Cause, Local};

/// Mailbox of each core that wakes it. The others stay masked.
const IPI_MAILBOX: usize = 0;
/// Any bit of it will do.
const IPI_BIT: u32 = 1;

/// Both controllers.
pub struct Bcm2836<'a> {
    local: LocalIntc<'a>,
    armctrl: ArmCtrl<'a>,
}

impl<'a> Bcm2836<'a> {
    /// Takes the controllers over, with every interrupt off.
    #[must_use]
    pub fn new(
        local: UniqueMmioPointer<'a, local_intc::Registers>,
        armctrl: UniqueMmioPointer<'a, armctrl::Registers>,
    ) -> Self {
        Self { local: LocalIntc::new(local), armctrl: ArmCtrl::new(armctrl) }
    }

    /// See [`super::Controller::init_core`]. A core that does not exist is ignored.
    pub(super) fn init_core(&self, core: usize, local: Local) {
        let mut timers = Source::empty();
        timers.set(Source::CNTPNS, local.physical_timer);
        timers.set(Source::CNTV, local.virtual_timer);
        self.local.write_timer_control(core, timers.bits());
        self.local.write_mailbox_control(core, u32::from(local.ipi) << IPI_MAILBOX);
    }

    /// See [`super::Controller::enable`].
    pub(super) fn enable(&self, irq: Irq) {
        if let Some(number) = armctrl_number(irq) {
            self.armctrl.write_enable(number, 1 << (number % BANK_BITS));
        }
    }

    /// See [`super::Controller::disable`].
    pub(super) fn disable(&self, irq: Irq) {
        if let Some(number) = armctrl_number(irq) {
            self.armctrl.write_disable(number, 1 << (number % BANK_BITS));
        }
    }

    /// See [`super::Controller::send_ipi`].
    pub(super) fn send_ipi(&self, core: usize) {
        self.local.write_mailbox_set(core, IPI_MAILBOX, IPI_BIT);
    }

    /// See [`super::Controller::handle`].
    pub(super) fn handle(&self, core: usize, mut act: impl FnMut(Cause)) {
        for cause in self.pending(core) {
            if cause == Cause::Ipi {
                self.local.write_mailbox_clear(core, IPI_MAILBOX, u32::MAX);
                // The write may be on its way for a while. When this is back it has arrived: what another core sends from
                // now on is not cleared with it.
                let _ = self.local.read_mailbox(core, IPI_MAILBOX);
            }
            act(cause);
        }
    }

    /// Returns why a core is interrupted right now: every cause once, the urgent ones first.
    fn pending(&self, core: usize) -> Pending {
        let source = self.local.read_irq_source(core);
        let banks = if source.contains(Source::GPU) {
            [self.armctrl.read_pending(0), self.armctrl.read_pending(1), self.armctrl.read_pending(2)]
        } else {
            [0; BANKS]
        };
        Pending { source: source - Source::GPU, banks }
    }
}

/// Returns the number of an interrupt that ARMCTRL has.
fn armctrl_number(irq: Irq) -> Option<u8> {
    u8::try_from(irq.number()).ok().filter(|&number| number < IRQ_COUNT)
}

/// Interrupts in each of ARMCTRL's registers.
const BANK_BITS: u8 = 32;
/// How many of these registers there are.
const BANKS: usize = 3;

/// The causes of an interrupt: see [`Bcm2836::pending`].
struct Pending {
    source: Source,
    banks: [u32; BANKS],
}

impl Iterator for Pending {
    type Item = Cause;

    fn next(&mut self) -> Option<Cause> {
        for (source, cause) in [
            (Source::MAILBOX0, Cause::Ipi),
            (Source::CNTV, Cause::VirtualTimer),
            (Source::CNTPNS, Cause::PhysicalTimer),
        ] {
            if self.source.contains(source) {
                self.source.remove(source);
                return Some(cause);
            }
        }
        for (bits, first) in self.banks.iter_mut().zip((0..IRQ_COUNT).step_by(BANK_BITS.into())) {
            if *bits != 0 {
                // At most 31.
                let bit = bits.trailing_zeros() as u8;
                *bits &= *bits - 1;
                return Some(Cause::Peripheral(Irq::new(u16::from(first + bit))));
            }
        }
        let rest = core::mem::replace(&mut self.source, Source::empty());
        if rest.is_empty() { None } else { Some(Cause::Unexpected(rest.bits())) }
    }
}

#[cfg(test)]
mod tests;
