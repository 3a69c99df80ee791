//! Workloads on a core, in virtual time: started, measured, stopped, and watched by another core.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::net::IpAddr;
use std::sync::Mutex;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use telemetry::sample::WorkloadCounts;
use telemetry::{WorkloadState, WorkloadStatus};
use testkit::time;
use workload::manager::{Change, Place, What};
use workload::{BoxFuture, CoreSet, Env, Manager, OrderError, PingFailure, Scratch, StartError, Which, run_core};

/// What one reading of the clock takes: so work takes time in virtual time too. As much as goes by between two of them, so that there is one
/// with each step.
const READ: Duration = Duration::from_micros(500);

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
    let scratch = Scratch::new(vec![vec![0; words].leak()]);
    time::run(async {
        match select(test, run_core(1, manager, node, &scratch)).await {
            Either::First(result) => result,
            Either::Second(never) => never,
        }
    })
}

/// The status of the workload that was started last.
fn status(manager: &Manager) -> WorkloadStatus {
    manager.statuses().into_iter().map(|view| view.status).max_by_key(|status| status.started_us).unwrap()
}

/// Its counts.
fn counts(manager: &Manager) -> WorkloadCounts {
    manager.counts()[status(manager).slot]
}

fn place(id: &str, cores: &str) -> Place {
    Place { id: id.try_into().unwrap(), cores: CoreSet::parse(cores).unwrap() }
}

#[test]
fn a_core_keeps_the_load_it_was_given() {
    for (load, least, most) in [(0, 0, 0), (1, 9, 11), (30, 299, 301), (50, 498, 502), (90, 897, 903), (100, 900, 1000)]
    {
        let (node, manager) = (Node::without_network(), Manager::new());
        with_core(&node, &manager, async {
            manager.start(&format!("cpu:load={load}%"), None).unwrap();
            Timer::after_secs(10).await;
            let busy_permille = counts(&manager).busy_us / 10_000;
            assert!((least..=most).contains(&busy_permille), "{load} %: {busy_permille}");
            assert_eq!(counts(&manager).errors, 0);
            assert_eq!(counts(&manager).operations > 0, load > 0);
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
        let busy_permille = counts(&manager).busy_us * 1_000 / started.elapsed().as_micros();
        assert!((480..=520).contains(&busy_permille), "{busy_permille}");
    });
}

#[test]
fn a_busy_core_stops_within_20_ms() {
    for spec in ["cpu", "cpu:slice=20ms", "memory", "memory:mode=copy", "idle", "ping:peer=10.0.2.2,interval=1h"] {
        let node = Node::new(|_, _| (Duration::from_secs(1), Ok(Duration::from_secs(1))));
        let manager = Manager::new();
        with_core(&node, &manager, async {
            let name = &spec[..spec.find(':').unwrap_or(spec.len())];
            assert_eq!(manager.start(spec, None).unwrap(), place(name, "1"));
            Timer::after_millis(1_777).await;
            assert_eq!(status(&manager).state, WorkloadState::Running, "{spec}");
            let before = Instant::now();
            assert_eq!(manager.stop(Which::All).unwrap()[..], [place(name, "1")]);
            while status(&manager).state != WorkloadState::Stopped {
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
            let counts = counts(&manager);
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
        assert!(counts(&manager).operations >= 2);
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
        let counts = counts(&manager);
        assert_eq!((counts.operations, counts.errors, counts.bytes), (30, 10, 3_000));
        let views = manager.statuses();
        assert_eq!(views[0].status.state, WorkloadState::Finished);
        let summary = views[0].durations.summary().unwrap();
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
        assert!((990..=1_001).contains(&counts(&manager).operations), "{:?}", counts(&manager));
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
        assert!((450_000..=520_000).contains(&counts(&manager).busy_us), "{:?}", counts(&manager));
    });
}

#[test]
fn workloads_share_a_core_and_none_starves() {
    let (node, manager) = (Node::without_network(), Manager::new());
    with_core(&node, &manager, async {
        for spec in ["cpu:load=30%", "cpu load=30%", "memory size=64k", "idle"] {
            manager.start(spec, Some(CoreSet::of(1))).unwrap();
        }
        Timer::after_secs(10).await;
        let views = manager.statuses();
        let ids: Vec<_> = views.iter().map(|view| view.status.id.as_str()).collect();
        assert_eq!(ids, ["cpu", "cpu#2", "memory", "idle"]);
        assert!(views.iter().all(|view| view.status.state == WorkloadState::Running));
        let all = manager.counts();
        for cpu in &all[..2] {
            assert!((2_400_000..=3_100_000).contains(&cpu.busy_us), "{cpu:?}");
        }
        assert!(all[2].busy_us > 2_000_000 && all[2].errors == 0, "{:?}", all[2]);
        assert!((9..=10).contains(&all[3].operations), "{:?}", all[3]);
        assert!(matches!(manager.start("idle cores=1", None), Err(StartError::Full { core: 1 })));
        // One of them stops; the others don't notice.
        assert_eq!(manager.stop(Which::Id("cpu")).unwrap()[..], [place("cpu", "1")]);
        assert_eq!(manager.start("cpu load=1% cores=1", None).unwrap(), place("cpu", "1"));
        Timer::after_secs(10).await;
        assert!((90_000..=110_000).contains(&manager.counts()[0].busy_us), "the figures begin anew");
        assert!((4_800_000..=6_200_000).contains(&manager.counts()[1].busy_us), "{:?}", manager.counts()[1]);
    });
}

#[test]
fn one_workload_at_a_time_has_the_memory_of_a_core() {
    let (node, manager) = (Node::without_network(), Manager::new());
    with_core(&node, &manager, async {
        manager.start("memory:cores=1", None).unwrap();
        Timer::after_millis(100).await;
        manager.start("memory:cores=1", None).unwrap();
        Timer::after_millis(100).await;
        let taken = status(&manager);
        assert_eq!((taken.id.as_str(), taken.state), ("memory#2", WorkloadState::Failed));
        assert_eq!(taken.reason, "another workload on core 1 has its memory: choose another core");
        manager.stop(Which::Id("memory")).unwrap();
        Timer::after_millis(50).await;
        assert_eq!(manager.restart(Which::Id("memory#2")).unwrap()[..], [place("memory#2", "1")]);
        Timer::after_millis(100).await;
        assert_eq!(status(&manager).state, WorkloadState::Running);
    });
}

#[test]
fn a_test_of_the_board_wants_its_cores_alone() {
    let manager = Manager::new();
    manager.start("idle cores=2 id=web", None).unwrap();
    let error = manager.start("certify", None).unwrap_err().to_string();
    assert_eq!(error, "certify needs its cores alone, but web runs on core 2: stop it first (workload stop web)");
    assert_eq!(manager.start("certify", Some(CoreSet::of(1))).unwrap(), place("certify", "1"));
    let error = manager.start("idle cores=1", None).unwrap_err().to_string();
    assert_eq!(error, "certify needs core 1 alone: wait until it is done, or stop it first (workload stop certify)");
    // Whoever names no core gets another one.
    assert_eq!(manager.start("idle", None).unwrap(), place("idle", "3"));
    assert_eq!(manager.start("idle", None).unwrap(), place("idle#2", "2"));
}

#[test]
fn parameters_change_while_a_workload_runs() {
    let (node, manager) = (Node::without_network(), Manager::new());
    with_core(&node, &manager, async {
        manager.start("cpu load=10%", None).unwrap();
        Timer::after_secs(10).await;
        assert_eq!(manager.set("cpu", "load=50%").unwrap(), Change::Followed);
        let before = counts(&manager);
        Timer::after_secs(10).await;
        let after = counts(&manager);
        assert!((4_900_000..=5_100_000).contains(&(after.busy_us - before.busy_us)), "{before:?} {after:?}");
        assert_eq!((after.runs, status(&manager).spec.as_str()), (1, "cpu load=50%"));
        // One that can't follow is started anew.
        manager.start("ping peer=10.0.2.2 id=p cores=1", None).unwrap();
        Timer::after_secs(1).await;
        assert_eq!(manager.set("p", "interval=10ms").unwrap(), Change::Restarted);
        Timer::after_secs(2).await;
        assert_eq!(status(&manager).spec, "ping peer=10.0.2.2 id=p cores=1 interval=10ms");
        assert!((190..=201).contains(&counts(&manager).errors), "{:?}", counts(&manager));
        // What is wrong changes nothing.
        for (id, change, problem) in [
            ("cpu", "load=200%", "load=200% is not allowed; allowed: 0% to 100%"),
            ("cpu", "load=1% for=1s", "for can't be changed while it runs: stop it and start it anew"),
            ("web", "load=1%", "no workload is called 'web'; there are cpu, p"),
        ] {
            assert_eq!(manager.set(id, change).unwrap_err().to_string(), problem);
        }
        manager.stop(Which::Id("p")).unwrap();
        assert!(matches!(manager.set("p", "size=1"), Err(OrderError::Ended { .. })));
        let specs: Vec<_> = manager.statuses().iter().map(|view| view.status.spec.to_string()).collect();
        assert_eq!(specs, ["cpu load=50%", "ping peer=10.0.2.2 id=p cores=1 interval=10ms"]);
    });
}

#[test]
fn a_workload_without_progress_is_told_of_and_started_anew() {
    // Breaks its promise: the answers take longer than any time-out, but for some.
    let mut asked = 0;
    let node = Node::new(move |_, _| {
        asked += 1;
        let after = Duration::from_secs(if (5..400).contains(&asked) { 1 } else { 1_000 });
        (after, Ok(after))
    });
    let manager = Manager::new();
    let told = std::cell::RefCell::new(Vec::new());
    let watch = async {
        loop {
            Timer::after_secs(1).await;
            for event in manager.check() {
                assert!(event.id == "ping" && event.core == 1 && !event.is_good());
                told.borrow_mut().push((Instant::now().as_secs(), event.what));
            }
        }
    };
    let test = async {
        manager.start("ping:peer=10.0.2.2", None).unwrap();
        Timer::after_secs(5).await;
        assert_eq!(status(&manager).state, WorkloadState::Running);
        Timer::after_millis(2_700).await;
        assert_eq!(status(&manager).state, WorkloadState::Stalled);
        // Seven seconds without progress, then at once, after 1, 2 and 4 s; after that the peer is well.
        Timer::after_secs(60).await;
        let now = status(&manager);
        assert_eq!((now.state, now.restarts, now.spec.as_str()), (WorkloadState::Running, 4, "ping peer=10.0.2.2"));
        assert!(counts(&manager).operations > 10);
    };
    with_core(&node, &manager, select(test, watch));
    let restarts = told.take();
    let delays = restarts.iter().filter_map(|(_, what)| match what {
        What::Stalled { restart_in } => Some(restart_in.as_secs()),
        _ => None,
    });
    assert_eq!(delays.collect::<Vec<_>>(), [0, 1, 2, 4]);
    let times = restarts.iter().filter_map(|(_, what)| match what {
        What::Restarted(times) => Some(*times),
        _ => None,
    });
    assert_eq!(times.collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn one_that_waits_for_its_time_is_not_stalled() {
    let node = Node::new(|_, _| (Duration::from_secs(1), Ok(Duration::from_secs(1))));
    let manager = Manager::new();
    with_core(&node, &manager, async {
        manager.start("ping:peer=10.0.2.2,interval=1h,cores=1", None).unwrap();
        for _ in 0..100 {
            Timer::after_secs(1).await;
            assert!(manager.check().is_empty());
            assert_eq!(status(&manager).state, WorkloadState::Running);
        }
    });
}

#[test]
fn how_a_workload_ended_is_told_once_and_stays_to_be_read() {
    let node = Node::new(|_, _| (Duration::from_millis(1), Ok(Duration::from_millis(1))));
    let manager = Manager::new();
    with_core(&node, &manager, async {
        manager.start("ping:peer=10.0.2.2,count=3,interval=1ms", None).unwrap();
        manager.start("memory:size=1G cores=1", None).unwrap();
        Timer::after_secs(1).await;
        let told: Vec<_> = manager.check().iter().map(ToString::to_string).collect();
        assert_eq!(told[0], "workload ping on core 1 has finished");
        assert!(told[1].starts_with("workload memory on core 1 has failed: needs 1073741824 bytes"), "{}", told[1]);
        assert!(manager.check().is_empty());
        Timer::after_secs(100).await;
        assert_eq!(manager.statuses().len(), 2);
        assert_eq!(manager.counts()[0].operations, 3);
    });
}

#[test]
fn a_core_that_never_lets_go_is_told_of() {
    let (node, manager) = (Node::without_network(), Manager::new());
    with_core(&node, &manager, async {
        manager.start("idle", None).unwrap();
        Timer::after_secs(1).await;
    });
    // From here on the core does nothing any more.
    time::run(async {
        manager.check();
        let mut told = Vec::new();
        for _ in 0..4 {
            Timer::after_secs(7).await;
            told.extend(manager.check().into_iter().map(|event| event.what));
        }
        let restart_in = Duration::MIN;
        assert_eq!(told, [What::Stalled { restart_in }, What::Restarted(1), What::Stuck]);
        // A core that never was there is not stuck.
        manager.start("idle cores=3", None).unwrap();
        Timer::after_secs(7).await;
        assert!(manager.check().is_empty());
    });
}

#[test]
fn workloads_go_to_free_cores_and_then_to_those_with_the_fewest() {
    let manager = Manager::new();
    let start = |spec| manager.start(spec, None).unwrap().to_string();
    assert_eq!(start("idle cores=2"), "idle on core 2");
    let places: Vec<_> = (0..11).map(|_| start("idle")).collect();
    let cores: String = places.iter().map(|place| &place[place.len() - 1..]).collect();
    assert_eq!(cores, "13123123123");
    assert_eq!((places[0].as_str(), places[10].as_str()), ("idle#2 on core 1", "idle#12 on core 3"));
    assert!(matches!(manager.start("idle", None), Err(StartError::NoFreeCore)));
    assert!(matches!(manager.start("cpu:cores=2-3", None), Err(StartError::Full { core: 2 })));
    assert_eq!(manager.stop(Which::Cores(CoreSet::of(2))).unwrap().len(), 4);
    assert_eq!(start("cpu id=web"), "web on core 2");
    assert_eq!(
        manager.start("cpu id=web", None).unwrap_err().to_string(),
        "web runs already: stop it first, restart it, or give another id"
    );
    let unknown = manager.stop(Which::Id("x")).unwrap_err().to_string();
    assert!(unknown.starts_with("no workload is called 'x'; there are idle#2, "), "{unknown}");
    assert_eq!(manager.stop(Which::All).unwrap().len(), 9);
    assert_eq!(start("cpu:cores=2-3"), "cpu on core 2-3");
    assert_eq!(manager.start("cpu:cores=2-3", Some(CoreSet::of(1))).unwrap().to_string(), "cpu#2 on core 1");
}

#[test]
fn a_bad_specification_starts_nothing() {
    let manager = Manager::new();
    let error = manager.start("cpu:load=200%", None).unwrap_err();
    assert_eq!(error.to_string(), "load=200% is not allowed; allowed: 0% to 100%");
    assert!(manager.statuses().is_empty() && manager.status(1).is_none());
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
    let [one, two, three] = &[(); 3].map(|()| Scratch::new(vec![vec![0u64; 16 << 10].leak()]));
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
                let id = format!("c{core}");
                let last = &mut last[usize::from(core)];
                match below(4) {
                    0 if last.is_some() => drop(manager.restart(Which::Id(&id)).unwrap()),
                    1 => {
                        manager.stop(Which::Cores(CoreSet::of(core))).unwrap();
                        *last = None;
                    }
                    _ => {
                        let spec = SPECS[below(SPECS.len() as u64) as usize];
                        manager.stop(Which::Cores(CoreSet::of(core))).unwrap();
                        manager.start(&format!("{spec} id={id}"), Some(CoreSet::of(core))).unwrap();
                        *last = Some(spec);
                    }
                }
                Timer::after_micros(below(3) * below(5_000)).await;
            }
            // Three cores share this thread, so an order may wait for three slices.
            Timer::after_millis(70).await;
            let views = manager.statuses();
            for (core, last) in (1..).zip(&last[1..]) {
                let runs: Vec<_> =
                    views.iter().filter(|view| view.status.core == core).map(|view| &view.status).collect();
                let Some(last) = last else {
                    assert!(runs.iter().all(|run| !run.state.is_active()), "{runs:?}");
                    continue;
                };
                let want = match *last {
                    "ping:peer=10.0.2.2,count=1" => WorkloadState::Finished,
                    "memory:size=1G" => WorkloadState::Failed,
                    _ => WorkloadState::Running,
                };
                assert_eq!(runs.len(), 1, "what ended under the same id is forgotten: {runs:?}");
                assert_eq!((runs[0].state, runs[0].name), (want, &last[..last.find(':').unwrap_or(last.len())]));
                assert_eq!(runs[0].reason.is_empty(), want != WorkloadState::Failed);
            }
        }
    }));
}
