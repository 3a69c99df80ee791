//! The acceptance test on three cores in virtual time, of boards that are sound and of boards that are not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use embassy_futures::join::join3;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use telemetry::certificate::{Outcome, Stage, Subject, Verdict};
use telemetry::net_info::{Ipv4, Ipv4Source, Link};
use telemetry::sample::{CoreTime, Throttled};
use telemetry::{Certificate, NetInfo, Sample, WorkloadState};
use testkit::time;
use workload::{
    BoxFuture, CoreSet, Env, Manager, Observation, PingFailure, Scratch, TimeFailure, TimeReading, Which, run_core,
};

/// What one reading of the clock takes: so work takes time in virtual time too, and a test of seconds little real time.
const READ: Duration = Duration::from_millis(2);

/// A board.
#[derive(Clone)]
struct Board {
    observation: Observation,
    /// What changes with each look.
    change: fn(u64, &mut Observation),
    looks: u64,
    /// How long core 0 takes to answer.
    delay: Duration,
    /// By how many millionths the clock is slow; `None` without a time server.
    drift_ppm: Option<i64>,
}

struct Node(Mutex<Board>);

impl Board {
    fn sound() -> Self {
        let sample = Sample {
            cores: [Some(CoreTime::default()); telemetry::CORES],
            temperature_mc: Some(45_000),
            throttled: Some(Throttled(0)),
            ..Sample::EMPTY
        };
        let (address, gateway) = (Ipv4Addr::new(10, 0, 0, 7), Some(Ipv4Addr::new(10, 0, 0, 1)));
        let net = NetInfo {
            link: Link::Up { speed_mbps: Some(1_000), is_full_duplex: Some(true) },
            ipv4: Some(Ipv4 { address, prefix_len: 24, gateway, source: Ipv4Source::Dhcp }),
            ..NetInfo::EMPTY
        };
        let change = |n, observation: &mut Observation| observation.sample.nic.rx_frames = n;
        let delay = Duration::from_millis(1);
        Self { observation: Observation { sample, net }, change, looks: 0, delay, drift_ppm: Some(20) }
    }
}

impl Env for Node {
    fn ping(&self, _: IpAddr, _: usize, _: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>> {
        Box::pin(async { Ok(Duration::from_millis(1)) })
    }

    fn look(&self) -> BoxFuture<'_, Option<Box<Observation>>> {
        let (delay, observation) = {
            let mut board = self.0.lock().unwrap();
            board.looks += 1;
            let (looks, change) = (board.looks, board.change);
            change(looks, &mut board.observation);
            (board.delay, board.observation.clone())
        };
        Box::pin(async move {
            Timer::after(delay).await;
            Some(Box::new(observation))
        })
    }

    fn ask_time(&self) -> BoxFuture<'_, Result<TimeReading, TimeFailure>> {
        let drift = self.0.lock().unwrap().drift_ppm;
        Box::pin(async move {
            let at = Instant::now();
            let drift_us = at.as_micros() as i64 * drift.ok_or(TimeFailure::NoServer)? / 1_000_000;
            let unix_us = (1_800_000_000_000_000 + at.as_micros()).saturating_add_signed(drift_us);
            Ok(TimeReading { at, unix_us, error_us: 10 })
        })
    }

    fn now(&self) -> Instant {
        time::spend(READ);
        Instant::now()
    }
}

/// Runs cores 1 to 3 beside `test`, which is core 0.
fn with_cores<T>(board: Board, test: impl AsyncFnOnce(&Manager) -> T) -> T {
    let (node, manager) = (Node(Mutex::new(board)), Manager::new());
    let [one, two, three] = &[(); 3].map(|()| Scratch::new(vec![vec![0u64; 20_000].leak()]));
    let cores = async {
        let cores =
            (run_core(1, &manager, &node, one), run_core(2, &manager, &node, two), run_core(3, &manager, &node, three));
        join3(cores.0, cores.1, cores.2).await
    };
    time::run(async {
        match select(test(&manager), cores).await {
            Either::First(result) => result,
            Either::Second(_) => unreachable!("cores run for ever"),
        }
    })
}

/// Tests a board for four seconds and returns what was found, and how core 1 ended.
fn certify(board: Board) -> (Certificate, WorkloadState) {
    with_cores(board, async |manager| {
        assert_eq!(manager.start("certify:time=4s", None).unwrap().cores, CoreSet::ALL);
        Timer::after_secs(1).await;
        assert_eq!(manager.certificate().unwrap().verdict(), Verdict::Running);
        Timer::after_secs(9).await;
        (manager.certificate().unwrap(), manager.status(1).unwrap().state)
    })
}

fn outcome(certificate: &Certificate, subject: Subject) -> (Outcome, String) {
    let (_, finding) = certificate.findings().find(|(is, _)| *is == subject).unwrap();
    (finding.outcome, finding.reason.to_string())
}

#[test]
fn a_sound_board_passes() {
    let (certificate, state) = certify(Board::sound());
    assert_eq!(certificate.verdict(), Verdict::Pass, "{certificate:#?}");
    assert_eq!((certificate.stage, state), (Stage::Done, WorkloadState::Finished));
    assert!((4_000_000..6_100_000).contains(&certificate.ran_us), "{}", certificate.ran_us);
    let cores = outcome(&certificate, Subject::Cores).1;
    assert!(cores.starts_with("core 1-3"), "{cores}");
}

/// A board that fails in one thing fails as a whole, for that reason and no other.
fn check_failure(subject: Subject, change: impl FnOnce(&mut Board)) {
    let mut board = Board::sound();
    change(&mut board);
    let (certificate, state) = certify(board);
    assert_eq!((certificate.verdict(), state), (Verdict::Fail, WorkloadState::Failed), "{certificate:#?}");
    for (is, finding) in certificate.findings() {
        assert_eq!(finding.outcome == Outcome::Failed, is == subject, "{is:?}: {}", finding.reason);
    }
}

#[test]
fn a_board_fails_for_each_single_fault() {
    check_failure(Subject::Cores, |board| board.observation.sample.cores[2] = None);
    check_failure(Subject::Core0, |board| board.delay = Duration::from_millis(1_400));
    check_failure(Subject::Link, |board| board.observation.net.link = Link::Down);
    check_failure(Subject::Link, |board| {
        // One flap between two looks.
        board.change = |n, o| (o.sample.nic.rx_frames, o.sample.nic.carrier_changes) = (n, if n > 3 { 3 } else { 1 });
    });
    check_failure(Subject::Frames, |board| {
        board.change = |n, o| (o.sample.nic.rx_frames, o.sample.nic.rx_errors) = (n, n / 4)
    });
    check_failure(Subject::Temperature, |board| {
        board.change = |n, o| {
            o.sample.nic.rx_frames = n;
            o.sample.temperature_mc = Some(70_000 + 3_000 * n as i32);
        }
    });
    check_failure(Subject::Power, |board| {
        board.change = |n, o| {
            o.sample.nic.rx_frames = n;
            o.sample.throttled = Some(Throttled(if n == 4 { 1 } else { 0 }));
        }
    });
    check_failure(Subject::Clock, |board| board.drift_ppm = Some(400));
}

#[test]
fn a_silent_core_0_fails() {
    let mut board = Board::sound();
    board.delay = Duration::from_secs(3);
    let (certificate, _) = certify(board);
    assert_eq!(outcome(&certificate, Subject::Core0).0, Outcome::Failed);
    assert_eq!(outcome(&certificate, Subject::Link).0, Outcome::NotChecked);
}

#[test]
fn what_can_not_be_checked_makes_it_incomplete() {
    let mut board = Board::sound();
    board.drift_ppm = None;
    let (certificate, state) = certify(board);
    assert_eq!((certificate.verdict(), state), (Verdict::Incomplete, WorkloadState::Finished), "{certificate:#?}");
    assert_eq!(outcome(&certificate, Subject::Clock), (Outcome::NotChecked, "no time server is known".into()));
}

#[test]
fn a_test_on_one_core_tells_which_cores_were_left_out() {
    let certificate = with_cores(Board::sound(), async |manager| {
        manager.start("certify:time=2s", Some(CoreSet::of(2))).unwrap();
        Timer::after_secs(5).await;
        manager.certificate().unwrap()
    });
    assert_eq!(certificate.verdict(), Verdict::Incomplete);
    let (outcome, reason) = outcome(&certificate, Subject::Cores);
    assert!(outcome == Outcome::NotChecked && reason.contains("core 2:"), "{reason}");
}

#[test]
fn a_test_that_is_stopped_says_so_and_another_one_can_follow() {
    with_cores(Board::sound(), async |manager| {
        assert_eq!(manager.certificate(), None);
        manager.start("certify:time=20s", None).unwrap();
        Timer::after_secs(3).await;
        let before = Instant::now();
        manager.stop(Which::All).unwrap();
        while (1..4).any(|core| manager.status(core).unwrap().state != WorkloadState::Stopped) {
            Timer::after_millis(1).await;
        }
        assert!(before.elapsed() < Duration::from_millis(100), "{before:?}");
        let certificate = manager.certificate().unwrap();
        assert_eq!((certificate.stage, certificate.verdict()), (Stage::Stopped, Verdict::Incomplete));
        manager.start("certify:time=2s", None).unwrap();
        Timer::after_secs(6).await;
        assert_eq!(manager.certificate().unwrap().verdict(), Verdict::Pass);
    });
}

#[test]
fn a_core_that_stops_in_the_middle_fails() {
    let certificate = with_cores(Board::sound(), async |manager| {
        manager.start("certify:time=4s", None).unwrap();
        Timer::after_secs(2).await;
        manager.stop(Which::Cores(CoreSet::of(3))).unwrap();
        Timer::after_secs(8).await;
        manager.certificate().unwrap()
    });
    let (outcome, reason) = outcome(&certificate, Subject::Cores);
    assert_eq!((outcome, reason.as_str()), (Outcome::Failed, "core 3 did not come to its end"));
}
