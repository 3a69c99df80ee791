//! Histories that are known to be good or bad, and random ones against a search through all orders.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use chance::Random;

use super::*;

/// An operation of client 1 on register 0; times in ms, an end of 0 is not known.
fn operation(action: Action, asked: u64, answered: u64) -> Operation {
    let answered = (answered > 0).then(|| Duration::from_millis(answered));
    Operation { client: 1, key: 0, action, asked: Duration::from_millis(asked), answered }
}

fn write(value: u64, asked: u64, answered: u64) -> Operation {
    operation(Action::Write(value), asked, answered)
}

fn read(value: u64, asked: u64, answered: u64) -> Operation {
    operation(Action::Read((value > 0).then_some(value)), asked, answered)
}

fn is_well(operations: &[Operation]) -> bool {
    match check(operations) {
        Verdict::Linearizable => true,
        Verdict::Violated(_) => false,
        Verdict::Undecided(_) => panic!("undecided: {operations:?}"),
    }
}

#[test]
fn histories_that_a_register_can_have_are_found_good() {
    assert!(is_well(&[]));
    assert!(is_well(&[read(0, 1, 2), write(1, 3, 4), read(1, 5, 6), write(2, 7, 8), read(2, 9, 10)]));
    // While a write is under way one may read the old value or the new one, and old before new.
    assert!(is_well(&[write(1, 1, 10), read(0, 2, 3), read(1, 4, 5), read(1, 11, 12)]));
    assert!(is_well(&[write(1, 1, 10), write(2, 2, 9), read(1, 3, 4), read(2, 5, 6)]));
    // What touches overlaps.
    assert!(is_well(&[write(1, 1, 5), read(0, 5, 6)]));
    // A write without an answer may take effect at once, late, or never.
    assert!(is_well(&[write(1, 1, 2), write(2, 3, 0), read(2, 4, 5), read(2, 8, 9)]));
    assert!(is_well(&[write(1, 1, 2), write(2, 3, 0), read(1, 4, 5), read(2, 8, 9)]));
    assert!(is_well(&[write(1, 1, 2), write(2, 3, 0), read(1, 4, 5), read(1, 8, 9)]));
    // The history of figure 2 (a) in Herlihy and Wing's paper, as a register: writes overlap, reads agree on one order.
    assert!(is_well(&[write(1, 1, 4), write(2, 3, 6), read(1, 5, 8), read(2, 7, 9)]));
    // Each register for itself.
    let other = Operation { key: 1, ..read(0, 5, 6) };
    assert!(is_well(&[write(1, 1, 2), other, read(1, 5, 6)]));
}

#[test]
fn histories_that_no_register_can_have_are_found_out() {
    // A lost write; a stale read; new, then old; a value from nowhere; one that was read before it was written.
    assert!(!is_well(&[write(1, 1, 2), read(0, 3, 4)]));
    assert!(!is_well(&[write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]));
    assert!(!is_well(&[write(1, 1, 2), write(2, 3, 9), read(2, 4, 5), read(1, 6, 7)]));
    assert!(!is_well(&[read(7, 1, 2)]));
    assert!(!is_well(&[read(1, 1, 2), write(1, 3, 4)]) && !is_well(&[read(1, 1, 2), write(1, 3, 0)]));
    // A write without an answer takes effect once: not old again after new.
    assert!(!is_well(&[write(1, 1, 2), write(2, 3, 0), read(2, 4, 5), read(1, 6, 7)]));
    // Two who saw two writes in different orders.
    let seen = [write(1, 1, 20), write(2, 1, 20), read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)];
    assert!(!is_well(&seen));
    // One bad key among good ones is named.
    let bad = Operation { key: 9, client: 3, ..read(5, 50, 60) };
    let Verdict::Violated(found) = check(&[write(1, 1, 2), read(1, 3, 4), bad]) else { panic!() };
    assert_eq!(found.len(), 1);
    let text = found[0].to_string();
    assert!(
        text.starts_with("client 3 read 5 from register 9 from 0.050s to 0.060s, but at that time it held nothing"),
        "{text}"
    );
}

/// Operations of three clients that overlap, a new value in every third, one after the other for long.
fn long(count: u64) -> Vec<Operation> {
    let one = |n: u64| match n % 3 {
        0 => write(n + 1, 10 * n + 1, 10 * n + 12),
        _ => read(n - n % 3 + 1, 10 * n + 1, 10 * n + 9),
    };
    (0..count).map(one).collect()
}

#[test]
fn what_is_remembered_of_a_long_history_is_short() {
    // Client by client, as they are recorded.
    let mut operations = long(100_000);
    operations.sort_by_key(|operation| operation.asked.as_millis() / 10 % 3);
    assert!(is_well(&operations));
    let mut search = Search::new(operations);
    (0..99_000).for_each(|number| search.mark(number, true));
    search.mark(99_070, true);
    let (full, rest) = search.done();
    assert_eq!((full, rest.len()), (99_000 / 64, 2));
    // What is undone is forgotten.
    search.mark(99_070, false);
    search.mark(100, false);
    assert_eq!((search.done().0, search.done().1.len()), (1, 99_000_usize.div_ceil(64) - 1));
    (0..99_000).rev().filter(|number| *number != 100).for_each(|number| search.mark(number, false));
    assert_eq!(search.done(), (0, &[][..]));
}

#[test]
fn a_stale_read_late_in_a_long_history_is_found() {
    let mut operations = long(30_000);
    operations.push(read(1, 400_000, 400_001));
    assert!(!is_well(&operations));
}

#[test]
fn a_violation_names_both_writes() {
    let Verdict::Violated(found) = check(&[write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]) else { panic!() };
    let text = found[0].to_string();
    assert!(
        text.contains("it held 2; 2 was written from 0.003s to 0.004s; 1 was written from 0.001s to 0.002s"),
        "{text}"
    );
}

/// Tries every order. Only for a few operations.
fn by_force(operations: &[Operation], held: Option<u64>) -> bool {
    // What was answered must have its place; the others may have one.
    let end = operations.iter().filter_map(|one| one.answered).min();
    let Some(end) = end else { return true };
    (0..operations.len()).any(|next| {
        let one = operations[next];
        let follows = match one.action {
            Action::Write(value) => Some(value),
            Action::Read(_) if one.answered.is_none() => return false,
            Action::Read(value) if value == held => value,
            Action::Read(_) => return false,
        };
        let mut rest = operations.to_vec();
        rest.remove(next);
        one.asked <= end && by_force(&rest, follows)
    })
}

#[test]
fn it_agrees_with_a_search_through_all_orders() {
    let mut random = Random::new(11);
    let mut counts = [0; 2];
    for round in 0..20_000 {
        let count = 1 + random.below(7);
        // With few values, which several have written, and with many, which only one has.
        let values = if round % 2 == 0 { 3 } else { 40 };
        let mut written = vec![0];
        let operations: Vec<_> = (0..count)
            .map(|_| {
                let asked = 1 + random.below(20);
                let answered = if random.below(4) == 0 { 0 } else { asked + random.below(10) };
                if random.below(2) == 0 {
                    let value = 1 + random.below(values);
                    written.push(value);
                    write(value, asked, answered)
                } else {
                    let value = written[usize::try_from(random.below(written.len() as u64)).unwrap()];
                    read(value, asked, answered)
                }
            })
            .collect();
        let expected = by_force(&operations, None);
        assert_eq!(is_well(&operations), expected, "{operations:?}");
        counts[usize::from(expected)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 3000), "{counts:?}");
}

/// Makes what clients of a register see, whose operations take effect at some moment between question and answer; some are never
/// answered, and some of those never take effect.
fn simulate(random: &mut Random, clients: u16, each: u64) -> Vec<Operation> {
    let mut all = Vec::new();
    for client in 0..clients {
        let mut now = random.below(1000);
        for number in 0..each {
            let (asked, effect) = (now, now + 1 + random.below(2000));
            let is_known = random.below(50) > 0;
            now = effect + 1 + random.below(2000);
            let happens = is_known || random.below(2) == 0;
            let key = random.below(3) as u32;
            let value = random.below(2).eq(&0).then_some((u64::from(client) << 32) + number + 1);
            all.push((effect, happens, client, key, value, asked, is_known.then_some(now)));
        }
    }
    all.sort_unstable();
    let mut held = [None; 3];
    let us = Duration::from_micros;
    let operation =
        |(_, happens, client, key, value, asked, answered): (u64, bool, u16, u32, Option<u64>, u64, Option<u64>)| {
            let register: &mut Option<u64> = &mut held[key as usize];
            let action = match value {
                Some(value) => {
                    if happens {
                        *register = Some(value);
                    }
                    Action::Write(value)
                }
                None => Action::Read(*register),
            };
            Operation { client, key, action, asked: us(asked), answered: answered.map(us) }
        };
    all.into_iter().map(operation).collect()
}

#[test]
fn a_register_passes_and_a_single_stale_read_does_not() {
    for seed in 1..=20 {
        let mut random = Random::new(seed);
        let mut history = simulate(&mut random, 8, 500);
        assert_eq!(check(&history), Verdict::Linearizable, "seed {seed}");
        // A read now gives the value before the last but one write that was answered before it was asked.
        let (at, stale) = history
            .iter()
            .enumerate()
            .skip(2000)
            .find_map(|(at, read)| {
                let (Action::Read(Some(_)), Some(_)) = (read.action, read.answered) else { return None };
                let mut older = history.iter().filter(|write| {
                    let is_older =
                        write.answered.is_some_and(|answered| answered + Duration::from_millis(50) < read.asked);
                    write.key == read.key && matches!(write.action, Action::Write(_)) && is_older
                });
                Some((at, older.next_back()?.action.value()))
            })
            .unwrap();
        history[at].action = Action::Read(stale);
        let Verdict::Violated(found) = check(&history) else { panic!("seed {seed}") };
        assert_eq!(found.len(), 1);
    }
}
