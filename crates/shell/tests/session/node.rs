//! A node that notes what it is told.

use std::cell::{Cell, RefCell};
use std::fmt::Write;

use fault::{AddError, Plane, Spec, View};
use shell::{Crash, Node};
use telemetry::log_ring::LogLines;
use telemetry::{Counted, HealthLog, History, Level, LogRing, NetInfo, NodeInfo, Past, Sample, Snapshot};
use workload::Manager;

pub(crate) const CRASHES: [Crash; 2] =
    [Crash { name: "panic", help: "a panic" }, Crash { name: "stack-overflow", help: "a recursion without end" }];

pub(crate) struct FakeNode {
    pub(crate) info: NodeInfo,
    pub(crate) health: HealthLog,
    pub(crate) net: NetInfo,
    pub(crate) history: Box<History>,
    pub(crate) log: Box<LogRing>,
    pub(crate) manager: Manager,
    pub(crate) files: Vec<u8>,
    pub(crate) now_us: Cell<u64>,
    pub(crate) may_change: Cell<bool>,
    pub(crate) has_led: Cell<bool>,
    pub(crate) notes: RefCell<Vec<String>>,
    pub(crate) locates: RefCell<Vec<u64>>,
    pub(crate) reboots: Cell<u32>,
    pub(crate) crashes: RefCell<Vec<(String, u8)>>,
    pub(crate) faults: RefCell<Plane>,
}

impl FakeNode {
    pub(crate) fn new() -> Self {
        let mut history = Box::new(History::new());
        let mut sample = Sample { at_us: 1_000_000, temperature_mc: Some(48_234), ..Sample::EMPTY };
        history.push(sample);
        sample.at_us = 2_000_000;
        sample.nic.rx_bytes = 1_500_000;
        sample.nic.rx_frames = 1_000;
        let mut log = Box::new(LogRing::new());
        (0..30).for_each(|i| log.push(i * 1_000, Level::Info, 0, format_args!("line {i}")));
        let mut health = HealthLog::new();
        health.judge(&mut sample, Some(0x5_0004), false);
        history.push(sample);
        let info = NodeInfo {
            name: "pi-123456".try_into().unwrap(),
            board: "Raspberry Pi 3 Model B".try_into().unwrap(),
            ..NodeInfo::default()
        };
        Self {
            info,
            health,
            net: NetInfo::EMPTY,
            history,
            log,
            manager: Manager::new(),
            files: Vec::new(),
            now_us: Cell::new(0),
            may_change: Cell::new(true),
            has_led: Cell::new(true),
            notes: RefCell::default(),
            locates: RefCell::default(),
            reboots: Cell::new(0),
            crashes: RefCell::default(),
            faults: RefCell::default(),
        }
    }
}

impl Node for FakeNode {
    fn look(&self, look: &mut dyn FnMut(&Snapshot<'_>)) {
        look(&Snapshot {
            node: &self.info,
            net: &self.net,
            sample: self.history.newest().unwrap(),
            history: &self.history,
            workloads: &self.manager.statuses(),
            certificate: self.manager.certificate().as_ref(),
            health: &self.health,
            past: &Past::NONE,
            crashes: &[Counted { what: "panic", count: 2 }],
            faults: &telemetry::Faults::default(),
            malformed: &[Counted { what: "ipv4", count: 3 }],
            events: &[],
            log: &*self.log,
        });
    }

    fn may_change(&self) -> bool {
        self.may_change.get()
    }

    fn log(&self) -> &dyn LogLines {
        &*self.log
    }

    fn note(&self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }

    fn workloads(&self) -> &Manager {
        &self.manager
    }

    fn add_fault(&self, spec: Spec) -> Result<u32, AddError> {
        self.faults.borrow_mut().add(spec, self.now_us())
    }

    fn clear_faults(&self, id: Option<u32>) -> usize {
        let count = self.faults.borrow_mut().clear(id, self.now_us());
        while self.faults.borrow_mut().next_event(self.now_us()).is_some() {}
        count
    }

    fn each_fault(&self, show: &mut dyn FnMut(View)) {
        self.faults.borrow().views(self.now_us()).for_each(show);
    }

    fn files(&self) -> &[u8] {
        &self.files
    }

    fn now_us(&self) -> u64 {
        self.now_us.get()
    }

    fn write_net_details(&self, out: &mut dyn Write) -> std::fmt::Result {
        writeln!(out, "sockets   7")
    }

    fn locate(&self, seconds: u64) -> bool {
        self.locates.borrow_mut().push(seconds);
        self.has_led.get()
    }

    fn reboot(&self) {
        self.reboots.set(self.reboots.get() + 1);
    }

    fn crashes(&self) -> &[Crash] {
        &CRASHES
    }

    fn crash(&self, name: &str, core: u8) {
        self.crashes.borrow_mut().push((name.to_owned(), core));
    }
}
