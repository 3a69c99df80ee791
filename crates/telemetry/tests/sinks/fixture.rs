//! A node with something in every field, as the sinks see it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::slice;
use std::sync::atomic::AtomicU64;

use crash::{Kept, Report};
use fault::{State, Totals, View};
use telemetry::certificate::{Finding, Outcome, Stage, Subject};
use telemetry::log_ring::LogLine;
use telemetry::metrics::{Kind, Metric, Unit};
use telemetry::net_info::{Ipv4, Ipv4Source, Lease, Link};
use telemetry::sample::{Area, CoreTime, Memory, NicCounts, SLOTS_PER_CORE, WORKLOAD_SLOTS, WorkloadCounts};
use telemetry::{
    Access, Certificate, Counted, Faults, Health, HealthLog, Histogram, History, Level, LogRing, NetInfo, NodeInfo,
    Past, Sample, Second, Seconds, Snapshot, WorkloadState, WorkloadStatus, WorkloadView,
};

/// What the second workload counts of its own.
static FIGURES: [Metric; 3] = [
    Metric::of_workload("minipirack_memory_passes_total", Kind::Counter, Unit::Count, "Passes."),
    Metric::of_workload("minipirack_memory_room_bytes", Kind::Gauge, Unit::Bytes, "Room."),
    Metric::of_workload("minipirack_memory_rest_seconds", Kind::Gauge, Unit::Seconds, "Rest."),
];
static HISTOGRAMS: [Metric; 1] =
    [Metric::of_workload("minipirack_memory_pass_seconds", Kind::Histogram, Unit::Seconds, "Time of a pass.")];
/// What has been counted.
static VALUES: [AtomicU64; 8] = {
    const fn at(value: u64) -> AtomicU64 {
        AtomicU64::new(value)
    }
    [at(7), at(4096), at(1_500_000), at(0), at(1), at(22), at(123_456), at(1 << 40)]
};

/// What one kind of workload counts of its own.
#[derive(Clone, Copy)]
struct Own {
    figures: &'static [Metric],
    histograms: &'static [Metric],
}

pub(crate) struct Node {
    pub(crate) info: NodeInfo,
    pub(crate) net: NetInfo,
    pub(crate) history: Box<History>,
    pub(crate) workloads: Vec<(WorkloadStatus, Histogram)>,
    own: Vec<(&'static str, Own)>,
    pub(crate) seconds: Box<Seconds>,
    pub(crate) health: HealthLog,
    pub(crate) past: Past,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) crashes: Vec<Counted>,
    pub(crate) malformed: Vec<Counted>,
    pub(crate) events: Vec<Counted>,
    pub(crate) faults: Vec<View>,
    pub(crate) log: Box<LogRing>,
}

impl Node {
    /// A node that knows nothing yet but one empty sample.
    pub(crate) fn just_started() -> Self {
        let mut history = Box::new(History::new());
        history.push(Sample::EMPTY);
        Self {
            info: NodeInfo::default(),
            net: NetInfo::EMPTY,
            history,
            workloads: Vec::new(),
            own: vec![("memory", Own { figures: &FIGURES, histograms: &HISTOGRAMS })],
            seconds: Box::new(Seconds::new()),
            health: HealthLog::new(),
            past: Past::NONE,
            certificate: None,
            crashes: Vec::new(),
            faults: Vec::new(),
            malformed: Vec::new(),
            events: Vec::new(),
            log: Box::new(LogRing::new()),
        }
    }

    /// A node at work for `seconds`, whose figures all differ from each other.
    pub(crate) fn at_work(seconds: u64) -> Self {
        let mut node = Self::just_started();
        node.info = NodeInfo {
            name: "pi-123456".try_into().unwrap(),
            board: "Raspberry Pi 3 Model B".try_into().unwrap(),
            soc: "BCM2837".try_into().unwrap(),
            revision: 0xa0_2082,
            serial: 0x1234_5678_9abc,
            is_emulated: false,
            version: "0.1.0",
            build: "abcdef0",
            access: Access::NoKey,
        };
        node.net = NetInfo {
            driver: Some("cdc_ether"),
            mac: [0xb8, 0x27, 0xeb, 0x12, 0x34, 0x56],
            link: Link::Up { speed_mbps: Some(100), is_full_duplex: Some(true) },
            ipv4: Some(Ipv4 {
                address: Ipv4Addr::new(10, 0, 2, 15),
                prefix_len: 24,
                gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
                source: Ipv4Source::Dhcp,
            }),
            lease: Some(Lease { server: Ipv4Addr::new(10, 0, 2, 2), obtained_us: 1_000_000, duration_s: 3600 }),
            tcp_connections: 3,
            ..NetInfo::EMPTY
        };
        node.net.ipv6.push((Ipv6Addr::new(0xfe80, 0, 0, 0, 0xba27, 0xebff, 0xfe12, 0x3456), 64)).unwrap();
        for (core, name, spec) in [(1, "cpu", "cpu:load=50%"), (2, "memory", "memory:mode=copy")] {
            let status = WorkloadStatus {
                slot: usize::from(core - 1) * SLOTS_PER_CORE,
                core,
                id: name.try_into().unwrap(),
                name,
                spec: spec.try_into().unwrap(),
                state: WorkloadState::Running,
                ..WorkloadStatus::EMPTY
            };
            let durations = Histogram::new();
            (0..1000).for_each(|i| durations.record(i * u64::from(core) * 37));
            node.workloads.push((status, durations));
        }
        node.certificate = Some(certificate());
        node.faults = vec![fault(3, State::Active), fault(4, State::Waiting)];
        node.crashes = vec![Counted { what: "panic", count: 1 }, Counted { what: "watchdog", count: 0 }];
        node.malformed = vec![Counted { what: "ethernet", count: 5 }, Counted { what: "ipv4", count: 6 }];
        node.events = vec![Counted { what: "usb_stall", count: 7 }];
        node.log.push(12_000_000, Level::Info, 0, format_args!("the first line"));
        node.past = past();
        for second in 0..=seconds {
            node.seconds.push(&a_second(second));
            node.push(sample(second), Some(if second == 1 { 0x5_0005 } else { 0 }));
        }
        node
    }

    /// A node with a workload of each of eight kinds, all of which count things of their own: as much to show as there can be.
    pub(crate) fn at_all_work(seconds: u64) -> Self {
        let mut node = Self::at_work(seconds);
        for (number, name) in ["http", "kv", "load", "iperf3", "ping", "pipeline"].into_iter().enumerate() {
            let core = number % 3 + 1;
            let status = WorkloadStatus {
                slot: (core - 1) * SLOTS_PER_CORE + 1 + number / 3,
                core: core as u8,
                id: format!("{name}#2").as_str().try_into().unwrap(),
                name,
                state: WorkloadState::Running,
                ..WorkloadStatus::EMPTY
            };
            let durations = Histogram::new();
            (0..1000).for_each(|i| durations.record(i * (number as u64 + 1) * 53));
            node.workloads.push((status, durations));
            let metric = |kind, end: &str| {
                let text = format!("minipirack_{name}_{end}").leak();
                Metric::of_workload(text, kind, Unit::Count, "What a workload counts besides operations.")
            };
            let ends = ["connections", "refused", "retries", "late", "waiting", "lost", "again", "denied"];
            let figures = ends.map(|end| metric(Kind::Counter, &format!("{end}_total")));
            let histograms = [metric(Kind::Histogram, "queue_wait_seconds")];
            let own = Own { figures: Box::leak(Box::new(figures)), histograms: Box::leak(Box::new(histograms)) };
            node.own.push((name, own));
        }
        node.workloads.sort_by_key(|(status, _)| status.slot);
        node
    }

    /// Adds a sample, with the firmware's answer at that time.
    pub(crate) fn push(&mut self, mut sample: Sample, answer: Option<u32>) {
        self.health.judge(&mut sample, answer, self.info.is_emulated);
        self.history.push(sample);
    }

    /// Shows the node to `show`.
    pub(crate) fn show<T>(&self, show: impl FnOnce(&Snapshot<'_>) -> T) -> T {
        let views = self.workloads.iter().map(|(status, durations)| {
            let own = self.own.iter().find(|(name, _)| *name == status.name).map(|(_, own)| *own);
            WorkloadView {
                status: status.clone(),
                counts: WorkloadCounts { operations: durations.count(), ..WorkloadCounts::EMPTY },
                durations,
                figures: own.map_or(&[], |own| own.figures),
                values: &VALUES,
                histograms: own.map_or(&[], |own| own.histograms),
                distributions: slice::from_ref(durations),
                has_seconds: status.name == "memory",
                seconds: &self.seconds,
            }
        });
        let workloads: Vec<_> = views.collect();
        show(&Snapshot {
            node: &self.info,
            net: &self.net,
            sample: self.history.newest().unwrap(),
            history: &self.history,
            workloads: &workloads,
            certificate: self.certificate.as_ref(),
            health: &self.health,
            past: &self.past,
            crashes: &self.crashes,
            faults: &Faults { views: &self.faults, totals: Totals { dropped: 7, ..Totals::default() } },
            malformed: &self.malformed,
            events: &self.events,
            log: &*self.log,
        })
    }
}

fn a_second(number: u64) -> Second {
    let start_us = number * 1_000_000;
    let [offered, sent, completed, failed] = [10, 11, 12, 13];
    Second {
        start_us,
        span_us: 1_000_000,
        offered,
        sent,
        completed,
        failed,
        p50_us: 14,
        p99_us: 15,
        longest_us: u32::MAX,
    }
}

/// A fault that is, or will be.
pub(crate) fn fault(id: u32, state: State) -> View {
    View {
        id,
        kind: "drop",
        text: "drop share=5% peer=10.0.0.7".try_into().unwrap(),
        state,
        begins_us: 1_000_000,
        ends_us: 31_000_000,
        is_of_frames: true,
        matched: 1_000,
        hits: 51,
    }
}

fn past() -> Past {
    let mut report = Report::new(crash::Kind::Panic, 2, 8_500_000);
    report.message = "asked for, \"provoke.rs\":9".into();
    report.backtrace.push(0x8_1234).unwrap();
    let text = "the end is near".try_into().unwrap();
    let line = LogLine { at_us: 8_400_000, level: Level::Warn, core: 1, target: None, text };
    Past {
        boots: 3,
        reset: "watchdog".try_into().unwrap(),
        crashes: Box::leak(Box::new([Kept { boot: 2, report }])),
        log: Box::leak(vec![line; 40].into_boxed_slice()),
    }
}

fn certificate() -> Certificate {
    let mut certificate = Certificate::begin(2_000_000, 60_000_000);
    certificate.stage = Stage::Done;
    certificate.ran_us = 60_100_000;
    for (subject, finding) in Subject::ALL.into_iter().zip(&mut certificate.findings) {
        let outcome = match subject {
            Subject::Power => Outcome::Failed,
            Subject::Clock => Outcome::NotChecked,
            _ => Outcome::Passed,
        };
        *finding = Finding::new(outcome, format_args!("what was seen of {}", subject.name()));
    }
    certificate
}

fn sample(second: u64) -> Sample {
    let us = second * 1_000_000;
    let share = |permille: u64| Some(CoreTime { busy_us: us / 1000 * permille, idle_us: us - us / 1000 * permille });
    let mut workloads = [WorkloadCounts::EMPTY; WORKLOAD_SLOTS];
    workloads[0] = WorkloadCounts { runs: 1, operations: 50 * second, busy_us: us / 2, ..WorkloadCounts::EMPTY };
    workloads[SLOTS_PER_CORE] =
        WorkloadCounts { runs: 2, operations: 4, bytes: second * 1_250_000_000, busy_us: us, errors: 3, progress: 9 };
    Sample {
        at_us: us,
        unix_us: Some(1_795_360_716_000_000 + us),
        clock_error_us: Some(1_500),
        cores: [share(30), share(500), share(1000), share(0)],
        memory: Memory {
            total: 960 << 20,
            free: 940 << 20,
            image: 700_000,
            heap: Area { size: 8 << 20, used: 1 << 20, peak: 2 << 20 },
            dma: Area { size: 1 << 20, used: 1 << 19, peak: 1 << 19 },
            stacks: [Area { size: 65_536, used: 0, peak: 9_000 }; 4],
        },
        nic: NicCounts {
            rx_frames: second * 1_000,
            rx_bytes: second * 1_537_500,
            rx_errors: 1,
            rx_dropped: 2,
            tx_frames: second * 900,
            tx_bytes: second * 137_500,
            tx_errors: 3,
            tx_dropped: 4,
            carrier_changes: 5,
            restarts: 6,
            crc_errors: 7,
            tx_stalls: 8,
            link_flaps: 9,
            looped_frames: 10,
        },
        interrupts: Some(second * 10_000),
        temperature_mc: Some(48_234),
        throttled: None,
        health: Health::UNKNOWN,
        clocks_hz: [Some(1_200_000_000), Some(400_000_000), None, Some(48_000_000), None],
        workloads,
        log_lines: 1,
        log_lines_dropped: 0,
    }
}
