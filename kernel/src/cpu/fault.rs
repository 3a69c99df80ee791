//! The end of a life: a panic, an exception, a stall. Report it on the console, keep it in the black box, restart.
//!
//! From here nothing is trusted: no lock, no executor, no heap. Other cores are parked first. A fault while reporting
//! skips the report and restarts.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use aarch64_cpu::asm::wfi;
use aarch64_cpu::registers::{DAIF, MIDR_EL1, Readable, Writeable};
use boards::soc::Soc;
use boot::{FaultFrame, FaultKind};
use crash::backtrace::{self, Backtrace, Bounds};
use crash::esr::Esr;
use crash::{Kind, Registers, Report, Text};
use drivers::watchdog::Watchdog;
use embassy_time::Instant;

use super::{CORES, current_core, interrupt, lock, time};
use crate::{board, logger, mem};

/// Log lines that are printed before a report: what led to it may not have been printed yet.
const LOG_LINES: usize = 20;
/// Other cores get one part of so many of a second to stop: they only have to take an interrupt.
const STOPS_PER_SECOND: u64 = 500;
/// Before a restart, what devices have under way gets one part of so many of a second to end, and nobody starts anything
/// new. On a board the reset ends it anyway.
const SETTLES_PER_SECOND: u64 = 20;
/// QEMU can't be reset with USB transfers under way: they get so many seconds more.
const SETTLE_LIMIT_S: u64 = 2;
const ALL_MASKED: u64 = 0b1111 << 6;

/// 0, or one more than the number of the core that reports.
static REPORTER: AtomicU32 = AtomicU32::new(0);
/// How often the reporting core faulted while it was reporting.
static NESTED: AtomicU32 = AtomicU32::new(0);
/// Returns whether another core reports a crash.
pub(crate) fn is_reporting_elsewhere() -> bool {
    let reporter = REPORTER.load(Ordering::Acquire);
    reporter != 0 && reporter != current_core() as u32 + 1
}

/// Returns whether this core reports a crash.
pub(crate) fn is_reporting_here() -> bool {
    REPORTER.load(Ordering::Acquire) == current_core() as u32 + 1
}

/// Stops this core for good.
pub(crate) fn park() -> ! {
    DAIF.set(ALL_MASKED);
    loop {
        wfi();
    }
}

/// Says on every UART what keeps the image from running on this board, and stops.
pub(crate) fn refuse_board(why: core::fmt::Arguments<'_>) -> ! {
    // SAFETY: other cores are still in the firmware's spin table, and this one never returns.
    for mut console in unsafe { board::emergency_consoles(soc().facts()) } {
        // Fails on a UART that is stuck: then there is nobody to tell.
        let _ = writeln!(console, "MiniPiRack {} does not run on this board: {why}", env!("CARGO_PKG_VERSION"));
        console.flush();
    }
    park()
}

/// Reports that a part of the node makes no progress. `interrupted` is the frame record of what core 0 was doing.
pub(crate) fn stalled(name: &str, interrupted: &[u64; 2]) -> ! {
    begin();
    let [fp, pc] = *interrupted;
    finish(Kind::Stalled, format_args!("{name} made no progress"), None, trace(Some(pc), fp))
}

/// Reports an interrupt that nobody enabled.
pub(crate) fn unexpected_interrupt(source: u32, interrupted: &[u64; 2]) -> ! {
    begin();
    let [fp, pc] = *interrupted;
    finish(Kind::UnexpectedIrq, format_args!("source {source:#x}"), None, trace(Some(pc), fp))
}

/// Where vectors.s sends everything but interrupts.
#[unsafe(no_mangle)]
extern "C" fn kernel_fault(vector: u64, frame: &FaultFrame) -> ! {
    begin();
    let kind = match FaultKind::from_vector(vector) {
        FaultKind::Synchronous => Kind::Exception,
        FaultKind::Irq => Kind::UnexpectedIrq,
        FaultKind::Fiq => Kind::UnexpectedFiq,
        FaultKind::SystemError => Kind::SError,
    };
    let FaultFrame { x, sp, elr, spsr, esr, far } = *frame;
    // For other causes the register holds what an earlier one left there.
    let address = if Esr(esr).has_address() { usize::try_from(far).ok() } else { None };
    let message = match address.and_then(boot::guard_page) {
        Some((core, stack)) => Text::<64>::format(format_args!("the {stack} stack of core {core} overflowed")),
        None => Text::new(),
    };
    let backtrace = trace(Some(elr), x[29]);
    finish(kind, format_args!("{}", message.as_str()), Some(Registers { x, sp, elr, esr, far, spsr }), backtrace)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin();
    let place = info.location();
    let place = place.map_or(Text::<96>::new(), |at| Text::format(format_args!(", {}:{}", at.file(), at.line())));
    finish(Kind::Panic, format_args!("{}{}", info.message(), place.as_str()), None, trace(None, mem::frame_pointer()))
}

/// Makes this core the only one that runs.
fn begin() {
    DAIF.set(ALL_MASKED);
    let me = current_core() as u32 + 1;
    if let Err(other) = REPORTER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        // The first time the report is what failed; the second time the restart itself.
        if other == me && NESTED.fetch_add(1, Ordering::Relaxed) == 0 {
            restart();
        }
        park();
    }
    time::ensure_started();
    for core in (0..CORES).filter(|&core| core != current_core()) {
        interrupt::send_ipi(core);
    }
    spin(time::frequency_hz() / STOPS_PER_SECOND);
    lock::break_open();
}

/// Lets what devices have under way end, before a restart. Interrupts are masked, so that nothing new begins.
pub(crate) fn settle() {
    spin(time::frequency_hz() / SETTLES_PER_SECOND);
    let (start, facts) = (time::ticks(), soc().facts());
    while board::must_usb_end(facts) && time::ticks().wrapping_sub(start) < SETTLE_LIMIT_S * time::frequency_hz() {
        core::hint::spin_loop();
    }
}

fn spin(ticks: u64) {
    let start = time::ticks();
    while time::ticks().wrapping_sub(start) < ticks {
        core::hint::spin_loop();
    }
}

fn finish(kind: Kind, message: core::fmt::Arguments<'_>, registers: Option<Registers>, backtrace: Backtrace) -> ! {
    let core = u8::try_from(current_core()).unwrap_or(u8::MAX);
    let mut report = Report::new(kind, core, Instant::now().as_micros());
    report.message = Text::format(message);
    report.registers = registers;
    report.backtrace = backtrace;
    // SAFETY: the other cores are parked, and this one never returns.
    let black_box = unsafe { mem::black_box_for_report() };
    crash::BlackBox::open(black_box).write(&report);
    mem::clean_black_box();
    // Which UART is the console depends on the board, and a crash may come before that is known: tell both.
    // SAFETY: as above.
    for mut console in unsafe { board::emergency_consoles(soc().facts()) } {
        // What can't be printed is in the black box.
        let _ = print(&mut console, &report);
        console.flush();
    }
    restart()
}

fn print(out: &mut impl Write, report: &Report) -> core::fmt::Result {
    write!(out, "\n\n*** the last log lines\n")?;
    logger::with_ring(|ring| {
        let mut cursor = ring.last(LOG_LINES);
        while let Some((_, line)) = ring.next(&mut cursor) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    })
    .unwrap_or(Ok(()))?;
    write!(out, "*** crash: {report}*** restarting\n\n")
}

fn trace(pc: Option<u64>, fp: u64) -> Backtrace {
    let range = |range: core::ops::Range<usize>| range.start as u64..range.end as u64;
    let bounds = Bounds { stack: range(boot::stacks()), text: range(boot::text()) };
    backtrace::walk(pc, fp, &bounds, mem::read_stack)
}

fn restart() -> ! {
    settle();
    // SAFETY: as in `finish`.
    Watchdog::new(unsafe { board::emergency_pm(soc().facts()) }).restart();
    park()
}

/// Returns the SoC, for finding UART and reset registers, at any time. An unknown one gets the addresses of the BCM2711: that
/// is what boot.s maps for it.
pub(super) fn soc() -> Soc {
    Soc::from_midr(MIDR_EL1.get()).unwrap_or(Soc::Bcm2711)
}
