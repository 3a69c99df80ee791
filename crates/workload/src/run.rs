//! What a slot of a core does all day.

use embassy_futures::join::join_array;
use embassy_futures::select::{Either3, select3};
use embassy_time::Timer;
use telemetry::sample::SLOTS_PER_CORE;

use crate::context::Context;
use crate::env::Env;
use crate::manager::{Manager, Order, slot_index};
use crate::scratch::Scratch;

/// Runs in one of the [`SLOTS_PER_CORE`] slots of `core` what `manager` tells it to, one workload at a time, for ever.
///
/// The future belongs to an executor on that core, since what it does, it does there. `scratch` is the core's.
///
/// # Panics
///
/// When `core` runs no workloads or has no such slot: the caller gave a wrong number.
pub async fn run_slot(core: u8, place: usize, manager: &Manager, env: &dyn Env, scratch: &Scratch) -> ! {
    let Some((index, slot)) = slot_index(core, place).and_then(|index| Some((index, manager.slot(index)?))) else {
        unreachable!("core {core} has no slot {place}");
    };
    manager.attach(index);
    let mut order = slot.order.wait().await;
    loop {
        let Order::Start(number) = order else {
            manager.stopped(index);
            order = slot.order.wait().await;
            continue;
        };
        // Another order is on its way if the run is gone.
        let Some((spec, cores)) = manager.take_up(index, number) else {
            order = slot.order.wait().await;
            continue;
        };
        let context = Context { core, cores, slot, manager, index, env, scratch };
        let work = slot.pause.around(spec.workload.run(&spec.values, context));
        let deadline = async {
            match spec.duration() {
                Some(duration) => Timer::after(duration).await,
                None => core::future::pending().await,
            }
        };
        // An order goes first, so that a workload that is always ready can be stopped.
        let result = match select3(slot.order.wait(), deadline, work).await {
            Either3::First(next) => {
                order = next;
                continue;
            }
            Either3::Second(()) => Ok(()),
            Either3::Third(result) => result,
        };
        manager.ended(index, number, result);
        order = slot.order.wait().await;
    }
}

/// Runs all slots of `core`, for ever: for tests. A node gives each slot a task of its own.
///
/// # Panics
///
/// As [`run_slot`].
pub async fn run_core(core: u8, manager: &Manager, env: &dyn Env, scratch: &Scratch) -> ! {
    let slots: [_; SLOTS_PER_CORE] = core::array::from_fn(|place| run_slot(core, place, manager, env, scratch));
    let [never, ..] = join_array(slots).await;
    never
}
