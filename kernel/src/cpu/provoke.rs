//! Faults on purpose, on any core: how tests and users see what a crash report looks like, and that the node recovers.

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::Instant;
use shell::Crash;

use super::{CORES, current_core, fault};

/// Above all memory and devices of any board.
const UNMAPPED: usize = 0x70_0000_0000;

/// A fault that can be provoked.
pub(crate) struct Provocation {
    /// Its name and what happens.
    pub(crate) crash: Crash,
    commit: fn(),
}

macro_rules! provocations {
    ($($name:literal: $help:literal => $commit:expr,)*) => {
        /// Every provocation, as the shell knows it.
        pub(crate) static CRASHES: &[Crash] = &[$(Crash { name: $name, help: $help }),*];
        static PROVOCATIONS: &[Provocation] = &[$(Provocation { crash: Crash { name: $name, help: $help }, commit: $commit }),*];
    };
}

#[rustfmt::skip]
provocations! {
    "panic": "a Rust panic" => give_up,
    "data-abort": "write to an unmapped address" => || write(UNMAPPED),
    "null-pointer": "read through a null pointer" => || read(0),
    "instruction-abort": "jump to an unmapped address" => || jump(UNMAPPED),
    "undefined": "an undefined instruction" => undefined,
    "breakpoint": "a breakpoint instruction without a debugger" => breakpoint,
    "svc": "a call of a supervisor that is not there" => supervisor_call,
    "unaligned": "an acquiring load from an odd address" => load_unaligned,
    "pc-alignment": "jump to an odd address" => || jump(give_up as *const () as usize + 1),
    "stack-overflow": "recursion into the guard page" => overflow,
    "write-text": "write to code" => || write(give_up as *const () as usize),
    "write-rodata": "write to a constant" => || write((&raw const CONSTANT).addr()),
    "execute-data": "jump to data" => || jump(DATA.as_ptr().addr()),
    "external-abort": "read where no device answers" => || read(fault::soc().facts().nothing as usize),
    "hang": "a loop without end; on core 0 the supervisor notices" => hang,
}

static CONSTANT: u64 = 1;
/// Writable, and so not executable: `ret`, were it code.
static DATA: AtomicU32 = AtomicU32::new(0xd65f_03c0);

/// What a core is asked for.
#[derive(Clone, Copy)]
enum Request {
    /// A fault.
    Commit(fn()),
    /// To do nothing else while its time in [`STALLED_UNTIL`] has not come.
    Stall,
}

/// Until when a core stands still, in µs.
static STALLED_UNTIL: [AtomicU64; CORES] = [const { AtomicU64::new(0) }; CORES];

static REQUESTS: [Signal<CriticalSectionRawMutex, Request>; CORES] = [const { Signal::new() }; CORES];

/// Asks `core` to commit the fault of that name.
pub(crate) fn request(core: usize, name: &str) {
    let provocation = PROVOCATIONS.iter().find(|provocation| provocation.crash.name == name);
    if let (Some(request), Some(provocation)) = (REQUESTS.get(core), provocation) {
        request.signal(Request::Commit(provocation.commit));
    }
}

/// Has `core` stand still until then, with nothing but interrupts; or go on, if it does.
pub(crate) fn stall(core: usize, until: Option<Instant>) {
    if let (Some(request), Some(stalled_until)) = (REQUESTS.get(core), STALLED_UNTIL.get(core)) {
        // Relaxed, here and in `stand_still`: a number that is looked at again and again.
        stalled_until.store(until.map_or(0, |until| until.as_micros()), Ordering::Relaxed);
        if until.is_some() {
            request.signal(Request::Stall);
        }
    }
}

/// Waits for a request to this core, and obeys. Runs on every core.
pub(crate) async fn listen() -> ! {
    let Some(request) = REQUESTS.get(current_core()) else { core::future::pending().await };
    loop {
        match request.wait().await {
            Request::Commit(commit) => commit(),
            Request::Stall => stand_still(),
        }
    }
}

fn stand_still() {
    let Some(until) = STALLED_UNTIL.get(current_core()) else { return };
    while Instant::now().as_micros() < until.load(Ordering::Relaxed) {
        core::hint::spin_loop();
    }
}

#[expect(clippy::panic, reason = "on purpose")]
fn give_up() {
    panic!("asked for");
}

fn undefined() {
    // SAFETY: none needed, here and below: meant to fault, and the node restarts.
    unsafe { asm!("udf #0xdead") };
}

fn breakpoint() {
    // SAFETY: see above.
    unsafe { asm!("brk #1") };
}

fn supervisor_call() {
    // SAFETY: see above.
    unsafe { asm!("svc #0") };
}

fn load_unaligned() {
    let address = (&raw const CONSTANT).addr() + 1;
    // SAFETY: see above.
    unsafe { asm!("ldar {0:w}, [{0}]", inout(reg) address => _) };
}

fn overflow() {
    black_box(recurse(black_box(0)));
}

fn hang() {
    loop {
        core::hint::spin_loop();
    }
}

fn write(address: usize) {
    // SAFETY: see above. In assembly, because Rust may take what can't be for something that does not happen.
    unsafe { asm!("str xzr, [{0}]", in(reg) address & !7) };
}

fn read(address: usize) {
    // SAFETY: see `write`.
    unsafe { asm!("ldr {0}, [{0}]", inout(reg) address => _) };
}

fn jump(address: usize) {
    // SAFETY: see `write`.
    unsafe { asm!("blr {0}", in(reg) address, clobber_abi("C")) };
}

/// Uses a kilobyte of stack per call, and has no end.
#[expect(unconditional_recursion, reason = "on purpose")]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 128]);
    recurse(depth + 1) + black_box(frame[0])
}
