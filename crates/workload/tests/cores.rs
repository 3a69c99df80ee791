//! Workloads on a core, in virtual time: started, measured, stopped, and watched by another core.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::net::IpAddr;
use std::sync::Mutex;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use telemetry::{WorkloadState, WorkloadStatus};
use testkit::time;
use workload::{BoxFuture, CoreSet, Env, Manager, PingFailure, StartError, run_core};

/// What one reading of the clock takes: so work takes time in virtual time too.
const READ: Duration = Duration::from_micros(100);

type Answer = Box<dyn FnMut(IpAddr, usize) -> (Duration, Result<Duration, PingFailure>) + Send>;

struct Node(Mutex<Answer>);

impl Node {
    fn new(answer: impl FnMut(IpAddr, usize) -> (Duration, Result<Duration, PingFailure>) + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(answer)))
    }

    fn without_network() -> Self {
        Self::new(|_, _| (Duration::MIN, Err(PingFailure::NoNetwork)))
    }
}

impl Env for Node {
    fn ping(&self, peer: IpAddr, len: usize, _: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>> {
        let (after, result) = self.0.lock().unwrap()(peer, len);
        Box::pin(async move {
            Timer::after(after).await;
            result
        })
    }

    fn now(&self) -> Instant {
        time::spend(READ);
        Instant::now()
    }
}

/// Runs core 1 beside `test`, which is core 0.
fn with_core<T>(node: &Node, manager: &Manager, test: impl Future<Output = T>) -> T {
    with_core_and_words(node, manager, 64 << 10, test)
}

fn with_core_and_words<T>(node: &Node, manager: &Manager, words: usize, test: impl Future<Output = T>) -> T {
    let mut buffer = vec![0; words];
    time::run(async {
        match select(test, run_core(1, manager, node, &mut buffer)).await {
            Either::First(result) => result,
            Either::Second(never) => never,
        }
    })
}

fn status(manager: &Manager) -> WorkloadStatus {
    manager.status(1).unwrap()
}

#[test]
fn a_core_keeps_the_load_it_was_given() {
    for (load, least, most) in [(0, 0, 0), (1, 9, 11), (30, 299, 301), (50, 498, 502), (90, 897, 903), (100, 960, 1000)]
    {
        let (node, manager) = (Node::without_network(), Manager::new());
        with_core(&node, &manager, async {
            manager.start(&format!("cpu:load={load}%"), None).unwrap();
            Timer::after_secs(10).await;
            let busy_permille = manager.counts()[1].busy_us / 10_000;
            assert!((least..=most).contains(&busy_permille), "{load} %: {busy_permille}");
            assert_eq!(manager.counts()[1].errors, 0);
            assert_eq!(manager.counts()[1].operations > 0, load > 0);
        });
    }
}

#[test]
fn a_core_that_wakes_late_keeps_its_load() {
    let (node, manager) = (Node::without_network(), Manager::new());
    with_core(&node, &manager, async {
        manager.start("cpu:load=50%", None).unwrap();
        let started = Instant::now();
        // Something else has the core just when the slices are to begin.
        for tick in 1..1_000 {
            Timer::at(started + Duration::from_millis(10 * tick) - Duration::from_micros(500)).await;
            time::spend(Duration::from_millis(3));
        }
        let busy_permille = manager.counts()[1].busy_us * 1_000 / started.elapsed().as_micros();
        assert!((480..=520).contains(&busy_permille), "{busy_permille}");
    });
}

#[test]
fn a_busy_core_stops_within_20_ms() {
    for spec in ["cpu", "cpu:slice=20ms", "memory", "memory:mode=copy", "idle", "ping:peer=10.0.2.2,interval=1h"] {
        let node = Node::new(|_, _| (Duration::from_secs(1), Ok(Duration::from_secs(1))));
        let manager = Manager::new();
        with_core(&node, &manager, async {
            assert_eq!(manager.start(spec, None).unwrap(), CoreSet::of(1));
            Timer::after_millis(1_777).await;
            assert_eq!(status(&manager).state, WorkloadState::Running, "{spec}");
            let before = Instant::now();
            assert_eq!(manager.stop(CoreSet::ALL), CoreSet::of(1));
            while status(&manager).state != WorkloadState::Free {
                Timer::after_micros(100).await;
            }
            assert!(before.elapsed() <= Duration::from_millis(21), "{spec}: {} µs", before.elapsed().as_micros());
        });
    }
}

#[test]
fn memory_is_moved_in_every_mode() {
    for mode in ["all", "fill", "copy", "read"] {
        let (node, manager) = (Node::without_network(), Manager::new());
        with_core(&node, &manager, async {
            manager.start(&format!("memory:mode={mode},size=256k"), None).unwrap();
            Timer::after_millis(100).await;
            let counts = manager.counts()[1];
            assert!(counts.operations >= 10 && counts.bytes >= 10 * (128 << 10), "{mode}: {counts:?}");
            assert_eq!(counts.errors, 0);
            assert!(counts.busy_us > 50_000, "{counts:?}");
        });
    }
}

#[test]
fn too_little_memory_is_reported() {
    let (node, manager) = (Node::without_network(), Manager::new());
    with_core_and_words(&node, &manager, 100, async {
        for (spec, needed) in [("memory", 4096), ("memory:size=1M", 1 << 20)] {
            manager.start(spec, None).unwrap();
            Timer::after_millis(1).await;
            let status = status(&manager);
            assert_eq!(status.state, WorkloadState::Failed);
            assert_eq!(
                status.reason,
                format!("needs {needed} bytes of memory, this core has 800: give a smaller size").as_str()
            );
        }
        // The core goes on.
        manager.start("idle", None).unwrap();
        Timer::after_secs(3).await;
        assert_eq!(status(&manager).state, WorkloadState::Running);
        assert_eq!(manager.counts()[1].runs, 3);
        assert!(manager.counts()[1].operations >= 2);
    });
}

#[test]
fn a_ping_counts_answers_losses_and_times() {
    let mut sent = 0;
    let node = Node::new(move |peer, len| {
        assert_eq!((peer, len), (IpAddr::from([10, 0, 2, 2]), 100));
        sent += 1;
        match sent % 4 {
            0 => (Duration::from_secs(1), Err(PingFailure::Timeout)),
            _ => (Duration::from_millis(sent), Ok(Duration::from_millis(sent))),
        }
    });
    let manager = Manager::new();
    with_core(&node, &manager, async {
        manager.start("ping:peer=10.0.2.2,count=40,interval=10ms,size=100", None).unwrap();
        Timer::after_secs(20).await;
        let counts = manager.counts()[1];
        assert_eq!((counts.operations, counts.errors, counts.bytes), (30, 10, 3_000));
        let statuses = manager.statuses();
        let (status, durations) = &statuses[0];
        assert_eq!(status.state, WorkloadState::Finished);
        let summary = durations.summary().unwrap();
        assert_eq!((summary.count, summary.min_us, summary.max_us), (30, 1_000, 39_000));
        assert!((18_000..=21_500).contains(&summary.p50_us), "{summary:?}");
    });
}

#[test]
fn a_ping_sends_by_the_clock_and_not_by_the_answers() {
    let node = Node::new(|_, _| (Duration::from_millis(7), Ok(Duration::from_millis(7))));
    let manager = Manager::new();
    with_core(&node, &manager, async {
        manager.start("ping:peer=10.0.2.2,interval=10ms", None).unwrap();
        Timer::after_secs(10).await;
        assert!((990..=1_001).contains(&manager.counts()[1].operations), "{:?}", manager.counts()[1]);
    });
}

#[test]
fn a_time_limit_ends_a_workload() {
    let (node, manager) = (Node::without_network(), Manager::new());
    with_core(&node, &manager, async {
        manager.start("cpu:load=100%,for=500ms", None).unwrap();
        Timer::after_millis(400).await;
        assert_eq!(status(&manager).state, WorkloadState::Running);
        Timer::after_millis(200).await;
        assert_eq!(status(&manager).state, WorkloadState::Finished);
        assert!((450_000..=520_000).contains(&manager.counts()[1].busy_us), "{:?}", manager.counts()[1]);
    });
}

#[test]
fn a_start_on_a_named_core_replaces_what_ran_there() {
    let (node, manager) = (Node::without_network(), Manager::new());
    with_core(&node, &manager, async {
        manager.start("cpu:load=50%", None).unwrap();
        Timer::after_millis(500).await;
        assert_eq!(manager.start("cpu:load=10%,cores=1", None).unwrap(), CoreSet::of(1));
        Timer::after_secs(1).await;
        assert_eq!(status(&manager).spec, "cpu:load=10%,cores=1");
        let counts = manager.counts()[1];
        assert_eq!(counts.runs, 2);
        assert!((90_000..=112_000).contains(&counts.busy_us), "the figures begin anew: {counts:?}");
    });
}

#[test]
fn a_workload_without_progress_is_shown_as_stalled() {
    // Breaks its promise: the answer takes longer than any time-out.
    let node = Node::new(|_, _| (Duration::from_secs(60), Ok(Duration::from_secs(60))));
    let manager = Manager::new();
    with_core(&node, &manager, async {
        manager.start("ping:peer=10.0.2.2", None).unwrap();
        Timer::after_secs(1).await;
        assert_eq!(status(&manager).state, WorkloadState::Running);
        Timer::after_secs(8).await;
        assert_eq!(status(&manager).state, WorkloadState::Stalled);
        Timer::after_secs(53).await;
        assert_eq!(status(&manager).state, WorkloadState::Running);
        // A ping that only waits for its time is not stalled.
        manager.start("ping:peer=10.0.2.2,interval=1h,cores=1", None).unwrap();
        Timer::after_secs(61).await;
        for _ in 0..100 {
            assert_eq!(status(&manager).state, WorkloadState::Running);
            Timer::after_secs(1).await;
        }
    });
}

#[test]
fn workloads_go_to_free_cores_until_there_is_none() {
    let manager = Manager::new();
    let cores: Vec<_> = (0..3).map(|_| manager.start("idle", None).unwrap().to_string()).collect();
    assert_eq!(cores, ["1", "2", "3"]);
    assert!(matches!(manager.start("idle", None), Err(StartError::NoFreeCore)));
    assert_eq!(manager.start("cpu:cores=2-3", None).unwrap().to_string(), "2-3");
    assert_eq!(manager.start("cpu:cores=2-3", Some(CoreSet::of(1))).unwrap().to_string(), "1");
    let names: Vec<_> = manager.statuses().iter().map(|(s, _)| (s.core, s.name, s.state)).collect();
    let starting = WorkloadState::Starting;
    assert_eq!(names, [(1, "cpu", starting), (2, "cpu", starting), (3, "cpu", starting)]);
}

#[test]
fn a_bad_specification_starts_nothing() {
    let manager = Manager::new();
    let error = manager.start("cpu:load=200%", None).unwrap_err();
    assert_eq!(error.to_string(), "load=200% is not allowed; allowed: 0% to 100%");
    assert!(manager.statuses().iter().all(|(s, _)| s.state == WorkloadState::Free));
    assert!(manager.status(0).is_none());
}

#[test]
fn an_order_before_the_core_is_up_is_not_lost() {
    let (node, manager) = (Node::without_network(), Manager::new());
    manager.start("cpu:load=20%", None).unwrap();
    with_core(&node, &manager, async {
        Timer::after_millis(100).await;
        assert_eq!(status(&manager).state, WorkloadState::Running);
    });
}

#[test]
fn the_newest_order_counts_whatever_came_before() {
    const SPECS: [&str; 6] = [
        "cpu:load=30%",
        "memory:size=64k",
        "idle",
        "ping:peer=10.0.2.2,interval=1ms",
        "ping:peer=10.0.2.2,count=1",
        "memory:size=1G",
    ];
    // Xorshift (Marsaglia 2003): seeded, so that a failure can be repeated.
    let mut state = 0x5EED_u64;
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let node = Node::new(|_, _| (Duration::from_millis(1), Ok(Duration::from_millis(1))));
    let manager = Manager::new();
    let mut buffers = [(); 3].map(|()| vec![0u64; 16 << 10]);
    let [one, two, three] = &mut buffers;
    let cores = embassy_futures::join::join3(
        run_core(1, &manager, &node, one),
        run_core(2, &manager, &node, two),
        run_core(3, &manager, &node, three),
    );
    time::run(select(cores, async {
        let mut last: [Option<&str>; 4] = [None; 4];
        for _ in 0..3_000 {
            for _ in 0..below(4) {
                let core = below(3) as u8 + 1;
                if below(4) == 0 {
                    manager.stop(CoreSet::of(core));
                    last[usize::from(core)] = None;
                } else {
                    let spec = SPECS[below(SPECS.len() as u64) as usize];
                    assert_eq!(manager.start(spec, Some(CoreSet::of(core))).unwrap(), CoreSet::of(core));
                    last[usize::from(core)] = Some(spec);
                }
                Timer::after_micros(below(3) * below(5_000)).await;
            }
            // Three cores share this thread, so an order may wait for three slices.
            Timer::after_millis(70).await;
            for (status, _) in manager.statuses() {
                let want = match last[usize::from(status.core)] {
                    None => WorkloadState::Free,
                    Some("ping:peer=10.0.2.2,count=1") => WorkloadState::Finished,
                    Some("memory:size=1G") => WorkloadState::Failed,
                    Some(_) => WorkloadState::Running,
                };
                assert_eq!((status.state, status.spec.as_str()), (want, last[usize::from(status.core)].unwrap_or("")));
                assert_eq!(status.reason.is_empty(), want != WorkloadState::Failed);
            }
        }
    }));
}
