//! The serial console: log lines and telemetry go out, bytes come in.

use alloc::collections::VecDeque;
use core::fmt::{self, Write};

use drivers::interrupts::Irq;
use drivers::uart::{Console, Interrupts};
use embassy_futures::select::select3;
use embassy_time::{Duration, Instant, Timer};
use telemetry::log_ring::{Cursor, LogLines};
use telemetry::sinks;

use crate::cpu::interrupt;
use crate::logger::{self, LogReader};
use crate::node::Node;

/// Bytes that wait for the UART beyond which no more log lines are taken: the ring keeps them.
const ENOUGH: usize = 4096;

/// Takes the console over. Never returns.
pub(crate) async fn run(node: &Node, mut uart: Console<'static>, irq: Irq, report_s: u16) -> ! {
    let mut out = Output(VecDeque::new());
    let mut cursor = Cursor::default();
    let Some(mut news) = logger::WRITTEN.receiver() else { return core::future::pending().await };
    let period = Duration::from_secs(report_s.into());
    let mut next_report = Instant::now() + period;
    loop {
        while uart.read_byte().is_some() {}
        if report_s != 0 && Instant::now() >= next_report {
            next_report += period;
            let _ = node.with_snapshot(|snapshot| sinks::console::render(snapshot, &mut out));
        }
        print_log(&mut cursor, &mut out);
        out.drain_to(&mut uart);
        uart.set_interrupts(Interrupts { rx: true, tx: !out.0.is_empty() });
        let report = async { if report_s == 0 { core::future::pending().await } else { Timer::at(next_report).await } };
        select3(interrupt::wait(irq), news.changed(), report).await;
    }
}

fn print_log(cursor: &mut Cursor, out: &mut Output) {
    while out.0.len() < ENOUGH {
        let Some((missed, line)) = LogReader.next_line(cursor) else { return };
        // Writing to memory does not fail.
        if missed > 0 {
            let _ = writeln!(out, "({missed} log lines were overwritten before they could be printed)");
        }
        let _ = writeln!(out, "{line}");
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
