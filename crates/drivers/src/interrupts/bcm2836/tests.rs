//! Tests of the interrupt controllers against models of their registers.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use testkit::mmio::{Block, Model, claim};
use testkit::time;

use super::*;

/// BCM2836's controller, of which the offsets are those of QA7, section 4.
#[derive(Default)]
struct FakeLocal {
    /// Timers that want to interrupt each core.
    timers: [u32; 4],
    timer_control: [u32; 4],
    mailbox_control: [u32; 4],
    mailboxes: [u32; 16],
    /// What ARMCTRL and others add to core 0's source.
    others: u32,
    /// Control, prescaler, GPU route.
    setup: [Option<u32>; 4],
    last_accesses: [Access; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Access {
    #[default]
    None,
    Read(usize),
    Write(usize),
}

impl Block for FakeLocal {
    fn read(&mut self, offset: usize) -> u32 {
        let core = offset / 4 % 4;
        self.last_accesses = [self.last_accesses[1], Access::Read(offset)];
        match offset {
            0xc0..0x100 => self.mailboxes[offset / 4 % 16],
            0x60..0x70 => {
                let mailboxes = (0..4).filter(|mailbox| self.mailboxes[4 * core + mailbox] != 0);
                let mailboxes = mailboxes.fold(0, |bits, mailbox| bits | 1 << mailbox) & self.mailbox_control[core];
                let others = if core == 0 { self.others } else { 0 };
                self.timers[core] & self.timer_control[core] | mailboxes << 4 | others
            }
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.last_accesses = [self.last_accesses[1], Access::Write(offset)];
        match offset {
            0x00..0x10 => self.setup[offset / 4] = Some(value),
            0x14 | 0x34 => {}
            0x40..0x50 => self.timer_control[offset / 4 % 4] = value,
            0x50..0x60 => self.mailbox_control[offset / 4 % 4] = value,
            0x80..0xc0 => self.mailboxes[offset / 4 % 16] |= value,
            0xc0..0x100 => self.mailboxes[offset / 4 % 16] &= !value,
            _ => panic!("write of {offset:#x}"),
        }
    }
}

/// ARMCTRL, of which the offsets are those of ARM Peripherals, section 7.5.
struct FakeArmCtrl {
    raised: [u32; 3],
    enabled: [u32; 3],
    fiq_control: u32,
}

impl Block for FakeArmCtrl {
    fn read(&mut self, offset: usize) -> u32 {
        let pending = |bank: usize| self.raised[bank] & self.enabled[bank];
        match offset {
            // Bits 8 and 9 say that the other registers have something.
            0x00 => pending(2) | u32::from(pending(0) != 0) << 8 | u32::from(pending(1) != 0) << 9,
            0x04 => pending(0),
            0x08 => pending(1),
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x0c => self.fiq_control = value,
            0x10 | 0x14 | 0x18 => self.enabled[(offset - 0x10) / 4] |= value,
            0x1c | 0x20 | 0x24 => self.enabled[(offset - 0x1c) / 4] &= !value,
            _ => panic!("write of {offset:#x}"),
        }
    }
}

fn controller() -> (Bcm2836<'static>, Model<FakeLocal>, Model<FakeArmCtrl>) {
    let (local, local_model) = claim(FakeLocal::default());
    // A boot loader left something on.
    let (armctrl, armctrl_model) = claim(FakeArmCtrl { raised: [0; 3], enabled: [0x200; 3], fiq_control: 0x89 });
    (Bcm2836::new(local, armctrl), local_model, armctrl_model)
}

/// Returns everything that a core is told, once.
fn causes(controller: &Bcm2836<'_>, core: usize) -> Vec<Cause> {
    let mut causes = vec![];
    controller.handle(core, |cause| causes.push(cause));
    causes
}

fn irq(number: u8) -> Irq {
    Irq::new(number.into())
}

#[test]
fn everything_is_off_at_first() {
    let (controller, local, armctrl) = controller();
    local.lock().timers = [0xf; 4];
    local.lock().mailboxes = [1; 16];
    armctrl.lock().raised = [u32::MAX; 3];
    assert!((0..4).all(|core| causes(&controller, core).is_empty()));
    let armctrl = armctrl.lock();
    assert_eq!((armctrl.enabled, armctrl.fiq_control), ([0; 3], 0));
    assert_eq!(local.lock().setup, [Some(0), None, Some(0x8000_0000), Some(0)], "crystal, 1:1, core 0");
}

#[test]
fn each_peripheral_is_enabled_by_its_bit() {
    for number in 0..IRQ_COUNT {
        let (controller, local, armctrl) = controller();
        controller.enable(irq(number));
        let mut expected = [0; 3];
        expected[usize::from(number / 32)] = 1 << (number % 32);
        assert_eq!(armctrl.lock().enabled, expected);
        armctrl.lock().raised = [u32::MAX; 3];
        local.lock().others = 1 << 8;
        assert_eq!(causes(&controller, 0), [Cause::Peripheral(irq(number))]);
        controller.disable(irq(number));
        assert_eq!(armctrl.lock().enabled, [0; 3]);
    }
    let (controller, _, armctrl) = controller();
    for number in [IRQ_COUNT, 96, 255] {
        controller.enable(irq(number));
    }
    controller.enable(Irq::new(256 + 9));
    assert_eq!(armctrl.lock().enabled, [0; 3], "what ARMCTRL does not have");
}

#[test]
fn every_cause_comes_once_and_the_urgent_ones_first() {
    let (controller, local, armctrl) = controller();
    controller.init_core(0, Local { physical_timer: true, virtual_timer: true, ipi: true });
    for number in [9, 57, 65] {
        controller.enable(irq(number));
    }
    local.lock().timers[0] = 0xf;
    local.lock().others = 1 << 8;
    armctrl.lock().raised = [1 << 9 | 1 << 3, 1 << 25, 1 << 1];
    controller.send_ipi(0);
    let expected = [
        Cause::Ipi,
        Cause::VirtualTimer,
        Cause::PhysicalTimer,
        Cause::Peripheral(irq(9)),
        Cause::Peripheral(irq(57)),
        Cause::Peripheral(irq(65)),
    ];
    assert_eq!(causes(&controller, 0), expected);
}

#[test]
fn what_nobody_enabled_is_reported() {
    let (controller, local, _) = controller();
    local.lock().others = 1 << 9 | 1 << 11;
    assert_eq!(causes(&controller, 0), [Cause::Unexpected(1 << 9 | 1 << 11)]);
}

#[test]
fn a_core_is_woken_once_for_all_that_came_before() {
    let (controller, local, _) = controller();
    for core in 0..4 {
        controller.init_core(core, Local { ipi: true, ..Local::default() });
    }
    controller.send_ipi(2);
    controller.send_ipi(2);
    assert_eq!([0, 1, 2, 3].map(|core| causes(&controller, core)), [vec![], vec![], vec![Cause::Ipi], vec![]]);
    assert_eq!(causes(&controller, 2), []);
    controller.send_ipi(2);
    // Acknowledged before the handler runs: what is sent meanwhile comes again.
    controller.handle(2, |cause| {
        assert_eq!((cause, local.lock().mailboxes[8]), (Cause::Ipi, 0));
        controller.send_ipi(2);
    });
    assert_eq!(causes(&controller, 2), [Cause::Ipi]);
}

#[test]
fn a_mailbox_is_read_after_it_was_cleared() {
    let (controller, local, _) = controller();
    controller.init_core(3, Local { ipi: true, ..Local::default() });
    controller.send_ipi(3);
    assert_eq!(causes(&controller, 3), [Cause::Ipi]);
    assert_eq!(local.lock().last_accesses, [Access::Write(0xf0), Access::Read(0xf0)]);
}

#[test]
fn timers_interrupt_the_core_that_wants_them() {
    let (controller, local, _) = controller();
    local.lock().timers = [0xf; 4];
    controller.init_core(1, Local { physical_timer: true, ..Local::default() });
    controller.init_core(3, Local { virtual_timer: true, ..Local::default() });
    assert_eq!(
        [0, 1, 2, 3].map(|core| causes(&controller, core)),
        [vec![], vec![Cause::PhysicalTimer], vec![], vec![Cause::VirtualTimer]]
    );
    controller.init_core(1, Local::default());
    assert_eq!(causes(&controller, 1), []);
}

#[test]
fn cores_that_do_not_exist_are_ignored() {
    let (controller, local, _) = controller();
    controller.init_core(4, Local { physical_timer: true, virtual_timer: true, ipi: true });
    controller.send_ipi(4);
    assert_eq!([causes(&controller, 4), causes(&controller, usize::MAX)], [[], []]);
    let local = local.lock();
    assert_eq!((local.timer_control, local.mailbox_control, local.mailboxes), ([0; 4], [0; 4], [0; 16]));
}

#[test]
fn four_cores_use_it_at_once_without_losing_anything() {
    const ROUNDS: u32 = 2000;
    let (controller, _, armctrl) = controller();
    std::thread::scope(|scope| {
        for core in 0..4 {
            let controller = &controller;
            scope.spawn(move || {
                controller.init_core(core, Local { ipi: true, ..Local::default() });
                for round in 0..ROUNDS {
                    // Each core has its own interrupts, in the same registers as the others'.
                    let number = irq(core as u8 * 8 + (round % 8) as u8);
                    controller.disable(number);
                    controller.send_ipi(core);
                    assert_eq!(causes(controller, core), [Cause::Ipi]);
                    assert_eq!(causes(controller, core), []);
                    controller.enable(number);
                }
            });
        }
    });
    assert_eq!(armctrl.lock().enabled, [u32::MAX, 0, 0]);
    // Virtual time went on meanwhile; nothing depends on it.
    time::run(async {});
}
