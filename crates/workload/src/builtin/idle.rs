//! Does nothing, once a second, and notes how late it was woken.
//!
//! That shows that a core is alive, and how soon it reacts when it has nothing else to do.

use alloc::boxed::Box;

use embassy_time::Duration;

use crate::parameter::Values;
use crate::{BoxFuture, Context, Failure, Parameter, Workload};

const INTERVAL: Duration = Duration::from_secs(1);

pub(super) static WORKLOAD: Idle = Idle;

pub(super) struct Idle;

impl Workload for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn summary(&self) -> &'static str {
        "sleeps, wakes once a second and notes how late"
    }

    fn operation(&self) -> &'static str {
        "one awakening; its duration is how late it came; no errors"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        &[]
    }

    fn run<'a>(&'a self, _: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut at = context.now();
            loop {
                at += INTERVAL;
                context.sleep_until(at).await;
                context.add_operation(context.now().checked_duration_since(at).unwrap_or(Duration::MIN));
            }
        })
    }
}
