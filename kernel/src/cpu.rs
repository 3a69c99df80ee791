//! What only the processor has: interrupts and faults, per-core executors that sleep in WFI, time, locks between cores.

pub(crate) mod entry;
pub(crate) mod executor;
pub(crate) mod fault;
pub(crate) mod frame;
pub(crate) mod interrupt;
pub(crate) mod lock;
pub(crate) mod provoke;
pub(crate) mod time;

use aarch64_cpu::registers::{MPIDR_EL1, Readable};

/// Cores of every supported SoC.
pub(crate) const CORES: usize = 4;

/// Returns the number of the core that this runs on, 0 to 3 (MPIDR_EL1.Aff0).
pub(crate) fn current_core() -> usize {
    (MPIDR_EL1.get() & 3) as usize
}
