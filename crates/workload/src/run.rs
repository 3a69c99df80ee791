//! What a workload core does all day.

use embassy_futures::select::{Either3, select3};
use embassy_time::Timer;

use crate::context::Context;
use crate::env::Env;
use crate::manager::{Command, Manager};

/// Runs on `core` what `manager` tells it to, one workload at a time, for ever.
///
/// `buffer` is memory for workloads; larger than the caches, or the memory workload measures those. The future belongs to
/// an executor on that core, since what it does, it does there.
///
/// # Panics
///
/// When `core` runs no workloads: the caller gave a wrong number.
pub async fn run_core(core: u8, manager: &Manager, env: &dyn Env, buffer: &mut [u64]) -> ! {
    let Some(slot) = manager.slot(core) else {
        unreachable!("core {core} runs no workloads");
    };
    let mut command = slot.command.wait().await;
    loop {
        command = match command {
            Command::Stop => {
                slot.free();
                slot.command.wait().await
            }
            Command::Start(spec) => {
                slot.begin(&spec);
                let context = Context {
                    core,
                    figures: &slot.figures,
                    durations: &slot.durations,
                    env,
                    record: &manager.record,
                    buffer: &mut *buffer,
                };
                let work = spec.workload.run(&spec.values, context);
                let deadline = async {
                    match spec.duration {
                        Some(duration) => Timer::after(duration).await,
                        None => core::future::pending().await,
                    }
                };
                // An order goes first, so that a workload that is always ready can be stopped.
                match select3(slot.command.wait(), deadline, work).await {
                    Either3::First(command) => command,
                    Either3::Second(()) => {
                        slot.end(Ok(()));
                        slot.command.wait().await
                    }
                    Either3::Third(result) => {
                        slot.end(result);
                        slot.command.wait().await
                    }
                }
            }
        };
    }
}
