//! The node: one image for every board. This file is the story of a boot; the work is done elsewhere.
#![no_std]
#![no_main]

extern crate alloc;

mod board;
mod console;
mod cpu;
mod facts;
mod logger;
mod mem;
mod supervisor;

use aarch64_cpu::registers::{MIDR_EL1, Readable};
use boards::soc::Soc;
use drivers::interrupts::Irq;
use drivers::mailbox::{self, Device, Mailbox, SetPower};
use drivers::watchdog::Watchdog;
use embassy_executor::Spawner;
use log::{LevelFilter, info, warn};

use crate::cpu::{executor, fault, interrupt, time};
use crate::facts::BoardFacts;

/// The first Rust line on core 0. `device_tree` is what the firmware left in x0, `entry_ticks` the counter at `_start`.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(device_tree: usize, entry_ticks: u64) -> ! {
    time::init();
    mem::stacks::paint(0);
    logger::init(LevelFilter::Info);
    let Some(soc) = Soc::from_midr(MIDR_EL1.get()) else { fault::unknown_board(MIDR_EL1.get()) };
    fault::init(soc);
    let facts = soc.facts();
    // SAFETY: this runs once, on core 0, before anything allocates, and `facts` are this SoC's.
    let (mut pool, blocks) = unsafe { (mem::init(facts.dma_offset), board::claim(facts)) };
    let Some(buffer) = pool.take(mailbox::BUFFER_LEN) else { panic!("no memory") };
    let mut mailbox = Mailbox::new(blocks.mailbox, buffer);
    let board = BoardFacts::find(soc, &mut mailbox, device_tree);
    info!("MiniPiRack {} on {} ({})", env!("CARGO_PKG_VERSION"), board.model, soc);
    if let Some(controller) = blocks.interrupts {
        interrupt::init(controller);
    }
    // SAFETY: once, on core 0; the slots are this SoC's; page 0 is unmapped only after all have left it.
    unsafe { boot::start_secondaries(facts.spin_table.map(|slot| slot as usize)) };
    interrupt::init_core();
    let Some(irq) = u8::try_from(facts.irqs.uart0).ok().and_then(Irq::new) else { fault::park() };
    let uart = drivers::uart::Pl011::init(blocks.uart0, 48_000_000).unwrap().into();
    executor::run(|spawner| {
        spawner.spawn(console_task(uart, irq).unwrap());
    })
}
#[embassy_executor::task]
async fn console_task(uart: drivers::uart::Console<'static>, irq: Irq) {
    console::run(uart, irq).await
}

/// The first Rust line on cores 1-3.
#[unsafe(no_mangle)]
extern "C" fn kernel_secondary(core: usize) -> ! {
    mem::stacks::paint(core);
    interrupt::init_core();
    executor::run(|_| ())
}
