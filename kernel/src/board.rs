//! Claims every register block once and hands it to its driver.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::registers::{MIDR_EL1, Readable};
use arm_pl011_uart::PL011Registers;
use boards::soc::{Facts, InterruptController, RandomNumbers, Soc};
use drivers::interrupts::{Bcm2836, Controller, Gic400};
use drivers::uart::{Console, Emergency, MiniUart, Pl011};
use rpi_pac::{armctrl, aux_mini_uart, dwc2, genet, gpio, local_intc, mailbox, pm, rng, rng200};
use safe_mmio::UniqueMmioPointer;

/// The register blocks of the running board.
pub(crate) struct Blocks {
    /// The PL011.
    pub(crate) uart0: UniqueMmioPointer<'static, PL011Registers>,
    /// The mini UART.
    pub(crate) mini_uart: UniqueMmioPointer<'static, aux_mini_uart::Registers>,
    /// GPIO.
    pub(crate) gpio: UniqueMmioPointer<'static, gpio::Registers>,
    /// Mailbox of the firmware.
    pub(crate) mailbox: UniqueMmioPointer<'static, mailbox::Registers>,
    /// Watchdog and reset.
    pub(crate) pm: UniqueMmioPointer<'static, pm::Registers>,
    /// Random numbers.
    pub(crate) rng: RngRegisters,
    /// DWC2 USB controller.
    pub(crate) usb: UniqueMmioPointer<'static, dwc2::Registers>,
    /// GENET Ethernet controller, where the SoC has one. Not every board with that SoC does, nor does an emulated one.
    pub(crate) genet: Option<UniqueMmioPointer<'static, genet::Registers>>,
    /// Interrupt controller.
    pub(crate) interrupts: Controller<'static>,
}

/// The registers of whichever random number generator there is.
pub(crate) enum RngRegisters {
    /// BCM2837's.
    Bcm2835(UniqueMmioPointer<'static, rng::Registers>),
    /// BCM2711's, which an emulated board lacks.
    Rng200(UniqueMmioPointer<'static, rng200::Registers>),
}

/// Finds out which SoC this is and claims its register blocks.
///
/// # Errors
///
/// When the processor is not a known one: its MIDR_EL1.
///
/// # Panics
///
/// When called a second time: the blocks have owners.
pub(crate) fn claim() -> Result<(Soc, Blocks), u64> {
    static IS_CLAIMED: AtomicBool = AtomicBool::new(false);
    let midr = MIDR_EL1.get();
    let soc = Soc::from_midr(midr).ok_or(midr)?;
    assert!(!IS_CLAIMED.swap(true, Ordering::Relaxed), "the register blocks are claimed already");
    let facts = soc.facts();
    // SAFETY (all below): the address is where this SoC has the block, boot maps it as device memory for ever, and each
    // block is claimed here only, and once (checked above); `emergency_consoles` argues for itself.
    let interrupts = match facts.interrupt_controller {
        InterruptController::Bcm2836 { local, armctrl } => Controller::Bcm2836(Bcm2836::new(
            // SAFETY: see above.
            unsafe { block::<local_intc::Registers>(local) },
            // SAFETY: see above.
            unsafe { block::<armctrl::Registers>(armctrl) },
        )),
        InterruptController::Gic400 { distributor, cpu_interface } => Controller::Gic400(Gic400::new(
            // SAFETY: see above.
            unsafe { block(distributor) },
            // SAFETY: see above.
            unsafe { block(cpu_interface) },
        )),
    };
    let blocks = Blocks {
        // SAFETY: see above.
        uart0: unsafe { block(facts.uart0) },
        // SAFETY: see above.
        mini_uart: unsafe { block(facts.aux) },
        // SAFETY: see above.
        gpio: unsafe { block(facts.gpio) },
        // SAFETY: see above.
        mailbox: unsafe { block(facts.mailbox) },
        // SAFETY: see above.
        pm: unsafe { block(facts.pm) },
        // SAFETY: see above.
        usb: unsafe { block(facts.usb) },
        rng: match facts.rng {
            // SAFETY: see above.
            RandomNumbers::Bcm2835(addr) => RngRegisters::Bcm2835(unsafe { block(addr) }),
            // SAFETY: see above; on an emulated board whoever accesses it gets an abort, which is no undefined behaviour.
            RandomNumbers::Rng200(addr) => RngRegisters::Rng200(unsafe { block(addr) }),
        },
        genet: facts.genet.map(|addr| {
            // SAFETY: see above; where there is none, an access gives an abort, which is no undefined behaviour.
            unsafe { block(addr) }
        }),
        interrupts,
    };
    Ok((soc, blocks))
}

/// Returns the UARTs for a last report, whoever else uses them.
///
/// # Safety
///
/// No other core runs any more and this one never returns to what it was doing: then nobody else is using the UARTs.
/// `facts` are those of the SoC that this runs on.
pub(crate) unsafe fn emergency_consoles(facts: &Facts) -> [Emergency<'static>; 2] {
    // SAFETY: as in `claim`; the other users are gone (caller's promise).
    let pl011 = Pl011::new(unsafe { block::<PL011Registers>(facts.uart0) });
    // SAFETY: as above.
    let mini = MiniUart::new(unsafe { block::<aux_mini_uart::Registers>(facts.aux) });
    [Emergency::new(Console::Pl011(pl011)), Emergency::new(Console::Mini(mini))]
}

/// Returns the reset registers for the restart after a last report.
///
/// # Safety
///
/// As for [`emergency_consoles`].
pub(crate) unsafe fn emergency_pm(facts: &Facts) -> UniqueMmioPointer<'static, pm::Registers> {
    // SAFETY: as in `claim`; the other users are gone (caller's promise).
    unsafe { block(facts.pm) }
}

/// The USB controller runs: before, it may have no power, and an access might never end.
pub(crate) static USB_RUNS: AtomicBool = AtomicBool::new(false);

/// Returns whether the USB controller has something under way that must end before a restart. It only reads.
pub(crate) fn must_usb_end(facts: &Facts) -> bool {
    // SAFETY: as in `claim`; the driver may be using the same registers, but what is read here has no side effect.
    USB_RUNS.load(Ordering::Relaxed) && usb::dwc2::has_held_transfers(&unsafe { block::<dwc2::Registers>(facts.usb) })
}

/// # Safety
///
/// A block of type `T` is at `addr`, mapped as device memory for ever, and nobody else uses it.
unsafe fn block<T>(addr: u64) -> UniqueMmioPointer<'static, T> {
    let addr = usize::try_from(addr).unwrap_or_default();
    let pointer = NonNull::new(core::ptr::with_exposed_provenance_mut(addr)).unwrap_or(NonNull::dangling());
    // SAFETY: the caller's promise. No SoC has a block at 0, so the pointer is `addr`.
    unsafe { UniqueMmioPointer::new(pointer) }
}
