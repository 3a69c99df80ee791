//! GIC-400 of BCM2711.
//!
//! The firmware enters us in the non-secure state, with every interrupt in group 1 (raspberrypi/tools, armstubs/armstub8.S:
//! setup_gic): we see only that group, our priorities are the lower half of all, and the lowest bit of both control
//! registers turns on "our" group. QEMU's GIC has no security extensions: it lets us choose the group, and the same bit turns
//! on group 0. So everything is put into group 0, which is ignored where it is not ours to choose, and one code is right
//! for both.
//!
//! Between acknowledging and ending an interrupt lies nothing but its handler: [`Gic400::handle`] does both. Interrupts are
//! not nested, so what the priorities decide is the order: cores and timers come before peripherals, so that a peripheral
//! that does not let go can't hide the timer that would notice.
//!
//! Sources: IHI 0048B (GIC architecture 2.0); DDI 0471B (GIC-400).
//!
//! Tested on QEMU raspi4b, and against a model of the registers on the host.

use core::sync::atomic::{AtomicU8, Ordering};

use boards::Irq;
use rpi_pac::bcm2711::ppi;
use rpi_pac::gic400::{CpuInterface, Distributor, FIRST_SPECIAL, FIRST_SPI, Gic};
use safe_mmio::UniqueMmioPointer;

use super::{Cause, Local};

/// Cores of BCM2711.
const CORES: usize = 4;
/// The interrupt between cores. Those from 8 on are for the secure side by convention (Arm BSA, B_PPI).
const IPI: u8 = 0;
/// Priority of what is a core's own; 0xf0 would be the least urgent in the non-secure view.
const CORE_PRIORITY: u8 = 0x80;
/// Priority of peripherals.
const PERIPHERAL_PRIORITY: u8 = 0xa0;

/// The controller.
pub struct Gic400<'a> {
    gic: Gic<'a>,
    /// Each core's bit in lists of cores: only the core itself can read it. 0 while it has not.
    targets: [AtomicU8; CORES],
}

impl<'a> Gic400<'a> {
    /// Takes the controller over, with every interrupt of a peripheral off and going to the core that calls this.
    #[must_use]
    pub fn new(
        distributor: UniqueMmioPointer<'a, Distributor>,
        cpu_interface: UniqueMmioPointer<'a, CpuInterface>,
    ) -> Self {
        let gic = Gic::new(distributor, cpu_interface, PERIPHERAL_PRIORITY);
        Self { gic, targets: [const { AtomicU8::new(0) }; CORES] }
    }

    /// See [`super::Controller::init_core`].
    pub(super) fn init_core(&self, core: usize, local: Local) {
        let mut enabled = 0;
        for (is_on, id) in [
            (local.physical_timer, ppi::PHYSICAL_TIMER),
            (local.virtual_timer, ppi::VIRTUAL_TIMER),
            (local.ipi, u16::from(IPI)),
        ] {
            enabled |= u32::from(is_on) << id;
        }
        self.gic.init_core(enabled, CORE_PRIORITY);
        if let Some(target) = self.targets.get(core) {
            // Relaxed: who sends before seeing it has nobody to wake yet.
            target.store(self.gic.read_own_target(), Ordering::Relaxed);
        }
    }

    /// See [`super::Controller::enable`].
    pub(super) fn enable(&self, irq: Irq) {
        if is_shared(irq.number()) {
            self.gic.write_enable(irq.number());
        }
    }

    /// See [`super::Controller::disable`].
    pub(super) fn disable(&self, irq: Irq) {
        if is_shared(irq.number()) {
            self.gic.write_disable(irq.number());
        }
    }

    /// See [`super::Controller::send_ipi`]. A core that has not called `init_core` is not interrupted.
    pub(super) fn send_ipi(&self, core: usize) {
        let target = self.targets.get(core).map_or(0, |target| target.load(Ordering::Relaxed));
        if target != 0 {
            self.gic.write_send(IPI, target);
        }
    }

    /// See [`super::Controller::handle`]. What turns out to be nothing when it is acknowledged (the interrupt went away
    /// meanwhile) needs no handling and no end.
    pub(super) fn handle(&self, mut act: impl FnMut(Cause)) {
        while let Some(acknowledged) = self.gic.acknowledge() {
            act(match acknowledged.id() {
                ppi::PHYSICAL_TIMER => Cause::PhysicalTimer,
                ppi::VIRTUAL_TIMER => Cause::VirtualTimer,
                id if id == u16::from(IPI) => Cause::Ipi,
                id if is_shared(id) => Cause::Peripheral(Irq::new(id)),
                id => Cause::Unexpected(id.into()),
            });
            self.gic.end(acknowledged);
        }
    }
}

/// Returns whether an interrupt is one of a peripheral.
fn is_shared(id: u16) -> bool {
    (FIRST_SPI..FIRST_SPECIAL).contains(&id)
}

#[cfg(test)]
mod tests;
