//! The interrupt controllers: BCM2836's and ARMCTRL in BCM2837, GIC-400 in BCM2711, behind one type.
//!
//! All peripherals' interrupts go to core 0, which runs the drivers. Every method takes `&self` and may be called from any
//! core and from interrupt handlers without a lock: see the controllers for why that is so.

mod bcm2836;
mod gic400;

pub use bcm2836::Bcm2836;
pub use boards::Irq;
pub use gic400::Gic400;

/// Core that gets the peripherals' interrupts.
pub const PERIPHERALS_CORE: usize = 0;

/// Why a core was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The core's non-secure physical timer (CNTP).
    PhysicalTimer,
    /// The core's virtual timer (CNTV).
    VirtualTimer,
    /// Another core, or this one itself: see [`Controller::send_ipi`].
    Ipi,
    /// A peripheral. Only on [`PERIPHERALS_CORE`].
    Peripheral(Irq),
    /// Something that was never enabled: our bug, or a broken board. Carries what the controller says about it.
    Unexpected(u32),
}

/// What may interrupt a core, besides peripherals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// The non-secure physical timer (CNTP).
    pub physical_timer: bool,
    /// The virtual timer (CNTV).
    pub virtual_timer: bool,
    /// [`Controller::send_ipi`].
    pub ipi: bool,
}

/// The interrupt controller of the running SoC.
pub enum Controller<'a> {
    /// BCM2837's.
    Bcm2836(Bcm2836<'a>),
    /// BCM2711's.
    Gic400(Gic400<'a>),
}

impl Controller<'_> {
    /// Sets what may interrupt this core, besides peripherals. Call it on that core, before it takes interrupts.
    pub fn init_core(&self, core: usize, local: Local) {
        match self {
            Self::Bcm2836(controller) => controller.init_core(core, local),
            Self::Gic400(controller) => controller.init_core(core, local),
        }
    }

    /// Enables a peripheral's interrupt.
    pub fn enable(&self, irq: Irq) {
        match self {
            Self::Bcm2836(controller) => controller.enable(irq),
            Self::Gic400(controller) => controller.enable(irq),
        }
    }

    /// Disables a peripheral's interrupt.
    pub fn disable(&self, irq: Irq) {
        match self {
            Self::Bcm2836(controller) => controller.disable(irq),
            Self::Gic400(controller) => controller.disable(irq),
        }
    }

    /// Interrupts a core. What was written to memory before is visible to it there if the caller has put a barrier (DSB)
    /// in between, as an atomic's release store alone does not order device accesses.
    pub fn send_ipi(&self, core: usize) {
        match self {
            Self::Bcm2836(controller) => controller.send_ipi(core),
            Self::Gic400(controller) => controller.send_ipi(core),
        }
    }

    /// Calls `act` for everything that interrupts this core right now, the urgent first. Call it on that core.
    ///
    /// Interrupts are levels: a cause that `act` does not take away, or [`disable`](Self::disable), comes again. One
    /// between cores is acknowledged before `act` gets it, so what comes later interrupts again; `act` has to put a barrier
    /// (DMB) before its look at what the other core has left.
    pub fn handle(&self, core: usize, act: impl FnMut(Cause)) {
        match self {
            Self::Bcm2836(controller) => controller.handle(core, act),
            Self::Gic400(controller) => controller.handle(act),
        }
    }
}
