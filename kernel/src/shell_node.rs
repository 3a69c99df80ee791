//! The node as the shell's commands see it.

use core::cell::Cell;
use core::fmt;

use embassy_time::{Duration, Instant};
use fault::{AddError, Spec, View};
use log::info;
use net::Stack;
use shell::{Crash, Node as ShellNode};
use telemetry::Snapshot;
use telemetry::log_ring::LogLines;
use workload::Manager;

use crate::configuration;
use crate::cpu::provoke;
use crate::locate;
use crate::logger::LogReader;
use crate::node::{MANAGER, Node};

/// What a command has asked for that happens once its output is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Restart the node.
    Reboot,
    /// Have a core crash.
    Crash(&'static str, u8),
}

impl Order {
    /// Carries it out. Returns only if the node lives on.
    pub(crate) fn carry_out(self) {
        match self {
            Self::Reboot => crate::supervisor::restart(),
            Self::Crash(name, core) => provoke::request(core.into(), name),
        }
    }
}

/// See the module.
pub(crate) struct CommandNode {
    pub(crate) node: &'static Node,
    pub(crate) stack: &'static Stack,
    pub(crate) has_led: bool,
    /// Whether the user of this session may change the node.
    pub(crate) may_change: bool,
    pub(crate) order: Cell<Option<Order>>,
}

impl ShellNode for CommandNode {
    fn look(&self, look: &mut dyn FnMut(&Snapshot<'_>)) {
        self.node.with_snapshot(look);
    }

    fn may_change(&self) -> bool {
        self.may_change
    }

    fn log(&self) -> &dyn LogLines {
        &LogReader
    }

    fn note(&self, text: &str) {
        info!("note: {text}");
    }

    fn workloads(&self) -> &Manager {
        &MANAGER
    }

    fn add_fault(&self, spec: Spec) -> Result<u32, AddError> {
        self.stack.add_fault(spec)
    }

    fn clear_faults(&self, id: Option<u32>) -> usize {
        self.stack.clear_faults(id)
    }

    fn each_fault(&self, show: &mut dyn FnMut(View)) {
        self.stack.each_fault(show);
    }

    fn files(&self) -> &[u8] {
        configuration::archive()
    }

    fn now_us(&self) -> u64 {
        Instant::now().as_micros()
    }

    fn write_net_details(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let status = self.stack.status();
        writeln!(out, "sockets     {} open, {} TCP connections", status.sockets, status.tcp_connections)?;
        for (event, count) in self.stack.counters().iter().filter(|&(_, count)| count > 0) {
            writeln!(out, "            {event} {count}")?;
        }
        Ok(())
    }

    fn locate(&self, seconds: u64) -> bool {
        if self.has_led {
            locate::order(Duration::from_secs(seconds));
        }
        self.has_led
    }

    fn reboot(&self) {
        self.order.set(Some(Order::Reboot));
    }

    fn crashes(&self) -> &[Crash] {
        provoke::CRASHES
    }

    fn crash(&self, name: &str, core: u8) {
        let known = provoke::CRASHES.iter().find(|crash| crash.name == name);
        self.order.set(known.map(|crash| Order::Crash(crash.name, core)));
    }
}
