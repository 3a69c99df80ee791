//! Waiting for a condition until a deadline; nothing in this package sleeps for a fixed time and hopes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks at a condition that cannot wake us.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `look` again and again until it gives a value.
///
/// # Errors
/// After `deadline`, saying that `what` did not happen. An error of `look` ends the wait at once.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            bail!("waited {deadline:?} in vain for: {what}");
        }
        std::thread::sleep(PAUSE);
    }
}
