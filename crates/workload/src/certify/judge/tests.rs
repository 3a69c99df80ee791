//! Each subject made to pass, to fail, and to be unknown.

use core::net::{IpAddr, Ipv4Addr};

use embassy_time::Instant;
use telemetry::net_info::{Ipv4, Ipv4Source};
use telemetry::sample::{CoreTime, Memory};
use telemetry::{NetInfo, Sample};

use super::*;
use crate::certify::compute::Computed;
use crate::certify::memory::{Fault, Tested};
use crate::certify::record::CoreResult;
use crate::env::{Observation, TimeFailure};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn sound_cores() -> Cores {
    core::array::from_fn(|core| {
        let start = 0xc0_0000 + core as u64 * 0x15_5540;
        (core > 0).then(|| CoreResult {
            computed: Computed { rounds: 1_000, wrong: 0, first: None },
            tested: Tested {
                span: start..start + 0x15_5540,
                bytes: 0x15_5540,
                passes: 30 + core as u64,
                wrong: 0,
                first: None,
            },
            is_done: true,
        })
    })
}

fn sound_board() -> Seen {
    let mut sample = Sample {
        cores: [Some(CoreTime::default()); telemetry::CORES],
        memory: Memory { total: 960 << 20, ..Memory::EMPTY },
        temperature_mc: Some(48_200),
        throttled: Some(Throttled(0)),
        ..Sample::EMPTY
    };
    sample.clocks_hz[0] = Some(1_200_000_000);
    let ipv4 =
        Ipv4 { address: Ipv4Addr::new(10, 0, 0, 7), prefix_len: 24, gateway: Some(GATEWAY), source: Ipv4Source::Dhcp };
    let net = NetInfo {
        driver: Some("lan95xx"),
        link: Link::Up { speed_mbps: Some(100), is_full_duplex: Some(true) },
        ipv4: Some(ipv4),
        ..NetInfo::EMPTY
    };
    let mut seen = Seen::default();
    seen.take(Observation { sample, net: net.clone() }, Duration::from_millis(2));
    sample.nic.rx_frames = 70;
    sample.nic.tx_frames = 65;
    sample.temperature_mc = Some(55_000);
    seen.take(Observation { sample, net }, Duration::from_millis(7));
    (seen.asked, seen.answered) = (60, 60);
    seen.time = Some((reading(0, 0, 300), reading(60_000_000, 60_000_600, 300)));
    seen
}

fn reading(at_us: u64, server_us: u64, error_us: u64) -> TimeReading {
    TimeReading { at: Instant::from_micros(at_us), unix_us: 1_800_000_000_000_000 + server_us, error_us }
}

fn of(subject: Subject, cores: &Cores, seen: &Seen, speed: u64) -> (Outcome, std::string::String) {
    let findings = findings(cores, seen, speed);
    let (_, finding) = Subject::ALL.iter().zip(findings).find(|(is, _)| **is == subject).unwrap();
    (finding.outcome, finding.reason.as_str().into())
}

/// What is found when `change` has been done to a sound board.
fn seen(subject: Subject, change: impl FnOnce(&mut Seen)) -> (Outcome, std::string::String) {
    let mut seen = sound_board();
    change(&mut seen);
    of(subject, &sound_cores(), &seen, 0)
}

fn computed(subject: Subject, change: impl FnOnce(&mut Cores)) -> (Outcome, std::string::String) {
    let mut cores = sound_cores();
    change(&mut cores);
    of(subject, &cores, &sound_board(), 0)
}

/// Changes the newest observation.
fn now(change: impl FnOnce(&mut Observation)) -> impl FnOnce(&mut Seen) {
    |seen| change(seen.last.as_mut().unwrap())
}

use Outcome::{Failed, NotChecked, Passed};

#[track_caller]
fn check((outcome, reason): (Outcome, std::string::String), wanted: Outcome, part: &str) {
    assert_eq!(outcome, wanted, "{reason}");
    assert!(reason.contains(part), "{reason}");
    assert!(reason.len() < telemetry::certificate::FINDING_LEN_MAX, "cut: {reason}");
}

#[test]
fn a_sound_board_passes_everything() {
    let findings = findings(&sound_cores(), &sound_board(), 100);
    for (subject, finding) in Subject::ALL.iter().zip(findings) {
        let reason = finding.reason.as_str().to_owned();
        check((finding.outcome, reason.clone()), Passed, "");
        assert!(!reason.is_empty(), "{subject:?}");
    }
    check(
        computed(Subject::Memory, |_| ()),
        Passed,
        "3.9 of 960.0 MiB (0xd55540 to 0x1155500) written and read back 31 times",
    );
    check(computed(Subject::Cores, |_| ()), Passed, "core 1-3 at 1.2GHz: 3000 rounds");
    check(seen(Subject::Temperature, |_| ()), Passed, "48.2 to 55.0 C");
    check(
        seen(Subject::Frames, |_| ()),
        Passed,
        "70 received, 65 sent, no errors, 0 dropped, 60 of 60 echoes of 10.0.0.1",
    );
    check(seen(Subject::Clock, |_| ()), Passed, "10 ppm against the time server, give or take 10");
}

#[test]
fn nothing_seen_is_nothing_checked() {
    let findings = findings(&Cores::default(), &Seen::default(), 0);
    for (subject, finding) in Subject::ALL.iter().zip(findings) {
        assert_eq!(finding.outcome, NotChecked, "{subject:?}: {}", finding.reason);
    }
}

#[test]
fn cores_that_compute_wrong_are_dead_or_do_not_end_fail() {
    let wrong = Computed { rounds: 900, wrong: 2, first: Some("floating point") };
    let finding = computed(Subject::Cores, |cores| cores[2].as_mut().unwrap().computed = wrong);
    check(finding, Failed, "core 2: 2 of 900 rounds wrong, the first in floating point");
    check(computed(Subject::Cores, |cores| cores[3].as_mut().unwrap().is_done = false), Failed, "core 3 did not come");
    check(computed(Subject::Cores, |cores| cores[1] = None), NotChecked, "the other cores took no part");
    check(seen(Subject::Cores, now(|last| last.sample.cores[1] = None)), Failed, "core 1 does not run");
}

#[test]
fn a_core_0_that_is_slow_or_silent_fails() {
    check(seen(Subject::Core0, |seen| seen.slowest = Duration::from_millis(1_001)), Failed, "took 1.0s");
    check(seen(Subject::Core0, |seen| seen.silences = 1), Failed, "no answer");
    check(seen(Subject::Core0, |_| ()), Passed, "within 7.0");
}

#[test]
fn wrong_words_fail_with_the_first_of_them() {
    let finding = computed(Subject::Memory, |cores| {
        let tested = &mut cores[2].as_mut().unwrap().tested;
        tested.wrong = 3;
        tested.first = Some(Fault { address: 0xd5_5548, written: 0xff, read: 0xf7 });
    });
    let text = "core 2: 3 words wrong, the first at 0xd55548: wrote 00000000000000ff, read 00000000000000f7 (1 bits)";
    check(finding, Failed, text);
    check(computed(Subject::Memory, |cores| cores[3].as_mut().unwrap().tested.passes = 0), NotChecked, "too short");
}

#[test]
fn a_link_that_is_down_slow_or_unsteady_fails() {
    let down = |seen: &mut Seen| {
        seen.link_since = None;
        seen.last.as_mut().unwrap().net.link = Link::Down;
    };
    check(seen(Subject::Link, down), Failed, "no link the whole time");
    let absent = |seen: &mut Seen| {
        seen.link_since = None;
        seen.last.as_mut().unwrap().net.link = Link::Absent;
    };
    check(seen(Subject::Link, absent), Failed, "no network controller");
    let briefly = |seen: &mut Seen| {
        down(seen);
        seen.last.as_mut().unwrap().sample.nic.carrier_changes = 2;
    };
    check(seen(Subject::Link, briefly), Failed, "never up for long");
    check(seen(Subject::Link, |seen| seen.was_down = true), Failed, "went down");
    check(seen(Subject::Link, now(|last| last.sample.nic.carrier_changes = 2)), Failed, "2 changes");
    let half = Link::Up { speed_mbps: Some(100), is_full_duplex: Some(false) };
    check(seen(Subject::Link, now(|last| last.net.link = half)), Failed, "half duplex");
    let board = sound_board();
    check(of(Subject::Link, &sound_cores(), &board, 1_000), Failed, "wanted 1000 Mbit/s");
    let unknown = Link::Up { speed_mbps: None, is_full_duplex: None };
    let mut board = sound_board();
    board.last.as_mut().unwrap().net.link = unknown;
    check(of(Subject::Link, &sound_cores(), &board, 10), NotChecked, "does not tell the speed");
    check(of(Subject::Link, &sound_cores(), &board, 0), Passed, "steady");
    check(seen(Subject::Link, now(|last| last.net.driver = Some("genet"))), Passed, "which can do 1000 Mbit/s");
}

#[test]
fn frames_with_errors_or_losses_fail() {
    check(seen(Subject::Frames, now(|last| last.sample.nic.rx_errors = 1)), Failed, "1 of 70 received");
    check(seen(Subject::Frames, now(|last| last.sample.nic.tx_errors = 2)), Failed, "2 of 65 sent");
    check(seen(Subject::Frames, now(|last| last.sample.nic.restarts = 1)), Failed, "1 restarts");
    check(seen(Subject::Frames, |seen| seen.answered = 57), Failed, "57 of 60 echoes");
    check(seen(Subject::Frames, |seen| seen.answered = 59), Passed, "59 of 60 echoes");
    check(seen(Subject::Frames, |seen| seen.answered = 0), Passed, "10.0.0.1 answers no echoes");
    check(seen(Subject::Frames, now(|last| last.sample.nic.rx_frames = 0)), NotChecked, "none arrived");
    check(seen(Subject::Frames, |seen| seen.link_since = None), NotChecked, "no link");
    let alone = |seen: &mut Seen| (seen.gateway, seen.asked, seen.answered) = (None, 0, 0);
    check(seen(Subject::Frames, alone), Passed, "no gateway");
}

#[test]
fn a_hot_board_fails() {
    check(seen(Subject::Temperature, |seen| seen.temperature_mc = Some((60_000, 80_000))), Failed, "80.0 C under load");
    check(seen(Subject::Temperature, |seen| seen.temperature_mc = Some((60_000, 79_999))), Passed, "");
    check(seen(Subject::Temperature, |seen| seen.temperature_mc = None), NotChecked, "");
}

#[test]
fn a_weak_power_supply_fails_whenever_it_was() {
    check(
        seen(Subject::Power, |seen| seen.throttled = Some(0x5_0005)),
        Failed,
        "under_voltage in the test, throttled in the test",
    );
    check(seen(Subject::Power, |seen| seen.throttled = Some(0x1_0000)), Failed, "under_voltage since boot");
    check(seen(Subject::Power, |seen| seen.throttled = Some(0x2)), Failed, "frequency_capped in the test");
    check(seen(Subject::Power, |seen| seen.throttled = Some(0x8_0008)), Passed, "as a 3B+ is by design");
    check(seen(Subject::Power, |seen| seen.throttled = None), NotChecked, "");
}

#[test]
fn bits_of_every_look_count() {
    let mut board = sound_board();
    let mut observation = board.last.clone().unwrap();
    observation.sample.throttled = Some(Throttled(0x1));
    board.take(observation.clone(), Duration::MIN);
    observation.sample.throttled = Some(Throttled(0));
    observation.sample.temperature_mc = Some(40_000);
    board.take(observation, Duration::MIN);
    assert_eq!((board.throttled, board.temperature_mc), (Some(1), Some((40_000, 55_000))));
    assert_eq!(board.gateway, Some(IpAddr::V4(GATEWAY)));
}

#[test]
fn a_clock_that_runs_away_fails() {
    let span = 60_000_000;
    for (ahead_us, error_us, outcome, text) in [
        (6_000i64, 0, Passed, "100 ppm"),
        (6_060, 0, Failed, "101 ppm"),
        (-6_060, 0, Failed, "-101 ppm"),
        (-9_000, 3_000, Passed, "-150 ppm against the time server, give or take 100"),
        (0, 4_000, NotChecked, "too slow"),
        (60_000, 4_000, Failed, "1000 ppm"),
    ] {
        let last = reading(span, span.saturating_add_signed(ahead_us), error_us);
        check(seen(Subject::Clock, |seen| seen.time = Some((reading(0, 0, error_us), last))), outcome, text);
    }
    for failure in [TimeFailure::NoServer, TimeFailure::NoAnswer] {
        let board = |seen: &mut Seen| (seen.time, seen.time_failure) = (None, Some(failure));
        check(seen(Subject::Clock, board), NotChecked, "time server");
    }
    check(seen(Subject::Clock, |seen| seen.time = Some((reading(1, 1, 0), reading(1, 1, 0)))), NotChecked, "at once");
}
