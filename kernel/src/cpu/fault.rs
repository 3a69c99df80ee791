//! The end of a life: a panic, an exception, a stall. Report it on the console, keep it in the black box, restart.
//!
//! From here nothing is trusted: no lock, no executor, no heap. Other cores are parked first. A fault while reporting
//! skips the report and restarts.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use aarch64_cpu::asm::wfi;
use aarch64_cpu::registers::{DAIF, Writeable};
use boards::soc::Soc;
use boot::{FaultFrame, FaultKind};
use drivers::watchdog::Watchdog;

use super::{CORES, current_core, interrupt, lock};
use crate::board;

/// 0, or one more than the number of the core that reports.
static REPORTER: AtomicU32 = AtomicU32::new(0);
/// The SoC, for finding UART and reset registers: 0 unknown, 1 BCM2837, 2 BCM2711.
static SOC: AtomicU8 = AtomicU8::new(0);

/// Tells this module which SoC it runs on. Before that a fault can't be reported.
pub(crate) fn init(soc: Soc) {
    let number = match soc {
        Soc::Bcm2837 => 1,
        Soc::Bcm2711 => 2,
    };
    SOC.store(number, Ordering::Relaxed);
}

fn soc() -> Soc {
    if SOC.load(Ordering::Relaxed) == 2 { Soc::Bcm2711 } else { Soc::Bcm2837 }
}

/// Returns whether another core reports a crash.
pub(crate) fn is_reporting_elsewhere() -> bool {
    let reporter = REPORTER.load(Ordering::Acquire);
    reporter != 0 && reporter != current_core() as u32 + 1
}

/// Stops this core for good.
pub(crate) fn park() -> ! {
    DAIF.set(0b1111 << 6);
    loop {
        wfi();
    }
}

/// Says on every UART that this board is not known, and stops.
pub(crate) fn unknown_board(midr: u64) -> ! {
    // SAFETY: other cores are still in the firmware's spin table, and this one never returns.
    for mut console in unsafe { board::emergency_consoles(soc().facts()) } {
        // A UART that is stuck is no use.
        let _ =
            writeln!(console, "MiniPiRack: unknown processor (MIDR_EL1 {midr:#010x}). It runs on BCM2837 and BCM2711.");
        console.flush();
    }
    park()
}

/// Reports that a part of the node makes no progress. `interrupted` is the frame record of what core 0 was doing.
pub(crate) fn stalled(name: &str, interrupted: &[u64; 2]) -> ! {
    begin();
    finish(|out| writeln!(out, "stalled: {name} {:#018x}", interrupted[1]))
}

/// Reports an interrupt that nobody enabled.
pub(crate) fn unexpected_interrupt(source: u32, interrupted: &[u64; 2]) -> ! {
    begin();
    finish(|out| writeln!(out, "unexpected interrupt: {source:#x} {:#018x}", interrupted[1]))
}

#[unsafe(no_mangle)]
extern "C" fn kernel_fault(vector: u64, frame: &FaultFrame) -> ! {
    begin();
    finish(|out| writeln!(out, "{:?} {frame:#x?}", FaultKind::from_vector(vector)))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin();
    finish(|out| writeln!(out, "{info}"))
}

/// Makes this core the only one that runs. Returns once, on the first core that gets here.
fn begin() {
    DAIF.set(0b1111 << 6);
    let me = current_core() as u32 + 1;
    if let Err(other) = REPORTER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        if other == me {
            restart();
        }
        park();
    }
    for core in 0..CORES {
        if core + 1 != me as usize {
            interrupt::send_ipi(core);
        }
    }
    lock::break_open();
}

fn finish(report: impl Fn(&mut dyn Write) -> core::fmt::Result) -> ! {
    // SAFETY: other cores are parked or about to be, and this one never returns.
    let [mut console, _] = unsafe { board::emergency_consoles(soc().facts()) };
    let _ = report(&mut console);
    console.flush();
    restart()
}

fn restart() -> ! {
    // SAFETY: as in `finish`.
    Watchdog::new(unsafe { board::emergency_pm(soc().facts()) }).restart();
    park()
}
