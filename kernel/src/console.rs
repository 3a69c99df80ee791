//! The serial console: log lines and telemetry go out, and a shell runs on what comes in.

use alloc::collections::VecDeque;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use drivers::interrupts::Irq;
use drivers::uart::{Console, Interrupts};
use embassy_futures::select::select3;
use embassy_futures::yield_now;
use embassy_time::{Duration, Instant, Timer};
use shell::{Flow, Shell, Terminal};
use telemetry::log_ring::{Cursor, LogLines};
use telemetry::sinks;

use crate::cpu::interrupt;
use crate::logger::{self, LogReader};
use crate::shell_node::CommandNode;

/// Bytes that wait for the UART beyond which nothing is added: log lines wait in their ring, and what is typed in the UART.
const ENOUGH: usize = 4096;
/// Bytes that are taken from the UART before the other tasks get a turn.
const INPUT: usize = 64;

/// Takes the console over. Never returns. `report_s` is the time between telemetry lines, or 0 for none.
pub(crate) async fn run(node: CommandNode, uart: Console<'static>, irq: Irq, report_s: u16) -> ! {
    let Some(mut news) = logger::WRITTEN.receiver() else { core::future::pending().await };
    let period = (report_s != 0).then(|| Duration::from_secs(report_s.into()));
    let next_report = period.map(|period| Instant::now() + period);
    let mut this = Session {
        node,
        uart,
        shell: Shell::new(Terminal::Console),
        out: Output(VecDeque::new()),
        log: Cursor::default(),
        period,
        next_report,
        has_input: false,
    };
    // Writing to memory does not fail, here and below.
    let _ = this.print_log();
    let _ = this.shell.start(&this.node, &mut this.out);
    loop {
        let _ = this.work();
        this.out.drain_to(&mut this.uart);
        if this.out.0.is_empty()
            && let Some(order) = this.node.order.take()
        {
            // A UART that does not drain must not keep the node from it.
            let _ = this.uart.flush();
            order.carry_out();
        }
        if this.has_input && this.out.0.len() < ENOUGH {
            // There may be more. Others first: input without end must not keep the node from its work.
            yield_now().await;
            continue;
        }
        let is_full = this.out.0.len() >= ENOUGH;
        this.uart.set_interrupts(Interrupts { rx: !is_full, tx: !this.out.0.is_empty() });
        let shell_due = this.shell.due_us().map(Instant::from_micros);
        let due = shell_due.into_iter().chain(this.next_report).min();
        let timer = async {
            match due {
                Some(due) => Timer::at(due).await,
                None => core::future::pending().await,
            }
        };
        select3(interrupt::wait(irq), news.changed(), timer).await;
    }
}

struct Session {
    node: CommandNode,
    uart: Console<'static>,
    shell: Shell,
    out: Output,
    log: Cursor,
    period: Option<Duration>,
    next_report: Option<Instant>,
    /// Whether the UART had a byte when it was last asked.
    has_input: bool,
}

impl Session {
    fn work(&mut self) -> fmt::Result {
        for _ in 0..INPUT {
            // A line of input can make forty times as much output: take no more than what can be got rid of.
            if self.node.order.get().is_some() || self.out.0.len() >= ENOUGH {
                break;
            }
            let Some(byte) = self.uart.read_byte() else {
                self.has_input = false;
                break;
            };
            self.has_input = true;
            if self.shell.feed(byte, &self.node, &mut self.out)? == Flow::End {
                // The serial line has no end: the next session begins.
                self.shell.start(&self.node, &mut self.out)?;
            }
        }
        self.shell.tick(&self.node, &mut self.out)?;
        self.print_report()?;
        self.print_log()
    }

    fn print_report(&mut self) -> fmt::Result {
        let (Some(period), Some(next)) = (self.period, self.next_report) else { return Ok(()) };
        if Instant::now() < next {
            return Ok(());
        }
        // After a long output the next line is due from now on, not many at once.
        self.next_report = Some((next + period).max(Instant::now()));
        let node = self.node.node;
        self.shell
            .print_around(&mut self.out, |out| node.with_snapshot(|snapshot| sinks::console::render(snapshot, out)))
    }

    fn print_log(&mut self) -> fmt::Result {
        while self.out.0.len() < ENOUGH {
            let Some((missed, line)) = LogReader.next_line(&mut self.log) else { return Ok(()) };
            logger::LOST.fetch_add(missed, Ordering::Relaxed);
            self.shell.print_around(&mut self.out, |out| {
                if missed > 0 {
                    writeln!(out, "({missed} log lines were overwritten before they could be printed)")?;
                }
                writeln!(out, "{line}")
            })?;
        }
        Ok(())
    }
}

/// What waits for the UART; line ends become CR LF, as terminals want them.
struct Output(VecDeque<u8>);

impl Output {
    fn drain_to(&mut self, uart: &mut Console<'_>) {
        loop {
            let (first, _) = self.0.as_slices();
            let taken = uart.write(first);
            if taken == 0 {
                return;
            }
            self.0.drain(..taken);
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
