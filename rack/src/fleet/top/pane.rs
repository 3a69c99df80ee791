//! The lines below the table: one node in detail, or its log.

use super::super::lan::plain;
use super::super::look::shown;
use super::column::{bits, or_dash, percent, short};
use super::feed::{State, Watched};
use super::figures::Figures;

/// Lines for details: a heading, three of the node, and four workloads.
pub(super) const DETAILS_HEIGHT: u16 = 8;
/// Lines that a page of the log goes up or down.
pub(super) const PAGE: usize = 8;

/// Returns what is known of a node.
pub(super) fn details(watched: &Watched) -> Vec<String> {
    let node = &watched.node;
    let mut lines = vec![format!(
        "{} at {} ({}){}",
        node.board,
        node.address.ip(),
        node.origin,
        node.number.map_or_else(String::new, |number| format!(", number {number}"))
    )];
    match &watched.state {
        State::Asked => lines.push("it has not answered yet".into()),
        State::Away(why) => lines.push(format!("it does not answer: {why}")),
        State::Live(figures) => lines.extend(figures_of(figures)),
    }
    lines
}

fn figures_of(figures: &Figures) -> Vec<String> {
    let cores: Vec<String> = figures.cores.iter().map(|core| or_dash(core.map(percent))).collect();
    let frames = |count: Option<u64>| or_dash(count.map(short));
    let mut lines = vec![
        format!(
            "cores {}   frames/s in {} out {} lost {}   up for {}",
            cores.join(" "),
            frames(figures.rx.1),
            frames(figures.tx.1),
            frames(figures.lost),
            shown(figures.uptime)
        ),
        match &figures.faults {
            Some(faults) => format!("health {}; {faults}", figures.health()),
            None => format!("health {}", figures.health()),
        },
    ];
    lines.extend(figures.workloads.iter().map(|work| {
        let took = work
            .operation_duration
            .map_or_else(String::new, |took| format!("  p50 {}  p99 {}", time(took.p50_us), time(took.p99_us)));
        format!(
            "core {} {} ({})  {} op/s  {} bit/s  {} busy  {} errors{took}",
            work.core,
            work.spec,
            work.state,
            or_dash(work.operations_per_second.map(short)),
            or_dash(work.bytes_per_second.map(bits)),
            or_dash(work.busy_permille.map(percent)),
            work.errors,
        )
    }));
    lines
}

/// Returns the last `count` log lines above the `scrolled` ones at the end; that is not more than there are.
pub(super) fn log(watched: &Watched, count: usize, scrolled: &mut usize) -> Vec<String> {
    *scrolled = (*scrolled).min(watched.log.len().saturating_sub(count));
    let end = watched.log.len() - *scrolled;
    let lines: Vec<String> = watched
        .log
        .range(end.saturating_sub(count)..end)
        .map(|line| {
            let missed = if line.missed > 0 { format!("({} lines are lost) ", line.missed) } else { String::new() };
            let at = line.at_us / 1000;
            format!("{:6}.{:03} {:5} {missed}{}", at / 1000, at % 1000, plain(&line.level), plain(&line.text))
        })
        .collect();
    if lines.is_empty() && count > 0 { vec!["it has said nothing yet".into()] } else { lines }
}

fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::super::column::tests::nodes;
    use super::*;

    pub(in crate::fleet::top) fn line(number: u32) -> Value {
        json!({ "at_us": 1_234_567, "level": "warn", "core": 0, "text": format!("line {number} \u{1b}[2J"), "missed": number % 2 })
    }

    #[test]
    fn details_say_all_that_is_known() {
        let nodes = nodes();
        let expected = [
            "raspi3b at 10.77.0.11 (rack test), number 1",
            "cores 25.0% 25.0% - 25.0%   frames/s in 3 out 4 lost 0   up for 1m 1s",
            "health throttled",
            "core 1 cpu load=5% (running)  1.2k op/s  0 bit/s  5.0% busy  0 errors  p50 80 us  p99 1.5 ms",
            "core 2 kv (failed)  - op/s  - bit/s  - busy  0 errors",
        ];
        assert_eq!(details(&nodes[0]), expected);
        assert_eq!(details(&nodes[1])[1], "it does not answer: QEMU ended with signal: 9");
    }

    #[test]
    fn a_terminal_obeys_no_log_line() {
        let mut watched = nodes().remove(0);
        watched.log.extend(serde_json::from_value(line(1)));
        assert_eq!(log(&watched, 5, &mut 9), ["     1.234 warn  (1 lines are lost) line 1 \u{fffd}[2J"]);
    }
}
