//! What the plane promises, over frames made by hand.

use super::*;
use crate::packet::tests::{ipv4_frame, is_good, tcp, udp};
use crate::view::State;

const ME: [u8; 4] = [10, 0, 0, 1];
const YOU: [u8; 4] = [10, 0, 0, 2];
const FRAMES: u64 = 10_000;

fn plane(faults: &[&str]) -> Plane {
    let mut plane = Plane::new();
    for fault in faults {
        add(&mut plane, fault, 0).unwrap();
    }
    plane
}

fn add(plane: &mut Plane, fault: &str, now_us: u64) -> Result<u32, AddError> {
    plane.add(Spec::parse(&mut fault.split_ascii_whitespace()).unwrap(), now_us)
}

fn numbered(number: u64) -> Vec<u8> {
    udp((ME, 1000), (YOU, 9), &number.to_be_bytes())
}

fn number(frame: &[u8]) -> u64 {
    u64::from_be_bytes(*frame[42..].first_chunk().unwrap())
}

/// Sends `count` numbered frames, one each `gap_us`, and returns what comes out, with when.
fn pass(plane: &mut Plane, count: u64, gap_us: u64) -> Vec<(u64, Vec<u8>)> {
    let mut out = vec![];
    for k in 0..count {
        let now = k * gap_us;
        collect(plane, now, &mut out);
        let frame = numbered(k);
        if plane.decide(Direction::Out, &frame, now) == Fate::Pass {
            out.push((now, frame));
        }
    }
    collect(plane, u64::MAX / 2, &mut out);
    out
}

/// Takes what is due until `now_us`, at the time at which it is.
fn collect(plane: &mut Plane, now_us: u64, out: &mut Vec<(u64, Vec<u8>)>) {
    while let Some(due) = plane.next_due_us(Direction::Out).filter(|due| *due <= now_us) {
        let frame = plane.take_due(Direction::Out, due).unwrap();
        out.push((due, frame.clone()));
        plane.give_back(frame);
    }
}

fn numbers(out: &[(u64, Vec<u8>)]) -> Vec<u64> {
    out.iter().map(|(_, frame)| number(frame)).collect()
}

#[test]
fn a_share_is_within_a_percentage_point() {
    const SEEDS: u64 = 10;
    for percent in [1, 5, 10, 50, 90] {
        let mut sum = 0;
        for seed in 0..SEEDS {
            let mut plane = plane(&[&format!("drop share={percent}% seed={seed}")]);
            let lost = FRAMES - pass(&mut plane, FRAMES, 10).len() as u64;
            assert_eq!(plane.totals().dropped, lost);
            // Losses are independent: a percentage point is at least 3.3 standard deviations here, and 2 at 50 %.
            if percent != 50 {
                assert!(lost.abs_diff(FRAMES * percent / 100) <= FRAMES / 100, "{percent} %: {lost}");
            }
            sum += lost;
        }
        assert!((sum / SEEDS).abs_diff(FRAMES * percent / 100) <= FRAMES / 200, "{percent} %: {sum} in {SEEDS} runs");
    }
}

#[test]
fn a_partition_is_exact_and_one_way_if_asked_for() {
    let mut both = plane(&["partition peer=10.0.0.2"]);
    let mut one_way = plane(&["partition dir=in"]);
    let (out, back) = (numbered(0), udp((YOU, 9), (ME, 1000), b"x"));
    let other = udp((ME, 1000), ([10, 0, 0, 3], 9), b"x");
    for k in 0..FRAMES {
        assert_eq!(both.decide(Direction::Out, &out, k), Fate::Gone);
        assert_eq!(both.decide(Direction::In, &back, k), Fate::Gone);
        assert_eq!(both.decide(Direction::Out, &other, k), Fate::Pass);
        assert_eq!(one_way.decide(Direction::Out, &out, k), Fate::Pass);
        assert_eq!(one_way.decide(Direction::In, &back, k), Fate::Gone);
    }
}

#[test]
fn the_same_packets_have_the_same_fate() {
    let run = |faults: &[&str], gap_us| numbers(&pass(&mut plane(faults), FRAMES, gap_us));
    let once = run(&["drop share=5%"], 10);
    assert_eq!(once, run(&["drop share=5%"], 1_000), "whenever they come");
    assert_eq!(once, run(&["drop share=5% for=10m"], 10), "however long it lasts");
    // Another fault's decisions have nothing to do with it.
    assert_eq!(once, run(&["drop share=5%", "delay time=uniform:1ms-2ms dir=in"], 10));
    assert_ne!(once, run(&["drop share=5% seed=2"], 10));
    // Nor has what passes beside it, or in the other direction.
    let mut plane = plane(&["drop share=5% peer=10.0.0.2"]);
    let run_beside: Vec<u64> = (0..FRAMES)
        .filter(|k| {
            plane.decide(Direction::Out, &udp((ME, 1), ([10, 0, 0, 9], 9), b"x"), *k);
            plane.decide(Direction::In, &udp((YOU, 9), (ME, 1), b"x"), *k);
            plane.decide(Direction::Out, &numbered(*k), *k) == Fate::Pass
        })
        .collect();
    let alone = run(&["drop share=5% peer=10.0.0.2"], 10);
    assert_eq!(run_beside, alone);
}

#[test]
fn decisions_of_neighbours_have_nothing_in_common() {
    // Of pairs of neighbours, a hundredth is lost when a tenth is. Standard deviation: some 12 (pairs overlap).
    let mut plane = plane(&["drop share=10%"]);
    let lost: Vec<bool> = (0..FRAMES).map(|k| plane.decide(Direction::Out, &numbered(k), k) == Fate::Gone).collect();
    for distance in [1, 2, 3, 7] {
        let pairs = (distance..lost.len()).filter(|k| lost[*k] && lost[*k - distance]).count();
        assert!(pairs.abs_diff(100) < 60, "{pairs} at distance {distance}");
    }
}

#[test]
fn a_delay_is_exact_and_keeps_the_order() {
    let mut fixed = plane(&["delay time=5ms"]);
    let out = pass(&mut fixed, FRAMES, 100);
    assert_eq!(numbers(&out), (0..FRAMES).collect::<Vec<_>>());
    assert!(out.iter().all(|(at, frame)| *at == number(frame) * 100 + 5_000));
    assert_eq!((fixed.totals().delayed, fixed.totals().overflowed), (FRAMES, 0));
    let mut jittery = plane(&["delay time=5ms jitter=4ms"]);
    let out = pass(&mut jittery, FRAMES, 100);
    assert_eq!(numbers(&out), (0..FRAMES).collect::<Vec<_>>());
    assert!(out.iter().all(|(at, frame)| (1_000..=9_000).contains(&(at - number(frame) * 100))));
    // Without neighbours to wait for, it is what was drawn: from 1 to 9 ms, 5 in the mean.
    let out = pass(&mut plane(&["delay time=5ms jitter=4ms for=10m"]), FRAMES, 20_000);
    let delays: Vec<_> = out.iter().map(|(at, frame)| at - number(frame) * 20_000).collect();
    let mean = delays.iter().sum::<u64>() / FRAMES;
    assert!(mean.abs_diff(5_000) < 100 && delays.iter().all(|delay| (1_000..=9_000).contains(delay)), "{mean}");
}

#[test]
fn a_frame_does_not_overtake_one_that_is_due_and_still_there() {
    let mut plane = plane(&["delay time=1ms share=50%"]);
    let mut held = vec![];
    for k in 0..100 {
        // Nobody takes the due ones for a while.
        if plane.decide(Direction::Out, &numbered(k), k * 2_000) == Fate::Pass {
            assert!(held.is_empty(), "{k} overtakes {held:?}");
        } else {
            held.push(k);
        }
    }
    let mut out = vec![];
    collect(&mut plane, u64::MAX / 2, &mut out);
    assert_eq!(numbers(&out), held);
}

#[test]
fn reordering_lets_others_overtake_and_loses_nothing() {
    let mut plane = plane(&["reorder share=10% time=1ms"]);
    let out = pass(&mut plane, FRAMES, 100);
    let order = numbers(&out);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..FRAMES).collect::<Vec<_>>());
    let late = out.iter().filter(|(at, frame)| *at == number(frame) * 100 + 1_000).count();
    assert!(late.abs_diff(1_000) <= 100, "{late}");
    assert!(order.windows(2).filter(|pair| pair[0] > pair[1]).count() > 500);
}

#[test]
fn duplicates_come_right_behind() {
    let mut plane = plane(&["duplicate share=20%"]);
    let mut out = vec![];
    for k in 0..FRAMES {
        if plane.decide(Direction::Out, &numbered(k), k) == Fate::Pass {
            out.push((k, numbered(k)));
        }
        collect(&mut plane, k, &mut out);
    }
    let order = numbers(&out);
    assert!(order.is_sorted());
    assert!((out.len() as u64 - FRAMES).abs_diff(2_000) <= 100, "{}", out.len());
    assert_eq!(plane.totals().duplicated, out.len() as u64 - FRAMES);
}

#[test]
fn damage_never_passes_a_check_unless_it_is_to() {
    let echo = ipv4_frame(YOU, ME, 1, &{
        let mut message = [8, 0, 0, 0, 1, 2, 3, 4, 5, 6];
        let sum = !crate::packet::tests::checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    });
    let frames =
        [numbered(7), tcp((YOU, 5), (ME, 6), b"seven"), tcp((YOU, 5), (ME, 6), b""), udp((YOU, 5), (ME, 6), b""), echo];
    for bits in 1..=8 {
        let mut plane = plane(&[&format!("corrupt bits={bits}")]);
        for frame in &frames {
            assert!(is_good(frame));
            for k in 0..1_000 {
                assert_eq!(plane.decide(Direction::In, frame, k), Fate::Gone);
                let damaged = plane.take_due(Direction::In, k).unwrap();
                let turned: u32 = damaged.iter().zip(frame).map(|(a, b)| (a ^ b).count_ones()).sum();
                assert_eq!((turned, damaged[..34] == frame[..34]), (bits, true), "headers up to IP are left alone");
                assert!(!is_good(&damaged), "{damaged:02x?}");
                plane.give_back(damaged);
            }
        }
    }
    let mut plane = plane(&["corrupt checksum=fixed bits=3"]);
    for frame in &frames[..2] {
        for k in 0..1_000 {
            assert_eq!(plane.decide(Direction::In, frame, k), Fate::Gone);
            let damaged = plane.take_due(Direction::In, k).unwrap();
            let data = if frame[23] == 17 { 42 } else { 54 };
            assert!(is_good(&damaged) && damaged[data..] != frame[data..], "{damaged:02x?}");
            plane.give_back(damaged);
        }
    }
    assert_eq!(plane.decide(Direction::In, &frames[2], 0), Fate::Pass, "there is no data to damage");
    assert_eq!(plane.decide(Direction::In, &[0; 14], 0), Fate::Pass);
}

#[test]
fn a_rate_is_kept_and_what_waits_too_long_is_lost() {
    // Frames of 50 bytes, 400 bits: 1 Mbit/s takes 2,500 a second. 5,000 come, so half of them is lost once the queue is full.
    let mut plane = plane(&["rate rate=1Mbit/s queue=10ms"]);
    let out = pass(&mut plane, FRAMES, 200);
    assert!(numbers(&out).is_sorted());
    let within = |from: u64, to: u64| out.iter().filter(|(at, _)| (from..to).contains(at)).count();
    for second in [0, 1] {
        let count = within(second * 1_000_000, (second + 1) * 1_000_000);
        // The bucket's 1,514 bytes come on top: 30 frames.
        assert!((2_500..=2_531).contains(&count), "{count} in second {second}");
    }
    assert!(out.iter().all(|(at, frame)| at - number(frame) * 200 <= 10_000));
    assert_eq!(plane.totals().dropped, FRAMES - out.len() as u64);
    // Below its rate, nothing happens.
    let mut idle = self::plane(&["rate rate=1Mbit/s"]);
    assert!(pass(&mut idle, 1_000, 500).iter().all(|(at, frame)| *at == number(frame) * 500));
}

#[test]
fn faults_come_one_after_the_other() {
    // 1 % of 5 ms, and 50 bytes in 400 us after it.
    let mut plane = plane(&["drop share=50%", "delay time=5ms", "rate rate=1Mbit/s"]);
    let out = pass(&mut plane, 100, 10_000);
    assert!((30..70).contains(&out.len()));
    assert!(out.iter().all(|(at, frame)| *at == number(frame) * 10_000 + 5_000));
}

#[test]
fn memory_is_bounded_and_given_back() {
    let mut plane = plane(&["delay time=1s for=1s"]);
    for k in 0..FRAMES {
        assert_eq!(plane.decide(Direction::In, &[7; 1514], k), Fate::Gone);
    }
    assert_eq!(plane.totals().overflowed, FRAMES - crate::held::MANY as u64);
    assert_eq!(plane.decide(Direction::In, &[7; 1515], 0), Fate::Gone, "longer than any frame");
    assert!(plane.is_busy(2_000_000));
    while plane.next_event(2_000_000).is_some() {}
    let mut frames = 0;
    while let Some(frame) = plane.take_due(Direction::In, 2_000_000) {
        frames += 1;
        plane.give_back(frame);
    }
    assert_eq!(frames, crate::held::MANY);
    assert!(!plane.held.has_memory() && !plane.is_busy(2_000_000));
    // And without faults, nothing was ever taken.
    assert!(!Plane::new().held.has_memory());
    let mut full = Plane::new();
    for _ in 0..RULES_MAX {
        add(&mut full, "drop", 0).unwrap();
    }
    assert_eq!(add(&mut full, "drop", 0), Err(AddError::Full));
    assert_eq!(full.clear(Some(3), 1), 1);
    while full.next_event(1).is_some() {}
    assert_eq!(add(&mut full, "drop", 1), Ok(RULES_MAX as u32 + 1));
}

#[test]
fn it_heals_by_itself_and_tells() {
    let mut plane = plane(&["drop after=1s for=2s"]);
    let frame = numbered(0);
    let fate = |plane: &mut Plane, now| plane.decide(Direction::Out, &frame, now);
    assert!(!plane.is_busy(0) && plane.next_event(0).is_none());
    assert_eq!(plane.views(0).next().map(|view| view.state), Some(State::Waiting));
    assert_eq!(plane.next_change_us(0), Some(1_000_000));
    assert_eq!(fate(&mut plane, 999_999), Fate::Pass);
    assert_eq!(fate(&mut plane, 1_000_000), Fate::Gone);
    let event = plane.next_event(1_000_000).unwrap();
    assert_eq!((event.moment, event.view.id, event.view.text.as_str()), (Moment::Began, 1, "drop after=1s for=2s"));
    assert!(plane.next_event(1_000_000).is_none());
    assert_eq!(plane.next_change_us(1_000_000), Some(3_000_000));
    assert_eq!(fate(&mut plane, 2_999_999), Fate::Gone);
    // On time, even when nobody has asked for events yet.
    assert_eq!(fate(&mut plane, 3_000_000), Fate::Pass);
    let event = plane.next_event(3_000_000).unwrap();
    assert_eq!((event.moment, event.view.matched, event.view.hits), (Moment::Healed, 2, 2));
    assert!(plane.next_event(3_000_000).is_none() && plane.views(3_000_000).next().is_none());
    assert_eq!(plane.next_change_us(3_000_000), None);
}

#[test]
fn no_beginning_and_no_end_is_missed() {
    let mut plane = plane(&["pause worker for=1s", "nic-off after=1s for=1s", "drop after=1m"]);
    let node = NodeFault::Pause("worker".try_into().unwrap());
    assert_eq!(plane.clear(Some(3), 500_000), 1);
    assert_eq!(plane.clear(Some(3), 500_000), 0);
    // Asked only when all is over.
    let told: Vec<_> =
        core::iter::from_fn(|| plane.next_event(9_000_000)).map(|e| (e.view.id, e.moment, e.fault)).collect();
    assert_eq!(
        told,
        [
            (1, Moment::Began, Some(node.clone())),
            (1, Moment::Healed, Some(node)),
            (2, Moment::Began, Some(NodeFault::NicOff)),
            (2, Moment::Healed, Some(NodeFault::NicOff)),
        ]
    );
    let id = add(&mut plane, "nic-off for=1s", 10_000_000).unwrap();
    assert!(plane.is_off(10_500_000) && !plane.is_off(11_000_000) && !plane.is_busy(10_500_000));
    assert_eq!(plane.next_event(10_500_000).map(|event| event.moment), Some(Moment::Began));
    assert_eq!(plane.clear(None, 10_600_000), 1);
    let event = plane.next_event(10_600_000).unwrap();
    assert_eq!((event.view.id, event.moment), (id, Moment::Cleared));
    assert!(!plane.is_off(10_600_000));
}

#[test]
fn what_is_held_goes_on_in_order_when_a_fault_ends() {
    let mut plane = plane(&["delay time=2s for=1s", "delay time=10ms peer-port=10 for=2s"]);
    for k in 0..100 {
        assert_eq!(plane.decide(Direction::Out, &numbered(k), k), Fate::Gone);
    }
    assert_eq!(plane.next_due_us(Direction::Out), Some(2_000_000));
    plane.tick(1_000_000);
    let mut out = vec![];
    collect(&mut plane, 1_000_000, &mut out);
    assert_eq!(numbers(&out), (0..100).collect::<Vec<_>>());
    assert_eq!(plane.decide(Direction::Out, &numbered(100), 1_000_001), Fate::Pass);
    // A pulled cable loses them instead.
    assert_eq!(plane.decide(Direction::Out, &udp((ME, 1), (YOU, 10), b"x"), 1_000_002), Fate::Gone);
    plane.lose_held();
    assert_eq!(plane.next_due_us(Direction::Out), None);
    assert_eq!(plane.decide(Direction::Out, &udp((ME, 1), (YOU, 10), b"x"), 1_500_000), Fate::Gone);
    assert_eq!(plane.next_due_us(Direction::Out), Some(1_510_000), "those that were lost are not waited for");
}
