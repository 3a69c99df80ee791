//! Makes defmt frames: what defmt's macros log while [`capture`] runs, and nothing else, becomes bytes in a buffer.
//!
//! defmt's usual way is a ring that everybody logs into. Here the log has a ring already, which the console reads too, so
//! frames are made where they are read: each client gets its own, and a slow one costs nobody anything.

use core::cell::RefCell;

use critical_section::Mutex;
use defmt::Encoder;
use heapless::Vec;

/// Bytes of the longest frame: a sample has about half of that.
pub(crate) const FRAME_LEN_MAX: usize = 2048;

/// A frame as it goes over the wire.
pub(crate) type Frame = Vec<u8, FRAME_LEN_MAX>;

static CAPTURE: Mutex<RefCell<Capture>> = Mutex::new(RefCell::new(Capture {
    encoder: Encoder::new(),
    bytes: Vec::new(),
    at_us: 0,
    is_on: false,
    is_cut: false,
}));

struct Capture {
    encoder: Encoder,
    bytes: Frame,
    /// The time that frames carry, in µs since boot.
    at_us: u64,
    is_on: bool,
    is_cut: bool,
}

impl Capture {
    /// Has the encoder do a step that writes to the buffer.
    fn step(&mut self, step: impl FnOnce(&mut Encoder, &mut dyn FnMut(&[u8]))) {
        let Self { encoder, bytes, is_cut, is_on, .. } = self;
        if *is_on {
            step(encoder, &mut |part| *is_cut |= bytes.extend_from_slice(part).is_err());
        }
    }
}

/// Replaces what is in `frame` by what `log` logs, as if it happened `at_us` µs after boot. Returns whether it fits; the
/// frame is empty if not.
///
/// `log` runs with interrupts off and must be short. What is logged anywhere else is dropped.
pub(crate) fn capture(frame: &mut Frame, at_us: u64, log: impl FnOnce()) -> bool {
    frame.clear();
    critical_section::with(|cs| {
        let capture = CAPTURE.borrow(cs);
        // Both fail only in a capture within a capture, which nothing asks for.
        if let Ok(mut capture) = capture.try_borrow_mut() {
            capture.bytes.clear();
            (capture.at_us, capture.is_on, capture.is_cut) = (at_us, true, false);
        }
        log();
        let Ok(mut capture) = capture.try_borrow_mut() else { return false };
        capture.is_on = false;
        // Fits: both have the same capacity.
        !capture.is_cut && frame.extend_from_slice(&capture.bytes).is_ok()
    })
}

fn step(step: impl FnOnce(&mut Encoder, &mut dyn FnMut(&[u8]))) {
    critical_section::with(|cs| {
        if let Ok(mut capture) = CAPTURE.borrow(cs).try_borrow_mut() {
            capture.step(step);
        }
    });
}

defmt::timestamp!("{=u64:us}", critical_section::with(|cs| CAPTURE.borrow(cs).try_borrow().map_or(0, |c| c.at_us)));

#[defmt::global_logger]
struct Logger;

// SAFETY: frames do not mix: `is_on` is set only within `capture`, whose critical section lasts until the frame is
// complete, so that the calls below come from this core's `log` alone while it is set. At any other time they do nothing.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        step(|encoder, write| encoder.start_frame(write));
    }

    unsafe fn flush() {}

    unsafe fn release() {
        step(|encoder, write| encoder.end_frame(write));
    }

    unsafe fn write(bytes: &[u8]) {
        step(|encoder, write| encoder.write(bytes, write));
    }
}
