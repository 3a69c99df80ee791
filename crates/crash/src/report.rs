//! What is known about a crash, and how it reads.

use core::fmt;

use crate::backtrace::{Backtrace, Lines};
use crate::esr::Esr;
use crate::text::Text;

/// Longest message, in bytes.
pub const MESSAGE_LEN: usize = 256;

/// A crash.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What happened.
    pub kind: Kind,
    /// The core that it happened on.
    pub core: u8,
    /// When: microseconds since the node was started.
    pub uptime_us: u64,
    /// The panic's message and place, who did not make progress, or a hint.
    pub message: Text<MESSAGE_LEN>,
    /// The core's registers, of exceptions.
    pub registers: Option<Registers>,
    /// Where it happened, and its callers.
    pub backtrace: Backtrace,
}

/// Kinds of crashes. The numbers are stored in the black box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The code found a bug of its own.
    Panic = 1,
    /// A synchronous exception.
    Exception = 2,
    /// A system error: usually a device or memory that did not answer.
    SError = 3,
    /// An interrupt that nobody enabled.
    UnexpectedIrq = 4,
    /// A fast interrupt, which nobody enables.
    UnexpectedFiq = 5,
    /// Something stopped making progress, and the watchdog would have reset the node.
    Stalled = 6,
}

/// Registers as they were when an exception was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Stack pointer.
    pub sp: u64,
    /// ELR_EL1: where.
    pub elr: u64,
    /// ESR_EL1: why.
    pub esr: u64,
    /// FAR_EL1: about which address.
    pub far: u64,
    /// SPSR_EL1: in which state.
    pub spsr: u64,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Panic, Self::Exception, Self::SError, Self::UnexpectedIrq, Self::UnexpectedFiq, Self::Stalled];

    /// Returns its name: for people, and as the label of a metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Exception => "exception",
            Self::SError => "SError",
            Self::UnexpectedIrq => "unexpected IRQ",
            Self::UnexpectedFiq => "unexpected FIQ",
            Self::Stalled => "stalled",
        }
    }
}

impl Report {
    /// Returns a report that has nothing but what happened.
    #[must_use]
    pub const fn new(kind: Kind, core: u8, uptime_us: u64) -> Self {
        Self { kind, core, uptime_us, message: Text::new(), registers: None, backtrace: Backtrace::new() }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Several lines, each with its end. Addresses of code have `0x` and sixteen digits, which the host tool puts names to; no
/// other number has.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.uptime_us / 1_000_000, self.uptime_us % 1_000_000);
        write!(f, "{} on core {} after {seconds}.{micros:06} s", self.kind, self.core)?;
        if !self.message.as_str().is_empty() {
            write!(f, ": {}", self.message)?;
        }
        writeln!(f)?;
        if let Some(registers) = &self.registers {
            write!(f, "{registers}")?;
        }
        if self.backtrace.is_empty() { Ok(()) } else { write!(f, "backtrace:\n{}", Lines(&self.backtrace)) }
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PER_LINE: usize = 4;
        let esr = Esr(self.esr);
        write!(f, "{esr}")?;
        if esr.has_address() {
            write!(f, " at {:#x}", self.far)?;
        }
        writeln!(f, ", pc {:#018x}", self.elr)?;
        writeln!(f, "esr {:#010x} far {:#x} spsr {:#010x} sp {:#x}", self.esr, self.far, self.spsr, self.sp)?;
        for (first, line) in (0..).step_by(PER_LINE).zip(self.x.chunks(PER_LINE)) {
            for (index, value) in (first..).zip(line) {
                let separator = if index == first { "" } else { "  " };
                write!(f, "{separator}{:>3} {value:016x}", Name(index))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Name of a general purpose register.
struct Name(usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Text::<4>::format(format_args!("x{}", self.0)).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_reads_as_a_sentence_and_a_backtrace() {
        let mut report = Report::new(Kind::Panic, 0, 12_345_678);
        report.message = "index out of range, kernel/src/main.rs:12:3".into();
        report.backtrace.extend([0x8_1234, 0x8_0010]);
        assert_eq!(
            report.to_string(),
            "panic on core 0 after 12.345678 s: index out of range, kernel/src/main.rs:12:3\n\
             backtrace:\n  #0 0x0000000000081234\n  #1 0x0000000000080010\n"
        );
    }

    #[test]
    fn an_exception_shows_cause_and_registers() {
        let x = core::array::from_fn(|index| index as u64);
        let registers =
            Registers { x, sp: 0x9_0000, elr: 0x8_1234, esr: 0x9600_0047, far: 0xdead_beef, spsr: 0x6000_0345 };
        let mut report = Report::new(Kind::Exception, 2, 5);
        report.registers = Some(registers);
        let text = report.to_string();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("exception on core 2 after 0.000005 s"));
        assert_eq!(
            lines.next(),
            Some("data abort, write, translation fault level 3 at 0xdeadbeef, pc 0x0000000000081234")
        );
        assert_eq!(lines.next(), Some("esr 0x96000047 far 0xdeadbeef spsr 0x60000345 sp 0x90000"));
        let first = " x0 0000000000000000   x1 0000000000000001   x2 0000000000000002   x3 0000000000000003";
        assert_eq!(lines.next(), Some(first));
        assert_eq!(lines.last(), Some("x28 000000000000001c  x29 000000000000001d  x30 000000000000001e"));
        assert_eq!(text.matches("0x0000").count(), 1, "only code addresses are for the host tool");
    }
}
