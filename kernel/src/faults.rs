//! Faults on purpose: tells of each beginning and end, and does to the node what is not done to frames (see `fault`).

use alloc::vec::Vec;

use config::Config;
use embassy_time::{Duration, Instant, Timer};
use fault::control::Port;
use fault::{Event, Moment, NodeFault};
use log::{info, warn};
use net::Stack;
use telemetry::WorkloadState;
use workload::Which;

use crate::cpu::provoke;
use crate::node::{MANAGER, Node};
use crate::supervisor;

/// The time that a log line has to leave the node before it is reset.
const FAREWELL: Duration = Duration::from_millis(200);

/// Has no fault cut the node off from where it sends its log and samples, wherever that is, nor from who reads its frames.
pub(crate) fn exempt_control(stack: &Stack, config: &Config) {
    let syslog = config.syslog.map(|syslog| Port::Peer(syslog.server.port()));
    let mqtt = config.mqtt.broker.as_ref().map(|broker| Port::Peer(broker.port));
    let defmt = config.defmt.map(Port::Own);
    [syslog, mqtt, defmt].into_iter().flatten().for_each(|port| stack.exempt_from_faults(port));
}

/// Watches faults begin and end. Never returns.
pub(crate) async fn run(node: &Node, stack: &Stack) -> ! {
    let mut taken = Vec::new();
    loop {
        let event = stack.next_fault_event().await;
        node.update_faults(stack);
        let (id, text) = (event.view.id, &event.view.text);
        match event.moment {
            Moment::Began => warn!("fault {id} begins, for {} ms: {text}", event.view.left_us(0) / 1_000),
            Moment::Healed => {
                info!("fault {id} is over: {text} ({} of {} frames)", event.view.hits, event.view.matched)
            }
            Moment::Cleared => info!("fault {id} was ended: {text}"),
        }
        match &event {
            Event { fault: Some(fault), moment: Moment::Began, view } => {
                begin(fault, id, Instant::from_micros(view.ends_us), stack, &mut taken).await;
            }
            Event { fault: Some(fault), .. } => end(fault, id, stack, &mut taken),
            _ => {}
        }
    }
}

async fn begin(fault: &NodeFault, id: u32, until: Instant, stack: &Stack, taken: &mut Vec<(u32, Vec<u8>)>) {
    match fault {
        // The stack sees to it.
        NodeFault::NicOff => {}
        NodeFault::Pause(workload) => {
            if !MANAGER.pause(workload, true) {
                warn!("fault {id} does nothing: no workload is called '{workload}'");
            }
        }
        NodeFault::Kill(workload) => {
            if let Err(error) = MANAGER.stop(Which::Id(workload)) {
                warn!("fault {id} does nothing: {error}");
            }
        }
        NodeFault::Stall(core) => provoke::stall((*core).into(), Some(until)),
        NodeFault::Memory(bytes) => {
            let mut memory = Vec::new();
            let len = usize::try_from(*bytes).unwrap_or(usize::MAX);
            match memory.try_reserve_exact(len) {
                Ok(()) => taken.push((id, memory)),
                Err(_) => warn!("fault {id} does nothing: there are no {bytes} bytes of heap in one piece"),
            }
        }
        NodeFault::Clock(skew_us) => stack.shift_clock(*skew_us),
        NodeFault::Crash(core) => provoke::request((*core).into(), "panic"),
        NodeFault::Reset => {
            Timer::after(FAREWELL).await;
            supervisor::restart();
        }
    }
}

fn end(fault: &NodeFault, id: u32, stack: &Stack, taken: &mut Vec<(u32, Vec<u8>)>) {
    match fault {
        NodeFault::NicOff | NodeFault::Crash(_) | NodeFault::Reset => {}
        NodeFault::Pause(workload) => _ = MANAGER.pause(workload, false),
        NodeFault::Kill(workload) => {
            // Unless somebody has started it meanwhile.
            let is_dead = MANAGER.statuses().iter().any(|view| {
                view.status.id.as_str() == workload.as_str() && view.status.state == WorkloadState::Stopped
            });
            if is_dead && let Err(error) = MANAGER.restart(Which::Id(workload)) {
                warn!("fault {id}: {error}");
            }
        }
        NodeFault::Stall(core) => provoke::stall((*core).into(), None),
        NodeFault::Memory(_) => taken.retain(|(owner, _)| *owner != id),
        NodeFault::Clock(skew_us) => stack.shift_clock(-skew_us),
    }
}
