//! GIC-400, ARM's interrupt controller, in BCM2711: a distributor for all cores, and a CPU interface for each.
//!
//! Sources: ARM Generic Interrupt Controller Architecture Specification 2.0 (IHI 0048B), chapter 4; CoreLink GIC-400 TRM
//! (DDI 0471B), chapter 3; offsets compared with Linux include/linux/irqchip/arm-gic.h.

use safe_mmio::fields::{ReadOnly, ReadPure, ReadPureWrite, WriteOnly};
use safe_mmio::{UniqueMmioPointer, field, field_shared};

use crate::shared::Shared;

/// The first interrupt that all cores share; the ones below are each core's own (IHI 0048B, section 2.2.1).
pub const FIRST_SPI: u16 = 32;
/// What acknowledging gives when there is nothing (any more), from this number on (IHI 0048B, section 2.2.1: 1020-1023).
pub const FIRST_SPECIAL: u16 = 1020;
/// Registers with one bit for each interrupt: what the architecture has room for. GIC-400 has at most 16 (DDI 0471B, 2.1).
const REGISTERS: usize = 32;

/// `control` of distributor and CPU interface: on. Without the security extensions and in the secure view it is group 0
/// that is on; in the non-secure view, where group 0 can't be seen, group 1 (IHI 0048B, sections 4.3.1 and 4.4.1).
const ENABLE: u32 = 1;
/// `control` of the CPU interface: bits that keep the legacy interrupt lines out, which belong to the firmware (IHI 0048B,
/// table 4-29: bits 8:5; Linux irq-gic.c, gic_cpu_if_up leaves them as they are).
const BYPASS_MASK: u32 = 0x1e0;
/// `priority_mask`: everything passes.
const PASS_ALL: u32 = 0xff;
/// `kind` bits 4:0: registers of 32 interrupts, less one (IHI 0048B, section 4.3.2).
const LINES_MASK: u32 = 0x1f;
/// `acknowledge` bits 9:0: the interrupt; 12:10: which core sent it, if it is one between cores.
const ID_MASK: u32 = 0x3ff;
/// How far the list of cores is shifted in `send` (IHI 0048B, section 4.3.15).
const SEND_CORES_SHIFT: u32 = 16;

/// The distributor. Bit arrays have one bit per interrupt, counted through the registers; the first register (of
/// priorities and targets: the first eight) is each core's own.
#[repr(C, align(4))]
pub struct Distributor {
    /// 0x000: GICD_CTLR.
    pub control: ReadPureWrite<u32>,
    /// 0x004: GICD_TYPER.
    pub kind: ReadPure<u32>,
    reserved_008: [u32; 30],
    /// 0x080: GICD_IGROUPR: 1 = group 1. In the non-secure view all read 0 and writes are ignored.
    pub group: [ReadPureWrite<u32>; REGISTERS],
    /// 0x100: GICD_ISENABLER: write 1 to enable.
    pub enable: [ReadPureWrite<u32>; REGISTERS],
    /// 0x180: GICD_ICENABLER: write 1 to disable.
    pub disable: [ReadPureWrite<u32>; REGISTERS],
    /// 0x200: GICD_ISPENDR: write 1 to make pending.
    pub set_pending: [ReadPureWrite<u32>; REGISTERS],
    /// 0x280: GICD_ICPENDR: write 1 to make it not pending.
    pub clear_pending: [ReadPureWrite<u32>; REGISTERS],
    /// 0x300: GICD_ISACTIVER.
    pub set_active: [ReadPureWrite<u32>; REGISTERS],
    /// 0x380: GICD_ICACTIVER: write 1 to end an interrupt that nobody ends.
    pub clear_active: [ReadPureWrite<u32>; REGISTERS],
    /// 0x400: GICD_IPRIORITYR: a byte each, 0 is the most urgent.
    pub priority: [ReadPureWrite<u32>; 8 * REGISTERS],
    /// 0x800: GICD_ITARGETSR: a byte each, one bit per core. A core's own interrupts read as the core's bit.
    pub target: [ReadPureWrite<u32>; 8 * REGISTERS],
    /// 0xc00: GICD_ICFGR: two bits each: 0 = level, 2 = rising edge. Those of a core's own can't be changed.
    pub config: [ReadPureWrite<u32>; 2 * REGISTERS],
    reserved_d00: [u32; 128],
    /// 0xf00: GICD_SGIR: sends an interrupt between cores.
    pub send: WriteOnly<u32>,
}

const _: () = assert!(size_of::<Distributor>() == 0xf04);

/// The CPU interface: at the same address for every core, each sees its own.
#[repr(C, align(4))]
pub struct CpuInterface {
    /// 0x00: GICC_CTLR.
    pub control: ReadPureWrite<u32>,
    /// 0x04: GICC_PMR: interrupts of a smaller number than this pass.
    pub priority_mask: ReadPureWrite<u32>,
    /// 0x08: GICC_BPR: which bits of the priority decide about preemption.
    pub binary_point: ReadPureWrite<u32>,
    /// 0x0c: GICC_IAR: gives the most urgent pending interrupt and makes it active.
    pub acknowledge: ReadOnly<u32>,
    /// 0x10: GICC_EOIR: ends an active interrupt.
    pub end: WriteOnly<u32>,
    reserved_14: [u32; 47],
    /// 0xd0: GICC_APR: priorities of what is active; nothing less urgent gets through. GIC-400 has only the first (DDI 0471B,
    /// table 3-6) and ignores writes to the others, QEMU's model has all.
    pub active_priorities: [ReadPureWrite<u32>; 4],
}

const _: () = assert!(size_of::<CpuInterface>() == 0xe0);

/// An interrupt that the core has acknowledged and must end.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an interrupt that is not ended keeps those of its priority and below away for ever"]
pub struct Acknowledged(u32);

impl Acknowledged {
    /// Returns the interrupt's number.
    #[must_use]
    pub const fn id(&self) -> u16 {
        // Ten bits.
        (self.0 & ID_MASK) as u16
    }
}

/// The controller, usable from every core and from interrupt handlers without a lock.
///
/// Methods that speak of "this core" act on the one that calls them. Everything that is written after [`Gic::new`] is
/// either a core's own or of the kind "a written 1 acts on its bit".
pub struct Gic<'a> {
    distributor: Shared<'a, Distributor>,
    cpu: Shared<'a, CpuInterface>,
}

impl<'a> Gic<'a> {
    /// Takes the controller over: no shared interrupt is enabled, pending or active; all are levels of priority
    /// `priority` in the lowest group that can be seen, for the core that calls this.
    #[must_use]
    pub fn new(
        mut distributor: UniqueMmioPointer<'a, Distributor>,
        cpu: UniqueMmioPointer<'a, CpuInterface>,
        priority: u8,
    ) -> Self {
        field!(distributor, control).write(0);
        let this = Self { distributor: Shared::new(distributor), cpu: Shared::new(cpu) };
        let lines = this.distributor.part(|block| field_shared!(block, kind)).read() & LINES_MASK;
        // At most 31.
        let registers = lines as usize + 1;
        let [priority, target] = [priority, this.read_own_target()].map(|byte| u32::from_le_bytes([byte; 4]));
        for index in 1..registers {
            this.reset(index);
            for quarter in 8 * index..8 * (index + 1) {
                write(this.distributor.part(|block| field_shared!(block, priority)).get(quarter), priority);
                write(this.distributor.part(|block| field_shared!(block, target)).get(quarter), target);
            }
            for half in 2 * index..2 * (index + 1) {
                write(this.distributor.part(|block| field_shared!(block, config)).get(half), 0);
            }
        }
        this.distributor.part(|block| field_shared!(block, control)).write(ENABLE);
        this
    }

    /// Prepares this core: of its own interrupts those that are 1 in `enabled` are on, all have priority `priority`, and
    /// everything passes to the core.
    pub fn init_core(&self, enabled: u32, priority: u8) {
        self.reset(0);
        for quarter in 0..8 {
            let register = self.distributor.part(|block| field_shared!(block, priority)).get(quarter);
            write(register, u32::from_le_bytes([priority; 4]));
        }
        write(self.distributor.part(|block| field_shared!(block, enable)).get(0), enabled);
        self.cpu.part(|block| field_shared!(block, priority_mask)).write(PASS_ALL);
        self.cpu.part(|block| field_shared!(block, binary_point)).write(0);
        // A life that ended in an interrupt has left its priority there: a boot loader's, and in QEMU ours, as its reset
        // keeps them. Linux clears them too (irq-gic.c, gic_cpu_if_up).
        for index in 0..4 {
            write(self.cpu.part(|block| field_shared!(block, active_priorities)).get(index), 0);
        }
        let control = self.cpu.part(|block| field_shared!(block, control));
        control.write(control.read() & BYPASS_MASK | ENABLE);
    }

    /// Returns this core's bit in lists of cores.
    #[must_use]
    pub fn read_own_target(&self) -> u8 {
        let register = self.distributor.part(|block| field_shared!(block, target)).get(0);
        let [bit, ..] = register.map_or(0, |register| register.read()).to_le_bytes();
        bit
    }

    /// Enables an interrupt.
    pub fn write_enable(&self, id: u16) {
        write(self.distributor.part(|block| field_shared!(block, enable)).get(usize::from(id / 32)), 1 << (id % 32));
    }

    /// Disables an interrupt.
    pub fn write_disable(&self, id: u16) {
        write(self.distributor.part(|block| field_shared!(block, disable)).get(usize::from(id / 32)), 1 << (id % 32));
    }

    /// Sends interrupt `id`, which is below 16, to the cores that are 1 in `targets`.
    pub fn write_send(&self, id: u8, targets: u8) {
        let value = u32::from(targets) << SEND_CORES_SHIFT | u32::from(id & 0xf);
        self.distributor.part(|block| field_shared!(block, send)).write(value);
    }

    /// Takes this core's most urgent interrupt, if one is pending.
    #[must_use]
    pub fn acknowledge(&self) -> Option<Acknowledged> {
        let acknowledged = Acknowledged(self.cpu.part(|block| field_shared!(block, acknowledge)).read());
        (acknowledged.id() < FIRST_SPECIAL).then_some(acknowledged)
    }

    /// Ends an interrupt that this core has acknowledged, the latest first.
    #[expect(clippy::needless_pass_by_value, reason = "what has ended can't be ended again")]
    pub fn end(&self, acknowledged: Acknowledged) {
        self.cpu.part(|block| field_shared!(block, end)).write(acknowledged.0);
    }

    /// Disables the 32 interrupts of a register, forgets that they were pending or active, and puts them into group 0: where
    /// that has an effect, it is the group that `ENABLE` turns on.
    fn reset(&self, index: usize) {
        write(self.distributor.part(|block| field_shared!(block, disable)).get(index), u32::MAX);
        write(self.distributor.part(|block| field_shared!(block, clear_pending)).get(index), u32::MAX);
        write(self.distributor.part(|block| field_shared!(block, clear_active)).get(index), u32::MAX);
        write(self.distributor.part(|block| field_shared!(block, group)).get(index), 0);
    }
}

/// Writes to a register of an array, if there is one.
fn write(register: Option<Shared<'_, ReadPureWrite<u32>>>, value: u32) {
    if let Some(register) = register {
        register.write(value);
    }
}
