//! Faults on purpose, on any core: how tests and users see what a crash report looks like, and that the node recovers.

use core::arch::asm;
use core::hint::black_box;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;

use super::{CORES, current_core};

/// Above all memory that is mapped, and below the devices.
const UNMAPPED: usize = 0x2000_0000;

/// A fault that can be provoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provocation {
    Panic,
    DataAbort,
    NullPointer,
    InstructionAbort,
    Undefined,
    Breakpoint,
    Unaligned,
    PcAlignment,
    StackOverflow,
    WriteText,
    WriteRodata,
    ExecuteData,
    ExternalAbort,
    Stall,
}

/// Every provocation with the name that the shell has for it and what it does.
pub(crate) static PROVOCATIONS: &[(&str, Provocation, &str)] = &[
    ("panic", Provocation::Panic, "a Rust panic"),
    ("data-abort", Provocation::DataAbort, "write to an unmapped address"),
    ("null-pointer", Provocation::NullPointer, "read through a null pointer"),
    ("instruction-abort", Provocation::InstructionAbort, "jump to an unmapped address"),
    ("undefined", Provocation::Undefined, "an undefined instruction"),
    ("breakpoint", Provocation::Breakpoint, "a breakpoint instruction without a debugger"),
    ("unaligned", Provocation::Unaligned, "an acquiring load from an odd address"),
    ("pc-alignment", Provocation::PcAlignment, "jump to an odd address"),
    ("stack-overflow", Provocation::StackOverflow, "recursion into the guard page"),
    ("write-text", Provocation::WriteText, "write to code"),
    ("write-rodata", Provocation::WriteRodata, "write to a constant"),
    ("execute-data", Provocation::ExecuteData, "jump to data"),
    ("external-abort", Provocation::ExternalAbort, "read where no device answers"),
    ("stall", Provocation::Stall, "block the core for ever; for core 0 the supervisor notices"),
];

static REQUESTS: [Signal<CriticalSectionRawMutex, Provocation>; CORES] = [const { Signal::new() }; CORES];

/// Asks `core` to commit the fault. Returns false when there is no such core.
pub(crate) fn request(core: usize, provocation: Provocation) -> bool {
    REQUESTS.get(core).map(|request| request.signal(provocation)).is_some()
}

/// Waits for a request to this core, and obeys. Runs on every core.
pub(crate) async fn listen() -> ! {
    let Some(request) = REQUESTS.get(current_core()) else { return core::future::pending().await };
    loop {
        provoke(request.wait().await);
    }
}

#[expect(clippy::panic, reason = "on purpose")]
fn provoke(provocation: Provocation) {
    static CONSTANT: u64 = 1;
    static mut DATA: [u32; 4] = [0xd65f_03c0; 4];
    match provocation {
        Provocation::Panic => panic!("asked for"),
        Provocation::DataAbort => write(UNMAPPED),
        Provocation::NullPointer => read(0),
        Provocation::InstructionAbort => jump(UNMAPPED),
        // SAFETY (this and the next three): meant to fault; the node restarts.
        Provocation::Undefined => unsafe { asm!("udf #0xdead") },
        // SAFETY: see above.
        Provocation::Breakpoint => unsafe { asm!("brk #1") },
        // SAFETY: see above.
        Provocation::Unaligned => unsafe { asm!("ldar {0:w}, [{0}]", inout(reg) (&raw const DATA).addr() + 1 => _) },
        Provocation::PcAlignment => jump((provoke as *const () as usize) + 1),
        Provocation::StackOverflow => {
            black_box(recurse(black_box(0)));
        }
        Provocation::WriteText => write(provoke as *const () as usize),
        Provocation::WriteRodata => write((&raw const CONSTANT).addr()),
        Provocation::ExecuteData => jump((&raw const DATA).addr()),
        // BCM2837: behind the local block (QA7, chapter 4: 0x4000_0000 to 0x4003_ffff).
        Provocation::ExternalAbort => read(0x4100_0000),
        Provocation::Stall => loop {
            core::hint::spin_loop();
        },
    }
}

fn write(address: usize) {
    let word: *mut u64 = core::ptr::without_provenance_mut(address & !7);
    // SAFETY: none: meant to fault; the node restarts.
    unsafe { word.write_volatile(0) };
}

fn read(address: usize) {
    // SAFETY: none: meant to fault; the node restarts. In assembly, because Rust may take a null pointer's reading for
    // something that can't happen.
    unsafe { asm!("ldr {0}, [{0}]", inout(reg) address => _) };
}

fn jump(address: usize) {
    // SAFETY: none: meant to fault; the node restarts.
    unsafe { asm!("blr {0}", in(reg) address, clobber_abi("C")) };
}

/// Uses a kilobyte of stack per call, and has no end.
#[expect(unconditional_recursion, reason = "on purpose")]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 128]);
    recurse(depth + 1) + black_box(frame[0])
}
