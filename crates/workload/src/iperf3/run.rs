//! A test while it runs: what all streams share.

use core::sync::atomic::{AtomicU64, Ordering};

use embassy_time::{Duration, Instant, Timer};

use crate::Context;
use crate::iperf3::results::Counts;
use crate::iperf3::settings::Settings;

/// What the streams of a test share.
pub(super) struct Run<'a> {
    pub(super) context: Context<'a>,
    pub(super) settings: Settings,
    pub(super) begin: Instant,
    /// From here on it counts.
    counts_from: Instant,
    /// Bytes and blocks that were moved, in both directions.
    bytes: AtomicU64,
    blocks: AtomicU64,
    /// Bytes that were moved since the beginning, whether they count or not.
    moved: AtomicU64,
    pub(super) busy_us: AtomicU64,
}

impl<'a> Run<'a> {
    pub(super) fn new(context: Context<'a>, settings: Settings) -> Self {
        let begin = context.now();
        Self {
            context,
            settings,
            begin,
            counts_from: begin + Duration::from_secs(settings.omit_s),
            bytes: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            busy_us: AtomicU64::new(0),
        }
    }

    /// Counts `len` bytes of a stream. Forgets what was counted before the test counts.
    pub(super) fn count(&self, counts: &mut Counts, has_begun: &mut bool, len: usize) {
        if !*has_begun && self.context.now() >= self.counts_from {
            *has_begun = true;
            *counts = Counts::default();
        }
        counts.bytes += len as u64;
        self.moved.fetch_add(len as u64, Ordering::Relaxed);
        if *has_begun {
            self.bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
        self.context.add_bytes(len as u64);
    }

    /// Counts a block that was moved.
    pub(super) fn count_block(&self) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether what was to be moved is moved.
    pub(super) fn is_enough(&self) -> bool {
        let Settings { bytes, blocks, .. } = self.settings;
        (bytes > 0 && self.bytes.load(Ordering::Relaxed) >= bytes)
            || (blocks > 0 && self.blocks.load(Ordering::Relaxed) >= blocks)
    }

    /// Returns when a stream that has sent `bytes` may send more.
    pub(super) fn due(&self, bytes: u64) -> Instant {
        match self.settings.rate {
            0 => self.begin,
            rate => {
                let us = u128::from(bytes) * 8_000_000 / u128::from(rate);
                self.begin + Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX / 4))
            }
        }
    }

    /// Returns how many bytes were moved since the beginning.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Returns when the time is up, if that is the end.
    pub(super) fn limit(&self) -> Option<Instant> {
        let Settings { time_s, bytes, blocks, .. } = self.settings;
        (time_s > 0 && bytes == 0 && blocks == 0).then(|| self.counts_from + Duration::from_secs(time_s))
    }

    /// Waits for the end that the client has to tell: the time is up, or enough is moved.
    pub(super) async fn wait_end(&self) {
        if let Some(end) = self.limit() {
            return Timer::at(end).await;
        }
        while !self.is_enough() {
            Timer::after_millis(1).await;
        }
    }

    /// Returns for how long the test has counted, in µs.
    pub(super) fn elapsed_us(&self) -> u64 {
        let elapsed = self.context.now().checked_duration_since(self.counts_from);
        elapsed.unwrap_or(Duration::MIN).as_micros()
    }

    pub(super) fn busy_us(&self) -> u64 {
        self.busy_us.load(Ordering::Relaxed)
    }
}
