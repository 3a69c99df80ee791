//! Tests of both UARTs against models of their registers.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use core::fmt::Write;
use std::collections::VecDeque;

use embassy_time::Instant;
use testkit::mmio::{Block, Model, claim};
use testkit::time;

use super::*;

/// The FIFOs that both models have, and a log of the other registers' writes.
#[derive(Default)]
struct Line {
    rx: VecDeque<u32>,
    tx: Vec<u8>,
    tx_waiting: usize,
    /// How many bytes the FIFO takes.
    tx_capacity: usize,
    /// Whether the line moves: each look at the status lets one byte out.
    is_running: bool,
    writes: Vec<(usize, u32)>,
    interrupts: u32,
}

impl Line {
    fn look(&mut self) {
        if self.is_running {
            self.tx_waiting = self.tx_waiting.saturating_sub(1);
        }
    }

    fn send(&mut self, value: u32) {
        assert!(self.tx_waiting < self.tx_capacity, "a byte was written into a full FIFO");
        self.tx_waiting += 1;
        self.tx.push(value as u8);
    }
}

/// PL011, of which the offsets are those of the TRM, table 3-1.
struct FakePl011(Line);

impl Block for FakePl011 {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.0.rx.pop_front().expect("a byte was read from an empty FIFO"),
            0x18 => {
                self.0.look();
                let (rx_empty, tx_full) = (self.0.rx.is_empty(), self.0.tx_waiting == self.0.tx_capacity);
                let is_busy = self.0.tx_waiting > 0;
                u32::from(rx_empty) << 4 | u32::from(tx_full) << 5 | u32::from(is_busy) << 3
            }
            0x40 => self.0.interrupts,
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => self.0.send(value),
            0x38 => self.0.interrupts = value,
            _ => {}
        }
        if offset != 0 {
            self.0.writes.push((offset, value));
        }
    }
}

/// Mini UART, of which the offsets are those of ARM Peripherals, section 2.1.
struct FakeMini {
    line: Line,
    is_on: bool,
    overrun: bool,
}

impl Block for FakeMini {
    fn read(&mut self, offset: usize) -> u32 {
        assert!(self.is_on || offset < 0x40, "the registers do not answer before the block is on");
        let rx_ready = u32::from(!self.line.rx.is_empty());
        match offset {
            0x04 => self.is_on.into(),
            0x40 => self.line.rx.pop_front().expect("a byte was read from an empty FIFO"),
            0x44 => self.line.interrupts,
            0x54 => rx_ready | u32::from(core::mem::take(&mut self.overrun)) << 1,
            0x64 => {
                self.line.look();
                let has_space = self.line.tx_waiting < self.line.tx_capacity;
                rx_ready | u32::from(has_space) << 1 | u32::from(self.line.tx_waiting == 0) << 9
            }
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        assert!(self.is_on || offset < 0x40, "the registers do not answer before the block is on");
        match offset {
            0x04 => self.is_on = value & 1 != 0,
            0x40 => self.line.send(value),
            0x44 => self.line.interrupts = value,
            _ => {}
        }
        if offset != 0x40 {
            self.line.writes.push((offset, value));
        }
    }
}

fn line(tx_capacity: usize) -> Line {
    Line { tx_capacity, is_running: true, ..Line::default() }
}

fn pl011() -> (Pl011<'static>, Model<FakePl011>) {
    let (registers, model) = claim(FakePl011(line(16)));
    (Pl011::init(registers, 48_000_000).unwrap(), model)
}

fn mini() -> (MiniUart<'static>, Model<FakeMini>) {
    let (registers, model) = claim(FakeMini { line: line(8), is_on: false, overrun: false });
    (MiniUart::init(registers, 250_000_000).unwrap(), model)
}

#[test]
fn pl011_is_set_up_as_the_manual_says() {
    time::run(async {
        let (_, model) = pl011();
        // 48 MHz / (16 × 115,200) = 26.0417 = 26 + 3/64 (TRM, section 3.3.6). LCR_H must come after the divisors, and
        // the UART must be off meanwhile (sections 3.3.7 and 3.3.8).
        let expected = [
            (0x38, 0),
            (0x04, 0),
            (0x30, 0),
            (0x24, 26),
            (0x28, 3),
            (0x2c, 0x70),
            (0x30, 0x301),
            (0x34, 0),
            (0x44, 0x7ff),
        ];
        assert_eq!(model.lock().0.writes, expected);
    });
}

#[test]
fn mini_uart_is_set_up_as_the_manual_says() {
    time::run(async {
        let (_, model) = mini();
        // 250 MHz / (8 × 115,200) − 1 = 270.3 (ARM Peripherals, section 2.2.1).
        let expected = [(0x04, 1), (0x44, 0), (0x60, 0), (0x4c, 3), (0x50, 0), (0x48, 6), (0x68, 270), (0x60, 3)];
        assert_eq!(model.lock().line.writes, expected);
    });
}

#[test]
fn a_clock_that_gives_no_baud_rate_is_refused() {
    time::run(async {
        for clock_hz in [0, 1_000_000, u32::MAX] {
            let (registers, _) = claim(FakePl011(line(16)));
            assert_eq!(Pl011::init(registers, clock_hz).err(), Some(UartError::Clock { clock_hz }));
        }
        for clock_hz in [0, 400_000] {
            let (registers, _) = claim(FakeMini { line: line(8), is_on: false, overrun: false });
            assert_eq!(MiniUart::init(registers, clock_hz).err(), Some(UartError::Clock { clock_hz }));
        }
    });
}

#[test]
fn what_the_last_user_wrote_still_goes_out() {
    time::run(async {
        let (registers, model) = claim(FakePl011(Line { tx_waiting: 16, ..line(16) }));
        let _uart = Pl011::init(registers, 48_000_000).unwrap();
        assert_eq!(model.lock().0.tx_waiting, 0);
    });
}

#[test]
fn write_takes_what_fits() {
    time::run(async {
        let (uart, model) = pl011();
        model.lock().0.is_running = false;
        let mut console = Console::from(uart);
        assert_eq!(console.write(&[b'x'; 20]), 16);
        assert!(!console.has_space());
        assert_eq!(console.write(b"more"), 0);
        model.lock().0.tx_waiting = 3;
        assert_eq!(console.write(b"again"), 5);
        assert_eq!(model.lock().0.tx, [&[b'x'; 16][..], b"again"].concat());

        let (uart, model) = mini();
        model.lock().line.is_running = false;
        assert_eq!(Console::from(uart).write(&[b'x'; 20]), 8);
    });
}

#[test]
fn bytes_with_errors_are_counted_and_left_out() {
    time::run(async {
        let (uart, model) = pl011();
        // Errors: TRM, section 3.3.1: framing 8, parity 9, break 10, overrun 11.
        model.lock().0.rx.extend([b'a'.into(), 1 << 8, 1 << 9, 1 << 10, 1 << 11, b'b'.into()]);
        let mut console = Console::from(uart);
        assert_eq!((console.read_byte(), console.read_byte(), console.read_byte()), (Some(b'a'), Some(b'b'), None));
        assert_eq!(console.errors(), LineErrors { overruns: 1, framing: 1, parity: 1, breaks: 1 });

        let (uart, model) = mini();
        model.lock().line.rx.push_back(b'a'.into());
        model.lock().overrun = true;
        let mut console = Console::from(uart);
        assert_eq!((console.read_byte(), console.read_byte()), (Some(b'a'), None));
        assert_eq!(console.errors(), LineErrors { overruns: 1, ..LineErrors::default() });
    });
}

#[test]
fn interrupts_are_those_asked_for() {
    time::run(async {
        let (uart, model) = pl011();
        let mut console = Console::from(uart);
        console.set_interrupts(Interrupts { rx: true, tx: false });
        assert_eq!(model.lock().0.interrupts, 1 << 4 | 1 << 6, "receive, and its time-out (TRM, section 3.3.10)");
        console.set_interrupts(Interrupts { rx: false, tx: true });
        assert_eq!(model.lock().0.interrupts, 1 << 5);

        let (uart, model) = mini();
        let mut console = Console::from(uart);
        console.set_interrupts(Interrupts { rx: true, tx: false });
        assert_eq!(model.lock().line.interrupts, 0b1101);
        assert_eq!(console.pending(), Interrupts::default());
        model.lock().line.rx.push_back(0);
        assert_eq!(console.pending(), Interrupts { rx: true, tx: false });
        console.set_interrupts(Interrupts { rx: false, tx: true });
        assert_eq!(console.pending(), Interrupts { rx: false, tx: true });
    });
}

#[test]
fn flush_waits_for_the_last_bit_and_not_for_ever() {
    time::run(async {
        let (uart, model) = pl011();
        let mut console = Console::from(uart);
        console.write(b"0123456789");
        assert_eq!((console.flush(), model.lock().0.tx_waiting), (Ok(()), 0));
        model.lock().0.is_running = false;
        console.write(b"x");
        let start = Instant::now();
        assert_eq!(console.flush(), Err(Timeout(DRAIN_TIMEOUT)));
        assert!((DRAIN_TIMEOUT..DRAIN_TIMEOUT * 2).contains(&start.elapsed()));
    });
}

#[test]
fn last_words_go_out_whole_with_interrupts_off() {
    time::run(async {
        let (mut uart, model) = mini();
        uart.set_interrupts(Interrupts { rx: true, tx: true });
        let mut emergency = Emergency::new(uart.into());
        write!(emergency, "one line of {} bytes\nand another\n", 22).unwrap();
        emergency.flush();
        assert_eq!(model.lock().line.tx, b"one line of 22 bytes\r\nand another\r\n");
        let line = &model.lock().line;
        assert_eq!((line.interrupts, line.tx_waiting), (0, 0));
    });
}

#[test]
fn last_words_give_up_on_a_stuck_line_once() {
    time::run(async {
        let (uart, model) = pl011();
        model.lock().0.is_running = false;
        let mut emergency = Emergency::new(uart.into());
        let start = Instant::now();
        for _ in 0..100 {
            let _ = writeln!(emergency, "this is more than the FIFO takes");
        }
        emergency.flush();
        assert!(start.elapsed() < Duration::from_millis(20), "{:?}", start.elapsed());
        assert_eq!(model.lock().0.tx, b"this is more tha");
    });
}
