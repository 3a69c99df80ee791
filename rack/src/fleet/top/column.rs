//! The columns of the table: what they show, and how nodes are sorted by them.

use std::cmp::{Ordering, Reverse};

use clap::ValueEnum;

use super::super::look::shown;
use super::feed::{State, Watched};
use super::figures::{Figures, Work};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Column {
    /// By name.
    Name,
    /// The busiest first.
    #[default]
    Cpu,
    /// Who receives most first.
    In,
    /// Who sends most first.
    Out,
    /// The hottest first.
    Temperature,
    /// The slowest clock first.
    Clock,
    /// Who is not well first.
    Health,
    /// Whose workloads do most first.
    Operations,
    /// Who was started last first.
    Uptime,
}

impl Column {
    const ALL: [Self; 9] = [
        Self::Name,
        Self::Cpu,
        Self::In,
        Self::Out,
        Self::Temperature,
        Self::Clock,
        Self::Health,
        Self::Operations,
        Self::Uptime,
    ];

    /// Returns its heading.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Name => "node",
            Self::Cpu => "cpu",
            Self::In => "in bit/s",
            Self::Out => "out bit/s",
            Self::Temperature => "temp",
            Self::Clock => "clock",
            Self::Health => "health",
            Self::Operations => "op/s",
            Self::Uptime => "up for",
        }
    }

    /// Returns the one to the right, or to the left.
    pub(super) fn beside(self, is_right: bool) -> Self {
        let at = Self::ALL.iter().position(|column| *column == self).unwrap_or(0);
        let step = if is_right { 1 } else { Self::ALL.len() - 1 };
        Self::ALL[(at + step) % Self::ALL.len()]
    }

    /// Compares what two nodes have in it.
    fn compare(self, a: &Figures, b: &Figures) -> Ordering {
        // `None` is less than any value, so it comes last.
        fn most<T: Ord>(a: T, b: T) -> Ordering {
            Reverse(a).cmp(&Reverse(b))
        }
        match self {
            Self::Name => Ordering::Equal,
            Self::Cpu => most(a.cpu(), b.cpu()),
            Self::In => most(a.rx.0, b.rx.0),
            Self::Out => most(a.tx.0, b.tx.0),
            Self::Temperature => most(a.temperature_mc, b.temperature_mc),
            Self::Clock => a.clock_hz.cmp(&b.clock_hz),
            Self::Health => most(sickness(a), sickness(b)),
            Self::Operations => most(a.operations(), b.operations()),
            Self::Uptime => a.uptime.cmp(&b.uptime),
        }
    }
}

fn sickness(figures: &Figures) -> u8 {
    match (figures.is_valid, figures.faults.is_some()) {
        (Some(false), _) => 3,
        (_, true) => 2,
        (None, false) => 1,
        (Some(true), false) => 0,
    }
}

/// Returns in which order nodes are shown: who does not answer comes last, and who is equal stays in the order of names.
pub(super) fn order(nodes: &[Watched], by: Column, is_reversed: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    let place = |watched: &Watched| {
        (watched.node.origin.to_string(), watched.node.number, watched.node.name.clone(), watched.node.address)
    };
    order.sort_by(|a, b| {
        let (a, b) = (&nodes[*a], &nodes[*b]);
        let names = || place(a).cmp(&place(b));
        match (a.figures(), b.figures()) {
            (Some(left), Some(right)) => {
                let by_value =
                    by.compare(left, right).then_with(|| if by == Column::Name { names() } else { Ordering::Equal });
                let by_value = if is_reversed { by_value.reverse() } else { by_value };
                by_value.then_with(names)
            }
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => names(),
        }
    });
    order
}

/// Returns the headings, with a mark at the one that sorts.
pub(super) fn headings(by: Column, is_reversed: bool) -> Vec<String> {
    let mark = if is_reversed { '^' } else { 'v' };
    let heading = |column: Column| {
        if column == by { format!("{} {mark}", column.heading()) } else { column.heading().to_owned() }
    };
    let mut headings: Vec<String> = Column::ALL.iter().map(|column| heading(*column)).collect();
    headings.insert(1, "where".into());
    headings.push("workloads".into());
    headings
}

/// Returns a node's row, with as many cells as there are [`headings`].
pub(super) fn row(watched: &Watched) -> Vec<String> {
    let node = &watched.node;
    let mut row = vec![node.name.clone(), node.origin.to_string()];
    let nothing = |health: &str, why: &str| ["-", "-", "-", "-", "-", health, "-", "-", why].map(str::to_owned);
    row.extend(match &watched.state {
        State::Asked => nothing("asked", "-"),
        State::Away(why) => nothing("DOES NOT ANSWER", why),
        State::Live(figures) => [
            or_dash(figures.cpu().map(percent)),
            or_dash(figures.rx.0.map(bits)),
            or_dash(figures.tx.0.map(bits)),
            or_dash(figures.temperature_mc.map(|mc| format!("{:.1}C", mc as f64 / 1000.0))),
            or_dash(figures.clock_hz.map(|hz| format!("{}MHz", hz / 1_000_000))),
            figures.health(),
            or_dash(figures.operations().map(short)),
            shown(figures.uptime),
            work(&figures.workloads),
        ],
    });
    row
}

/// Returns what a node runs, in a line.
fn work(workloads: &[Work]) -> String {
    let show = |w: &Work| if w.state == "running" { w.spec.clone() } else { format!("{} ({})", w.spec, w.state) };
    if workloads.is_empty() { "-".into() } else { workloads.iter().map(show).collect::<Vec<_>>().join("; ") }
}

pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

/// Returns thousandths as a percentage.
pub(super) fn percent(permille: u32) -> String {
    format!("{}.{}%", permille / 10, permille % 10)
}

/// Returns bytes a second in bits.
pub(super) fn bits(bytes: u64) -> String {
    short(bytes.saturating_mul(8))
}

/// Returns a number in four or five characters: `950`, `12.3k`, `1.2M`.
pub(super) fn short(number: u64) -> String {
    let (unit, name) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    };
    format!("{}.{}{name}", number / unit, number % unit * 10 / unit)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::node::tests::node;
    use super::super::figures::tests::figures;
    use super::*;

    /// Three nodes: one that is busy, one that is busier, one that is away.
    pub(in crate::fleet::top) fn nodes() -> Vec<Watched> {
        let states = [
            State::Live(Box::new(figures(250))),
            State::Away("QEMU ended with signal: 9".into()),
            State::Live(Box::new(Figures { rx: (Some(7), None), temperature_mc: None, ..figures(999) })),
        ];
        let watched = |(number, state)| Watched { state, ..Watched::new(node(&format!("pi-{number}"), number)) };
        (1..).zip(states).map(watched).collect()
    }

    #[test]
    fn nodes_are_sorted_and_the_dead_are_last() {
        let nodes = nodes();
        assert_eq!(order(&nodes, Column::Cpu, false), [2, 0, 1]);
        assert_eq!(order(&nodes, Column::Cpu, true), [0, 2, 1]);
        assert_eq!(order(&nodes, Column::In, false), [0, 2, 1]);
        assert_eq!(order(&nodes, Column::Temperature, false), [0, 2, 1]);
        assert_eq!(order(&nodes, Column::Name, false), [0, 2, 1]);
        assert_eq!(order(&nodes, Column::Name, true), [2, 0, 1]);
        // Equal in this, so in the order of names either way.
        assert_eq!(order(&nodes, Column::Health, true), [0, 2, 1]);
    }

    #[test]
    fn every_node_has_its_row() {
        let nodes = nodes();
        let count = headings(Column::Cpu, false).len();
        let live = "pi-1,rack test,25.0%,12.0k,2.0M,61.5C,600MHz,throttled,1.2k,1m 1s,cpu load=5%; kv (failed)";
        let away = "pi-2,rack test,-,-,-,-,-,DOES NOT ANSWER,-,-,QEMU ended with signal: 9";
        assert_eq!([row(&nodes[0]).join(","), row(&nodes[1]).join(",")], [live, away]);
        assert!(nodes.iter().all(|watched| row(watched).len() == count));
        assert_eq!(headings(Column::In, true)[3], "in bit/s ^");
    }

    #[test]
    fn columns_go_round() {
        assert_eq!((Column::Name.beside(false), Column::Uptime.beside(true)), (Column::Uptime, Column::Name));
        assert_eq!([999, 1_000, 12_345, 2_500_000, 3_000_000_000].map(short), ["999", "1.0k", "12.3k", "2.5M", "3.0G"]);
    }
}
