//! The interrupt controllers of BCM2837: BCM2836's per-core controller, and ARMCTRL for the peripherals.
//!
//! All peripherals' interrupts go to core 0, which runs the drivers. Every method takes `&self` and may be called from any
//! core and from interrupt handlers without a lock: what several cores write are registers of the kind "a written 1 acts
//! on its bit, a 0 does nothing", and the two control registers that are not are per core and written whole, by
//! [`Bcm2836::set_local`]. Nothing is read, modified and written back.
//!
//! Sources: QA7, chapters 3 and 4; ARM Peripherals, chapter 7.

use rpi_pac::armctrl::{self, ArmCtrl, IRQ_COUNT};
use rpi_pac::local_intc::{self, LocalIntc, Source};
use safe_mmio::UniqueMmioPointer;

/// Core that gets the peripherals' interrupts.
pub const PERIPHERALS_CORE: usize = 0;
/// Mailbox of each core that wakes it. The others stay masked.
const IPI_MAILBOX: usize = 0;
/// Any bit of it will do.
const IPI_BIT: u32 = 1;

/// An interrupt of a peripheral, by ARMCTRL's number: 0–63 as in the datasheet's table, 64–71 the basic ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Irq(u8);

impl Irq {
    /// Returns the interrupt with this number, if ARMCTRL has it.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < IRQ_COUNT { Some(Self(number)) } else { None }
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Why a core was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The core's non-secure physical timer (CNTP).
    PhysicalTimer,
    /// The core's virtual timer (CNTV).
    VirtualTimer,
    /// Another core, or this one itself: see [`Bcm2836::send_ipi`].
    Ipi,
    /// A peripheral. Only on [`PERIPHERALS_CORE`].
    Peripheral(Irq),
    /// Something that was never enabled: our bug, or a broken board. Carries the core's source register.
    Unexpected(u32),
}

/// What may interrupt a core, besides peripherals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// The non-secure physical timer (CNTP).
    pub physical_timer: bool,
    /// The virtual timer (CNTV).
    pub virtual_timer: bool,
    /// [`Bcm2836::send_ipi`].
    pub ipi: bool,
}

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

    /// Sets what may interrupt a core, besides peripherals. A core that does not exist is ignored.
    pub fn set_local(&self, core: usize, local: Local) {
        let mut timers = Source::empty();
        timers.set(Source::CNTPNS, local.physical_timer);
        timers.set(Source::CNTV, local.virtual_timer);
        self.local.write_timer_control(core, timers.bits());
        self.local.write_mailbox_control(core, u32::from(local.ipi) << IPI_MAILBOX);
    }

    /// Enables a peripheral's interrupt.
    pub fn enable(&self, irq: Irq) {
        self.armctrl.write_enable(irq.0, 1 << (irq.0 % BANK_BITS));
    }

    /// Disables a peripheral's interrupt.
    pub fn disable(&self, irq: Irq) {
        self.armctrl.write_disable(irq.0, 1 << (irq.0 % BANK_BITS));
    }

    /// Returns why a core is interrupted right now: every cause once, the urgent ones first.
    ///
    /// Interrupts are levels: a cause that is not dealt with comes again.
    #[must_use]
    pub fn pending(&self, core: usize) -> Pending {
        let source = self.local.read_irq_source(core);
        let banks = if source.contains(Source::GPU) {
            [self.armctrl.read_pending(0), self.armctrl.read_pending(1), self.armctrl.read_pending(2)]
        } else {
            [0; BANKS]
        };
        Pending { source: source - Source::GPU, banks }
    }

    /// Interrupts a core. What was written to memory before is visible to it there if the caller has put a barrier (DSB)
    /// in between, as an atomic's release store alone does not order device accesses.
    pub fn send_ipi(&self, core: usize) {
        self.local.write_mailbox_set(core, IPI_MAILBOX, IPI_BIT);
    }

    /// Acknowledges [`Cause::Ipi`] on a core. Call it before looking at what the others have left: what comes after that
    /// interrupts again.
    pub fn ack_ipi(&self, core: usize) {
        self.local.write_mailbox_clear(core, IPI_MAILBOX, u32::MAX);
    }
}

/// Interrupts in each of ARMCTRL's registers.
const BANK_BITS: u8 = 32;
/// How many of these registers there are.
const BANKS: usize = 3;

/// The causes of an interrupt: see [`Bcm2836::pending`].
#[derive(Clone, Debug)]
pub struct Pending {
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
                return Some(Cause::Peripheral(Irq(first + bit)));
            }
        }
        let rest = core::mem::replace(&mut self.source, Source::empty());
        if rest.is_empty() { None } else { Some(Cause::Unexpected(rest.bits())) }
    }
}

#[cfg(test)]
mod tests;
