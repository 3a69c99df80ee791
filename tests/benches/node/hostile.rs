//! Slow and hostile clients, all at once: how much slower than without them who behaves is served.
//!
//! Asked with and without them in turns. What else this machine does makes a round slow, the node would make all of them slow:
//! the fastest of each counts.

use std::time::Duration;

use anyhow::Result;
use tests::crowd::{PORTS, Place};
use tests::lab::{Lab, say};

use crate::report::{Goal, Report};

const ROUNDS: u16 = 5;
/// How many times as long it may take.
const TIMES_MAX: f64 = 2.0;

const ROWS: [[&str; 2]; PORTS.len()] = [
    ["status page in a hostile crowd: times p50", "  times p90"],
    ["SSH login and command in a hostile crowd: times p50", "  times p90"],
    ["http in a hostile crowd: times p50", "  times p90"],
    ["kv in a hostile crowd: times p50", "  times p90"],
    ["echo in a hostile crowd: times p50", "  times p90"],
];

pub(crate) fn crowd(report: &mut Report) -> Result<()> {
    let place = Place::boot(Lab::new()?)?;
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        alone.push(place.ask_all()?);
        among.push(place.ask_all_in_a_crowd(round)?);
        // Until the last of them are gone.
        std::thread::sleep(Duration::from_secs(1));
    }
    place.check_that_sockets_were_not_taken()?;
    for (at, (port, rows)) in PORTS.into_iter().zip(ROWS).enumerate() {
        for (row, quantile) in rows.into_iter().zip([50, 90]) {
            let of = |round: &[Vec<Duration>; PORTS.len()]| round[at][round[at].len() * quantile / 100];
            let best = |rounds: &[[Vec<Duration>; PORTS.len()]]| rounds.iter().map(of).min().unwrap_or_default();
            let (alone, among) = (best(&alone), best(&among));
            say(&format!("port {port}: percentile {quantile}: {alone:?} alone, {among:?} in the crowd"));
            report.add(row, "x", among.as_secs_f64() / alone.as_secs_f64(), Goal::AtMost(TIMES_MAX), "");
        }
    }
    Ok(())
}
