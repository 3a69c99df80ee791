//! The serial console: log lines go out, bytes come in.

use alloc::collections::VecDeque;
use core::fmt::{self, Write};

use drivers::interrupts::Irq;
use drivers::uart::{Console, Interrupts};
use embassy_futures::select::select;
use telemetry::log_ring::Cursor;

use crate::cpu::interrupt;
use crate::logger;

/// Bytes that wait for the UART beyond which no more log lines are taken: the ring keeps them.
const ENOUGH: usize = 4096;

/// Takes the console over. Never returns.
pub(crate) async fn run(mut uart: Console<'static>, irq: Irq) -> ! {
    let mut out = Output(VecDeque::new());
    let mut cursor = logger::with_ring(|ring| ring.oldest()).unwrap_or_default();
    let mut written = logger::WRITTEN.receiver();
    loop {
        while uart.read_byte().is_some() {}
        print_log(&mut cursor, &mut out);
        out.drain_to(&mut uart);
        uart.set_interrupts(Interrupts { rx: true, tx: !out.0.is_empty() });
        let Some(written) = &mut written else { break };
        select(interrupt::wait(irq), written.changed()).await;
    }
    core::future::pending().await
}

fn print_log(cursor: &mut Cursor, out: &mut Output) {
    while out.0.len() < ENOUGH {
        let more = logger::with_ring(|ring| {
            let (missed, line) = ring.next(cursor)?;
            if missed > 0 {
                let _ = writeln!(out, "({missed} log lines were overwritten before they could be printed)");
            }
            writeln!(out, "{line}").ok()
        });
        if more.flatten().is_none() {
            return;
        }
    }
}

struct Output(VecDeque<u8>);

impl Output {
    fn drain_to(&mut self, uart: &mut Console<'_>) {
        loop {
            let (first, _) = self.0.as_slices();
            let taken = uart.write(first);
            self.0.drain(..taken);
            if taken == 0 {
                return;
            }
        }
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.0.push_back(b'\r');
            }
            self.0.push_back(byte);
        }
        Ok(())
    }
}
