//! The black box: the last crash reports, in memory that survives a reset; beside it the journal.
//!
//! RAM keeps its content through a watchdog reset, as long as nobody else writes there: the kernel puts a [`Memory`] into
//! a section that is not initialised, outside of what the firmware loads the next image to, and cleans the data cache
//! over it after [`BlackBox::write`]. A CRC over everything tells a black box from what power-on leaves in RAM.
//!
//! The layout is versioned, because another image may be booted over the box: one that does not know it starts afresh.

use crc::{CRC_32_ISO_HDLC, Crc};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::backtrace::MAX_DEPTH;
use crate::journal;
use crate::report::{Kind, MESSAGE_LEN, Registers, Report};
use crate::text::Text;

/// "MPRCRASH", first byte first.
const MAGIC: u64 = u64::from_le_bytes(*b"MPRCRASH");
/// Changes with the layout.
const VERSION: u32 = 3;
/// Reports that are kept.
pub const REPORTS: usize = 4;
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// What the black box is made of. Every value of its bytes is a value of the type, so it may be in memory that nobody
/// initialised.
#[repr(C)]
#[derive(Clone, FromBytes, Immutable)]
pub struct Memory {
    /// The last log lines; first, so that its slots are aligned to what the caches know.
    pub journal: journal::Memory,
    /// Counts and crash reports.
    pub reports: Reports,
}

/// The part of the memory that has counts and crash reports.
#[repr(C)]
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
pub struct Reports {
    header: Header,
    content: Content,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct Header {
    magic: u64,
    version: u32,
    /// Bytes of the content.
    len: u32,
    /// Of the content.
    crc: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
struct Content {
    /// Crashes of each kind, in the order of [`Kind::ALL`].
    crash_counts: [u32; Kind::ALL.len()],
    boot_count: u32,
    /// Where the next report goes.
    next: u32,
    reports: [Slot; REPORTS],
}

#[repr(C)]
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
struct Slot {
    /// 0: a report that was shown; 1: a new one.
    is_new: u32,
    /// 0: there is no report.
    kind: u32,
    core: u32,
    has_registers: u32,
    message_len: u32,
    depth: u32,
    /// The number of the boot that ended in it.
    boot: u32,
    reserved: u32,
    uptime_us: u64,
    x: [u64; 31],
    sp: u64,
    elr: u64,
    esr: u64,
    far: u64,
    spsr: u64,
    backtrace: [u64; MAX_DEPTH],
    message: [u8; MESSAGE_LEN],
}

/// A report and the life that it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The number of the boot, counted from power-on: 1 is the first.
    pub boot: u32,
    /// What happened.
    pub report: Report,
}

/// The black box.
pub struct BlackBox<'a> {
    memory: &'a mut Reports,
}

impl<'a> BlackBox<'a> {
    /// Opens the box. One that is not valid is emptied: after power-on, or when the last crash was cut short.
    #[must_use]
    pub fn open(memory: &'a mut Reports) -> Self {
        let is_valid = memory.header == Header::of(&memory.content);
        let mut this = Self { memory };
        if !is_valid {
            this.clear();
        }
        this
    }

    /// Returns how many crashes there were since power-on.
    #[must_use]
    pub fn crash_count(&self) -> u32 {
        self.memory.content.crash_counts.iter().fold(0, |sum, &count| u32::saturating_add(sum, count))
    }

    /// Returns how many crashes of each kind there were since power-on.
    pub fn crash_counts(&self) -> impl Iterator<Item = (Kind, u32)> {
        Kind::ALL.into_iter().zip(self.memory.content.crash_counts)
    }

    /// Counts a boot, and returns how many there were since power-on, with this one.
    pub fn count_boot(&mut self) -> u32 {
        let count = self.memory.content.boot_count.saturating_add(1);
        self.memory.content.boot_count = count;
        self.seal();
        count
    }

    /// Writes a report, in place of the oldest if there are [`REPORTS`], and counts the crash.
    pub fn write(&mut self, report: &Report) {
        let content = &mut self.memory.content;
        for (kind, count) in Kind::ALL.into_iter().zip(&mut content.crash_counts) {
            *count = count.saturating_add((kind == report.kind).into());
        }
        let next = content.next as usize % REPORTS;
        if let Some(slot) = content.reports.get_mut(next) {
            slot.fill(report, content.boot_count);
        }
        // Four fit.
        content.next = ((next + 1) % REPORTS) as u32;
        self.seal();
    }

    /// Returns the reports that are kept, the oldest first, whether or not they were shown.
    pub fn reports(&self) -> impl Iterator<Item = Kept> {
        let content = &self.memory.content;
        let (new, old) = content.reports.split_at(content.next as usize % REPORTS);
        old.iter().chain(new).filter_map(Slot::report)
    }

    /// Returns the last report, whether or not it was shown.
    #[must_use]
    pub fn read(&self) -> Option<Report> {
        self.reports().last().map(|kept| kept.report)
    }

    /// Returns whether the last report was not shown yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.memory.content.reports.iter().any(|slot| slot.is_new != 0)
    }

    /// Returns the last report if it was not shown yet, and marks all as shown.
    #[must_use]
    pub fn take_new(&mut self) -> Option<Report> {
        let report = self.is_new().then(|| self.read()).flatten();
        self.mark_reported();
        report
    }

    /// Marks all reports as shown.
    pub fn mark_reported(&mut self) {
        self.memory.content.reports.iter_mut().for_each(|slot| slot.is_new = 0);
        self.seal();
    }

    /// Empties the box, counts included.
    pub fn clear(&mut self) {
        self.memory.content.zero();
        self.seal();
    }

    fn seal(&mut self) {
        self.memory.header = Header::of(&self.memory.content);
    }
}

impl Header {
    fn of(content: &Content) -> Self {
        let bytes = content.as_bytes();
        // Some kilobytes.
        let len = bytes.len() as u32;
        Self { magic: MAGIC, version: VERSION, len, crc: CRC.checksum(bytes), reserved: 0 }
    }
}

impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Slot {
    fn fill(&mut self, report: &Report, boot: u32) {
        self.zero();
        self.is_new = 1;
        self.boot = boot;
        self.kind = report.kind as u32;
        self.core = report.core.into();
        self.uptime_us = report.uptime_us;
        self.has_registers = report.registers.is_some().into();
        let Registers { x, sp, elr, esr, far, spsr } = report.registers.unwrap_or_default();
        (self.x, self.sp, self.elr) = (x, sp, elr);
        (self.esr, self.far, self.spsr) = (esr, far, spsr);
        self.message_len = fill(&mut self.message, report.message.as_str().as_bytes());
        self.depth = fill(&mut self.backtrace, &report.backtrace);
    }

    fn report(&self) -> Option<Kept> {
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u32 == self.kind)?;
        let mut report = Report::new(kind, u8::try_from(self.core).ok()?, self.uptime_us);
        report.message = text(&self.message, self.message_len);
        let Self { x, sp, elr, esr, far, spsr, .. } = *self;
        report.registers = (self.has_registers != 0).then_some(Registers { x, sp, elr, esr, far, spsr });
        report.backtrace.extend(first(&self.backtrace, self.depth).iter().copied());
        Some(Kept { boot: self.boot, report })
    }
}

/// Copies as much of `from` as there is room for, and returns how much that was.
fn fill<T: Copy>(to: &mut [T], from: &[T]) -> u32 {
    let mut len = 0;
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
        len += 1;
    }
    len
}

fn first<T>(all: &[T], len: u32) -> &[T] {
    usize::try_from(len).ok().and_then(|len| all.get(..len)).unwrap_or_default()
}

fn text<const N: usize>(bytes: &[u8; N], len: u32) -> Text<N> {
    str::from_utf8(first(bytes, len)).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// What the next boot finds: the same bytes somewhere else.
    fn after_reset(memory: &Reports) -> Reports {
        Reports::read_from_bytes(memory.as_bytes()).unwrap()
    }

    fn power_on(noise: u8) -> Reports {
        Reports::read_from_bytes(&[noise; size_of::<Reports>()]).unwrap()
    }

    fn report() -> Report {
        let mut report = Report::new(Kind::Exception, 3, 987_654_321);
        report.message = "stack overflow".into();
        let x = core::array::from_fn(|index| index as u64 * 0x1111);
        report.registers = Some(Registers { x, sp: 1, elr: 2, esr: 3, far: 4, spsr: 5 });
        report.backtrace.extend([0x8_0000, 0x8_0004, 0x8_0008]);
        report
    }

    #[test]
    fn a_report_survives_a_reset_and_is_new_once() {
        let mut memory = power_on(0xa5);
        BlackBox::open(&mut memory).write(&report());
        let mut memory = after_reset(&memory);
        let mut black_box = BlackBox::open(&mut memory);
        assert_eq!((black_box.crash_count(), black_box.is_new()), (1, true));
        assert_eq!(black_box.take_new(), Some(report()));
        assert_eq!(black_box.take_new(), None);
        let mut memory = after_reset(&memory);
        let mut black_box = BlackBox::open(&mut memory);
        assert_eq!((black_box.take_new(), black_box.read()), (None, Some(report())), "it can still be looked at");
    }

    #[test]
    fn power_on_leaves_an_empty_box() {
        for noise in [0, 0xff, 0x5a] {
            let mut memory = power_on(noise);
            let mut black_box = BlackBox::open(&mut memory);
            assert_eq!((black_box.crash_count(), black_box.read(), black_box.take_new()), (0, None, None));
        }
    }

    #[test]
    fn crashes_and_boots_are_counted_over_resets() {
        let mut memory = power_on(0);
        for count in 1..=3 {
            let mut black_box = BlackBox::open(&mut memory);
            assert_eq!(black_box.count_boot(), count);
            black_box.write(&Report::new(Kind::Panic, 0, 0));
            assert_eq!(black_box.crash_count(), count);
            memory = after_reset(&memory);
        }
        BlackBox::open(&mut memory).clear();
        assert_eq!(BlackBox::open(&mut memory).crash_count(), 0);
    }

    #[test]
    fn the_last_reports_are_kept_with_the_life_that_they_ended() {
        let mut memory = power_on(0x77);
        for boot in 1..=6 {
            let mut black_box = BlackBox::open(&mut memory);
            assert_eq!(black_box.count_boot(), boot);
            assert!(black_box.take_new().is_none_or(|report| report.uptime_us + 1 == boot.into()));
            black_box.write(&Report::new(Kind::Panic, 0, boot.into()));
            memory = after_reset(&memory);
        }
        let black_box = BlackBox::open(&mut memory);
        let kept: Vec<_> = black_box.reports().map(|kept| (kept.boot, kept.report.uptime_us)).collect();
        assert_eq!(kept, [(3, 3), (4, 4), (5, 5), (6, 6)]);
        assert_eq!(black_box.read().map(|report| report.uptime_us), Some(6));
    }

    #[test]
    fn all_of_it_fits_into_its_memory() {
        // linker/kernel.ld: __black_box to __black_box_end.
        assert!(size_of::<Memory>() <= 0x4000, "{} bytes", size_of::<Memory>());
    }

    #[test]
    fn crashes_are_counted_by_kind() {
        let mut memory = power_on(0);
        let mut black_box = BlackBox::open(&mut memory);
        for kind in [Kind::Panic, Kind::Stalled, Kind::Panic] {
            black_box.write(&Report::new(kind, 0, 0));
        }
        let counts: Vec<_> = black_box.crash_counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [(Kind::Panic, 2), (Kind::Stalled, 1)]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut memory = power_on(0);
        BlackBox::open(&mut memory).write(&report());
        for at in 0..size_of::<Reports>() {
            let mut damaged = after_reset(&memory);
            damaged.as_mut_bytes()[at] ^= 1 << (at % 8);
            assert_eq!(BlackBox::open(&mut damaged).read(), None, "byte {at}");
        }
    }

    #[test]
    fn another_version_is_not_read() {
        let mut memory = power_on(0);
        BlackBox::open(&mut memory).write(&report());
        memory.header.version += 1;
        assert_eq!(BlackBox::open(&mut memory).read(), None);
    }

    #[test]
    fn lengths_that_cannot_be_are_not_followed() {
        let mut memory = power_on(0);
        let mut black_box = BlackBox::open(&mut memory);
        black_box.write(&report());
        black_box.memory.content.reports[0].message_len = u32::MAX;
        black_box.memory.content.reports[0].depth = MAX_DEPTH as u32 + 1;
        black_box.memory.content.next = u32::MAX;
        black_box.seal();
        let read = BlackBox::open(&mut memory).read().unwrap();
        assert_eq!((read.message.as_str(), read.backtrace.len()), ("", 0));
    }

    #[test]
    fn every_kind_is_stored() {
        for kind in Kind::ALL {
            let mut memory = power_on(0);
            BlackBox::open(&mut memory).write(&Report::new(kind, 0, 0));
            assert_eq!(BlackBox::open(&mut memory).read().map(|report| report.kind), Some(kind));
        }
    }
}
