//! Waiting for hardware with a deadline.

use embassy_time::{Duration, Instant};
use thiserror::Error;

/// The hardware did not do in time what it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no answer within {} us", .0.as_micros())]
pub struct Timeout(pub Duration);

/// Polls `done` until it is true.
///
/// # Errors
///
/// When it is not within `timeout`. It is asked once more after the deadline, so that a wait that was interrupted for
/// long does not fail for that reason.
pub(crate) fn until(timeout: Duration, mut done: impl FnMut() -> bool) -> Result<(), Timeout> {
    let deadline = Instant::now() + timeout;
    loop {
        let late = Instant::now() >= deadline;
        if done() {
            return Ok(());
        }
        if late {
            return Err(Timeout(timeout));
        }
        core::hint::spin_loop();
    }
}
