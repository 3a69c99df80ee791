//! Clients against stores with one fault each.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::slice;
use std::sync::Mutex;

use super::*;
use crate::history::check::{Verdict, check};

/// How a store behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Good,
    /// Forgets every tenth write that it has acknowledged.
    Forgetful,
    /// Reads what was there some writes ago.
    Stale,
    /// Refuses writes.
    ReadOnly,
    /// Does every tenth write and does not answer it.
    Silent,
}

#[derive(Default)]
struct Store {
    values: HashMap<String, Vec<String>>,
    writes: u64,
}

/// Starts a store and returns how to reach it. It ends with the test.
fn store(manner: Manner) -> Dial {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(Mutex::new(Store::default()));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let state = state.clone();
            thread::spawn(move || serve(stream.unwrap(), &state, manner));
        }
    });
    Arc::new(move || TcpStream::connect(address).map(Stream::Tcp))
}

fn serve(mut stream: TcpStream, state: &Mutex<Store>, manner: Manner) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    // The number of words, and each with its length before it.
    while let Some(count) = lines.next() {
        let count: usize = count[1..].parse().unwrap();
        let words: Vec<String> = (0..count).map(|_| lines.by_ref().nth(1).unwrap()).collect();
        let mut store = state.lock().unwrap();
        let reply = match (words[0].as_str(), manner) {
            ("SET", Manner::ReadOnly) => "-READONLY no\r\n".to_owned(),
            ("SET", _) => {
                store.writes += 1;
                let is_tenth = store.writes.is_multiple_of(10);
                if !(is_tenth && manner == Manner::Forgetful) {
                    store.values.entry(words[1].clone()).or_default().push(words[2].clone());
                }
                if is_tenth && manner == Manner::Silent {
                    continue;
                }
                "+OK\r\n".into()
            }
            ("GET", _) => {
                let values = store.values.get(&words[1]).map_or(&[][..], Vec::as_slice);
                let back = if manner == Manner::Stale { 4 } else { 1 };
                match values.get(values.len().saturating_sub(back)) {
                    Some(value) => format!("${}\r\n{value}\r\n", value.len()),
                    None => "$-1\r\n".into(),
                }
            }
            (other, _) => panic!("{other}"),
        };
        drop(store);
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// An answer takes longer only if there is none: the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has clients at work for as long as it takes until a history is long enough: half a second, or longer and longer.
fn record(stores: &[Dial], timeout: Duration, is_enough: impl Fn(&History) -> bool) -> History {
    let plan = Plan { stores: stores.to_vec(), clients: 4, keys: 2, pace: Duration::from_millis(1), timeout, seed: 1 };
    for doublings in 0..6 {
        let recorder = Recorder::start(&plan);
        thread::sleep(Duration::from_millis(500 << doublings));
        let history = recorder.stop();
        if is_enough(&history) {
            return history;
        }
    }
    panic!("clients do nothing");
}

fn is_long(history: &History) -> bool {
    history.operations.len() > 100 && history.kept.len() > 20
}

fn missing(history: &History, store: &Dial) -> Vec<String> {
    lost(history, store, Duration::from_secs(5)).unwrap()
}

#[test]
fn a_good_store_has_a_good_history_and_loses_nothing() {
    let store = store(Manner::Good);
    let history = record(slice::from_ref(&store), PATIENCE, is_long);
    assert_eq!((history.refused, history.unknown), (0, 0), "{:?}", history.trouble);
    assert_eq!(check(&history.operations), Verdict::Linearizable);
    assert_eq!(missing(&history, &store), Vec::<String>::new());
}

#[test]
fn silence_is_the_longest_time_between_two_answers() {
    let ms = Duration::from_millis;
    let answered = |at: Option<u64>| {
        let (client, key, action) = (0, 0, Action::Read(None));
        Operation { client, key, action, asked: ms(1), answered: at.map(ms) }
    };
    let operations = [Some(150), Some(100), None, Some(900)].map(answered);
    assert_eq!(silence(&operations, ms(1000)), ms(750));
    assert_eq!([silence(&operations, ms(2000)), silence(&[], ms(70))], [ms(1100), ms(70)]);
}

#[test]
fn stores_that_forget_or_are_behind_are_found_out() {
    let forgetful = store(Manner::Forgetful);
    let history = record(slice::from_ref(&forgetful), PATIENCE, is_long);
    assert!(matches!(check(&history.operations), Verdict::Violated(_)));
    let lost = missing(&history, &forgetful).len();
    assert!(lost > 0 && lost < history.kept.len() / 2, "{lost} of {}", history.kept.len());
    let stale = record(&[store(Manner::Stale)], PATIENCE, is_long);
    assert!(matches!(check(&stale.operations), Verdict::Violated(_)));
}

#[test]
fn a_write_without_an_answer_may_have_happened_and_is_not_held_against_the_store() {
    let silent = store(Manner::Silent);
    let history = record(slice::from_ref(&silent), Duration::from_millis(200), |history| {
        history.unknown > 2 && history.operations.iter().any(|operation| operation.answered.is_none())
    });
    assert_eq!(check(&history.operations), Verdict::Linearizable);
    assert!(missing(&history, &silent).is_empty());
}

#[test]
fn clients_go_on_to_the_store_that_takes_their_writes() {
    let nobody: Dial = Arc::new(|| Err(io::Error::other("not there")));
    let good = store(Manner::Good);
    let history = record(&[nobody, store(Manner::ReadOnly), good.clone()], PATIENCE, |history| history.kept.len() > 10);
    // Reads of the store that takes no writes give nothing until the first writes elsewhere: no register does that.
    assert!(history.refused >= 8 && history.unknown == 0, "{history:?}");
    assert!(missing(&history, &good).is_empty());
}
