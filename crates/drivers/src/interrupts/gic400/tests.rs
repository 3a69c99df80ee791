//! Tests of the GIC-400 driver against a model of its registers, with and without the security extensions.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;

use testkit::mmio::{Block, Model, claim};

use super::*;
use crate::interrupts::PERIPHERALS_CORE;

/// What a GIC-400 has: eight registers of 32 interrupts in BCM2711.
const REGISTERS: usize = 8;
const IDS: usize = 32 * REGISTERS;
const NOTHING: u32 = 1023;

/// One interrupt, as one core (if it is its own) or all see it.
#[derive(Clone, Copy, Default)]
struct Line {
    is_enabled: bool,
    /// Raised from outside; stays so until it is taken away.
    level: bool,
    is_pending: bool,
    is_active: bool,
    group_1: bool,
    priority: u8,
    targets: u8,
    is_edge: bool,
}

/// Distributor and CPU interfaces: they share their state.
struct Gic400Model {
    /// The core whose accesses come.
    core: usize,
    /// Whether accesses are non-secure on a GIC with security extensions: group 0 is not there for them.
    is_non_secure: bool,
    control: u32,
    /// The interrupts below 32 of each core.
    own: [[Line; 32]; CORES],
    shared: Vec<Line>,
    cpu_control: [u32; CORES],
    cpu_mask: [u8; CORES],
    /// Priorities of what an earlier life has not ended.
    left_active: [[u32; 4]; CORES],
    /// What each core has acknowledged and not ended.
    stack: [Vec<u32>; CORES],
    /// Cores that sent each core interrupt 0 and were not heard yet.
    senders: [VecDeque<usize>; CORES],
    ended: Vec<u32>,
}

impl Gic400Model {
    fn line(&mut self, id: usize) -> &mut Line {
        if id < 32 { &mut self.own[self.core][id] } else { &mut self.shared[id - 32] }
    }

    fn bits(&mut self, offset: usize, base: usize, get: fn(&Line) -> bool) -> u32 {
        let first = (offset - base) * 8;
        (0..32).fold(0, |bits, bit| bits | u32::from(get(self.line(first + bit))) << bit)
    }

    fn for_ones(&mut self, offset: usize, base: usize, value: u32, act: fn(&mut Line)) {
        let first = (offset - base) * 8;
        for bit in (0..32).filter(|bit| value >> bit & 1 == 1) {
            act(self.line(first + bit));
        }
    }

    /// The most urgent interrupt that this core may take: the number, and for interrupts between cores who sent it.
    fn most_urgent(&mut self) -> Option<u32> {
        let (core, non_secure) = (self.core, self.is_non_secure);
        // The group that is on is the one that `control` bit 0 stands for; group 1 of a secure view has bit 1.
        let on = self.control & self.cpu_control[core];
        let mask = if self.left_active[core] == [0; 4] { self.cpu_mask[core] } else { 0 };
        let sender = self.senders[core].front().copied();
        let mut best: Option<(u8, u32)> = None;
        for id in 0..IDS {
            let line = *self.line(id);
            let is_mine = id < 32 || line.targets >> core & 1 == 1;
            let is_on = if non_secure || !line.group_1 { on & 1 } else { on >> 1 & 1 };
            let is_pending = line.is_pending || line.level && !line.is_active || id == 0 && sender.is_some();
            let can = line.is_enabled && is_mine && is_on == 1 && is_pending && line.priority < mask && !line.is_active;
            if can && best.is_none_or(|(priority, _)| line.priority < priority) {
                let from = if id == 0 { sender.unwrap_or_default() as u32 } else { 0 };
                best = Some((line.priority, id as u32 | from << 10));
            }
        }
        best.map(|(_, value)| value)
    }
}

struct DistributorModel(std::sync::Arc<std::sync::Mutex<Gic400Model>>);
struct CpuModel(std::sync::Arc<std::sync::Mutex<Gic400Model>>);

impl Block for DistributorModel {
    fn read(&mut self, offset: usize) -> u32 {
        let mut gic = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match offset {
            0x000 => gic.control,
            0x004 => (REGISTERS as u32 - 1) | (CORES as u32 - 1) << 5,
            0x080..0x0a0 if gic.is_non_secure => 0,
            0x080..0x0a0 => gic.bits(offset, 0x080, |line| line.group_1),
            0x800..0x820 => 0x0101_0101 << gic.core,
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut gic = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let end = |base: usize, per: usize| base..base + REGISTERS * per;
        match offset {
            0x000 => gic.control = value,
            _ if end(0x080, 4).contains(&offset) => {
                if !gic.is_non_secure {
                    let first = (offset - 0x080) * 8;
                    for bit in 0..32 {
                        gic.line(first + bit).group_1 = value >> bit & 1 == 1;
                    }
                }
            }
            _ if end(0x100, 4).contains(&offset) => gic.for_ones(offset, 0x100, value, |line| line.is_enabled = true),
            _ if end(0x180, 4).contains(&offset) => gic.for_ones(offset, 0x180, value, |line| line.is_enabled = false),
            _ if end(0x280, 4).contains(&offset) => gic.for_ones(offset, 0x280, value, |line| line.is_pending = false),
            _ if end(0x380, 4).contains(&offset) => gic.for_ones(offset, 0x380, value, |line| line.is_active = false),
            _ if end(0x400, 32).contains(&offset) => {
                for (place, byte) in value.to_le_bytes().into_iter().enumerate() {
                    // Five bits are there, and in the non-secure view only the lower half (DDI 0471B, 2.3.2; IHI 0048B, 3.8).
                    let byte = if gic.is_non_secure { 0x80 | byte >> 1 } else { byte };
                    gic.line(offset - 0x400 + place).priority = byte & 0xf8;
                }
            }
            0x800..0x820 => {}
            _ if end(0x800, 32).contains(&offset) => {
                for (place, byte) in value.to_le_bytes().into_iter().enumerate() {
                    gic.line(offset - 0x800 + place).targets = byte;
                }
            }
            0xc00 | 0xc04 => panic!("a core's own interrupts can't be configured"),
            _ if end(0xc00, 8).contains(&offset) => {
                for place in 0..16 {
                    gic.line((offset - 0xc00) * 4 + place).is_edge = value >> (2 * place + 1) & 1 == 1;
                }
            }
            0xf00 => {
                assert_eq!(value & !0xff_000f, 0, "by list, of the visible group");
                assert_eq!(value & 0xf, 0);
                let sender = gic.core;
                for core in (0..CORES).filter(|core| value >> (16 + core) & 1 == 1) {
                    if !gic.senders[core].contains(&sender) {
                        gic.senders[core].push_back(sender);
                    }
                }
            }
            _ => panic!("write of {offset:#x}"),
        }
    }
}

impl Block for CpuModel {
    fn read(&mut self, offset: usize) -> u32 {
        let mut gic = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let core = gic.core;
        match offset {
            0x00 => gic.cpu_control[core],
            0x0c => {
                let Some(value) = gic.most_urgent() else { return NOTHING };
                if value & 0x3ff == 0 {
                    gic.senders[core].pop_front();
                }
                let line = gic.line((value & 0x3ff) as usize);
                (line.is_active, line.is_pending) = (true, false);
                gic.stack[core].push(value);
                value
            }
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut gic = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let core = gic.core;
        match offset {
            0x00 => gic.cpu_control[core] = value,
            0x04 => gic.cpu_mask[core] = value as u8,
            0x08 => {}
            0xd0..0xe0 => gic.left_active[core][(offset - 0xd0) / 4] = value,
            0x10 => {
                assert_eq!(gic.stack[core].pop(), Some(value), "ended what was acknowledged last, with its sender");
                gic.line((value & 0x3ff) as usize).is_active = false;
                gic.ended.push(value);
            }
            _ => panic!("write of {offset:#x}"),
        }
    }
}

type Shared = std::sync::Arc<std::sync::Mutex<Gic400Model>>;

/// A controller as the firmware leaves it: non-secure with all in group 1, or without security and all in group 0. A boot
/// loader has left interrupts on, pending and active.
fn controller(is_non_secure: bool) -> (Gic400<'static>, Shared) {
    let left = Line {
        is_enabled: true,
        is_pending: true,
        is_active: true,
        group_1: is_non_secure,
        priority: 0xf8,
        targets: 0xf,
        is_edge: true,
        ..Line::default()
    };
    let state = std::sync::Arc::new(std::sync::Mutex::new(Gic400Model {
        core: PERIPHERALS_CORE,
        is_non_secure,
        control: 1,
        own: [[left; 32]; CORES],
        shared: vec![left; IDS - 32],
        cpu_control: [0x1e9; CORES],
        cpu_mask: [0; CORES],
        left_active: [[1, 0, 1, 0]; CORES],
        stack: Default::default(),
        senders: Default::default(),
        ended: vec![],
    }));
    let (distributor, _): (_, Model<DistributorModel>) = claim(DistributorModel(state.clone()));
    let (cpu, _): (_, Model<CpuModel>) = claim(CpuModel(state.clone()));
    (Gic400::new(distributor, cpu), state)
}

const ALL: Local = Local { physical_timer: true, virtual_timer: true, ipi: true };
const USB: usize = 105;

fn with<R>(state: &Shared, act: impl FnOnce(&mut Gic400Model) -> R) -> R {
    act(&mut state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn on_core(state: &Shared, core: usize) {
    with(state, |gic| gic.core = core);
}

/// Handles what a core has, taking each cause away as the kernel does, and returns the causes.
fn causes(controller: &Gic400<'_>, state: &Shared, core: usize) -> Vec<Cause> {
    on_core(state, core);
    let mut causes = vec![];
    controller.handle(|cause| {
        causes.push(cause);
        match cause {
            Cause::PhysicalTimer => with(state, |gic| gic.line(30).level = false),
            Cause::VirtualTimer => with(state, |gic| gic.line(27).level = false),
            Cause::Peripheral(irq) => controller.disable(irq),
            Cause::Ipi | Cause::Unexpected(_) => {}
        }
    });
    assert!(with(state, |gic| gic.stack[core].is_empty()), "all that was acknowledged is ended");
    causes
}

fn irq(id: usize) -> Irq {
    Irq::new(id as u16)
}

#[test]
fn everything_is_off_a_level_and_core_0s_at_first() {
    for is_non_secure in [false, true] {
        let (controller, state) = controller(is_non_secure);
        controller.init_core(0, Local::default());
        with(&state, |gic| {
            for line in gic.shared.iter().chain(&gic.own[0]) {
                assert!(!line.is_enabled && !line.is_pending && !line.is_active);
                assert_eq!(line.group_1, is_non_secure, "what is not ours to choose stays");
            }
            assert!(gic.shared.iter().all(|line| !line.is_edge && line.targets == 1));
            for line in gic.shared.iter_mut().chain(&mut gic.own[0]) {
                line.level = true;
            }
        });
        assert_eq!(causes(&controller, &state, 0), []);
    }
}

#[test]
fn each_peripheral_is_enabled_by_its_bit_and_interrupts_core_0_only() {
    for is_non_secure in [false, true] {
        let (controller, state) = controller(is_non_secure);
        for core in 0..CORES {
            on_core(&state, core);
            controller.init_core(core, ALL);
        }
        with(&state, |gic| gic.shared.iter_mut().for_each(|line| line.level = true));
        for id in 32..IDS {
            controller.enable(irq(id));
            let shared = with(&state, |gic| gic.shared.iter().filter(|line| line.is_enabled).count());
            assert_eq!(shared, 1);
            assert_eq!([1, 2, 3].map(|core| causes(&controller, &state, core)), [[], [], []]);
            assert_eq!(causes(&controller, &state, 0), [Cause::Peripheral(irq(id))], "INTID {id}");
        }
    }
}

#[test]
fn a_core_s_own_interrupts_are_not_peripherals() {
    let (controller, state) = controller(true);
    controller.init_core(0, ALL);
    for id in [0, 27, 31] {
        controller.disable(irq(id));
        controller.enable(irq(id));
    }
    controller.enable(irq(1020));
    controller.enable(Irq::new(u16::MAX));
    let enabled: Vec<_> = with(&state, |gic| (0..32).filter(|&id| gic.own[0][id].is_enabled).collect());
    assert_eq!(enabled, [0, 27, 30]);
}

#[test]
fn the_firmware_s_bypass_bits_stay_and_fast_interrupts_are_off() {
    let (controller, state) = controller(false);
    controller.init_core(0, ALL);
    // Bit 3 of what was left there sends group 0 to FIQ.
    assert_eq!(with(&state, |gic| (gic.cpu_control[0], gic.cpu_mask[0], gic.control)), (0x1e1, 0xff, 1));
}

#[test]
fn cores_and_timers_come_before_a_peripheral_that_does_not_let_go() {
    for is_non_secure in [false, true] {
        let (controller, state) = controller(is_non_secure);
        controller.init_core(0, ALL);
        controller.enable(irq(USB));
        with(&state, |gic| gic.line(USB).level = true);
        let mut seen = vec![];
        controller.handle(|cause| {
            seen.push(cause);
            match seen.len() {
                3 => with(&state, |gic| gic.line(30).level = true),
                4 => with(&state, |gic| (gic.line(30).level, gic.line(USB).level) = (false, false)),
                _ => {}
            }
        });
        let usb = Cause::Peripheral(irq(USB));
        assert_eq!(seen, [usb, usb, usb, Cause::PhysicalTimer]);
        controller.send_ipi(0);
        with(&state, |gic| (gic.line(27).level, gic.line(USB).level) = (true, true));
        assert_eq!(causes(&controller, &state, 0), [Cause::Ipi, Cause::VirtualTimer, usb]);
    }
}

#[test]
fn an_interrupt_that_goes_away_before_it_is_acknowledged_is_nothing() {
    let (controller, state) = controller(true);
    controller.init_core(0, ALL);
    controller.enable(irq(USB));
    with(&state, |gic| gic.line(USB).level = true);
    with(&state, |gic| gic.line(USB).level = false);
    assert_eq!(causes(&controller, &state, 0), []);
    assert_eq!(with(&state, |gic| gic.ended.clone()), [], "1023 is not ended");
}

#[test]
fn timers_interrupt_the_core_that_wants_them() {
    let (controller, state) = controller(true);
    for (core, local) in [
        (0, Local::default()),
        (1, Local { physical_timer: true, ..Local::default() }),
        (2, Local { ipi: true, ..Local::default() }),
        (3, Local { virtual_timer: true, ..Local::default() }),
    ] {
        on_core(&state, core);
        controller.init_core(core, local);
        with(&state, |gic| (gic.line(27).level, gic.line(30).level) = (true, true));
    }
    assert_eq!(
        [0, 1, 2, 3].map(|core| causes(&controller, &state, core)),
        [vec![], vec![Cause::PhysicalTimer], vec![], vec![Cause::VirtualTimer]]
    );
}

#[test]
fn a_core_is_woken_by_each_sender_and_ends_it_with_its_number() {
    let (controller, state) = controller(true);
    for core in 0..CORES {
        on_core(&state, core);
        controller.init_core(core, ALL);
    }
    for sender in [3, 1, 1] {
        on_core(&state, sender);
        controller.send_ipi(2);
    }
    assert_eq!([0, 1, 3].map(|core| causes(&controller, &state, core)), [[], [], []]);
    assert_eq!(causes(&controller, &state, 2), [Cause::Ipi; 2]);
    assert_eq!(with(&state, |gic| gic.ended.clone()), [3 << 10, 1 << 10]);
    // What is sent while the handler runs comes again.
    on_core(&state, 2);
    controller.send_ipi(2);
    let mut count = 0;
    controller.handle(|_| {
        count += 1;
        if count == 1 {
            controller.send_ipi(2);
        }
    });
    assert_eq!(count, 2);
}

#[test]
fn a_core_that_is_not_there_yet_is_not_interrupted() {
    let (controller, state) = controller(true);
    controller.init_core(0, ALL);
    controller.send_ipi(1);
    controller.send_ipi(4);
    assert!(with(&state, |gic| gic.senders.iter().all(VecDeque::is_empty)));
    on_core(&state, 1);
    controller.init_core(1, ALL);
    on_core(&state, 0);
    controller.send_ipi(1);
    assert_eq!(causes(&controller, &state, 1), [Cause::Ipi]);
}

#[test]
fn what_nobody_enabled_is_reported() {
    let (controller, state) = controller(true);
    controller.init_core(0, ALL);
    with(&state, |gic| (gic.own[0][26].is_enabled, gic.own[0][26].is_pending) = (true, true));
    assert_eq!(causes(&controller, &state, 0), [Cause::Unexpected(26)]);
}
