//! An experiment as its file says it, checked with the node's own parsers before anything starts.

mod check;
mod parts;
mod template;

use std::time::Duration;

use toml::de::DeTable;

pub(crate) use self::check::fault_time;
pub(crate) use self::template::Template;
use super::measure::{Expectation, Measure, Scope};
use super::mistake::Mistake;
use super::reader::{Reader, Table, Text};

const KEYS: [&str; 10] =
    ["name", "about", "seed", "roles", "phases", "faults", "actions", "controllers", "history", "expect"];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Experiment {
    pub(crate) name: String,
    /// What it is about, in a sentence or two.
    pub(crate) about: String,
    pub(crate) seed: u64,
    /// In the order in which they are started.
    pub(crate) roles: Vec<Role>,
    pub(crate) phases: Vec<Phase>,
    /// What happens, in the order of time.
    pub(crate) events: Vec<Event>,
    pub(crate) controllers: Vec<Controller>,
    /// Clients of stores, whose history is checked.
    pub(crate) history: Option<History>,
    pub(crate) expectations: Vec<Expectation>,
    /// What makes a run worthless.
    pub(crate) void: Vec<&'static str>,
}

/// How well a node has to be to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// However it is.
    Any,
    /// Nothing is known to be wrong.
    Well,
    /// It is known that nothing is wrong.
    Known,
}

/// Nodes that do the same.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) count: usize,
    /// The only nodes that can be taken, by name; any when empty.
    pub(crate) nodes: Vec<String>,
    /// What the board's model has to contain.
    pub(crate) board: Option<String>,
    pub(crate) health: Health,
    pub(crate) workloads: Vec<RoleWorkload>,
    /// At the beginning of which phase its workloads start; before the first without it.
    pub(crate) start: Option<usize>,
}

/// What a node of a role runs.
#[derive(Clone, Debug)]
pub(crate) struct RoleWorkload {
    pub(crate) template: Template,
    /// The workload's name.
    pub(crate) name: &'static str,
    /// What it is called on its node.
    pub(crate) id: String,
}

/// A part of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) name: String,
    /// From the beginning of the first phase.
    pub(crate) start: Duration,
    pub(crate) length: Duration,
    /// The role whose workloads end this phase when all have finished: only of the last phase.
    pub(crate) until: Option<String>,
}

/// Something that happens to nodes.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) on: Target,
    pub(crate) what: Deed,
}

/// To whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) role: String,
    /// Which of them; all without it.
    pub(crate) index: Option<usize>,
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// The words of `fault add`.
    Fault(Template),
    Start(RoleWorkload),
    Set(Template),
    Stop(String),
    Restart(String),
    /// The workloads of the role are started.
    Enter,
}

/// Adds and removes nodes of a role by a measure.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    pub(crate) role: String,
    pub(crate) measure: Measure,
    /// From this on one more works.
    pub(crate) add: f64,
    /// Up to this one less works.
    pub(crate) remove: f64,
    pub(crate) min: usize,
    pub(crate) max: usize,
    /// How long it leaves things alone after a change.
    pub(crate) hold: Duration,
}

/// Clients that write to stores and read from them, from the first phase to the end of the last.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The nodes that clients know, the usual ones first.
    pub(crate) stores: Vec<Target>,
    pub(crate) clients: u16,
    pub(crate) keys: u32,
    pub(crate) pace: Duration,
    pub(crate) timeout: Duration,
}

impl Experiment {
    /// Reads a file's text.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, Vec<Mistake>> {
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mistake = |error: &toml::de::Error| Mistake::new(error.span().unwrap_or(0..0), error.message());
            return Err(errors.iter().map(mistake).collect());
        }
        let reader = Reader::new(text);
        let found = Self::read_document(&Table::new(&reader, document.get_ref(), 0..0, &KEYS));
        let mistakes = reader.mistakes();
        found.filter(|_| mistakes.is_empty()).ok_or(mistakes)
    }

    fn read_document(table: &Table<'_>) -> Option<Self> {
        let name = table.required("name", "name = \"worker-lost\"", table.text("name"));
        if let Some(name) = name.as_ref().filter(|name| name.text.is_empty() || name.text.contains('/')) {
            let wrong = format!("'{}' can't be the name of an experiment, and of its report's file", name.text);
            table.note(Mistake::new(name.span.clone(), wrong).help("use letters, digits, '-' and '_'"));
        }
        let name = name.map(|name| name.text);
        let seed = table.number("seed", 0..=u64::MAX).unwrap_or(1);
        let phases = parts::phases(table);
        let roles = parts::roles(table, &phases);
        if let (Some(phase), names) = (phases.last(), roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>()) {
            parts::check_until(table, phase, &names);
        }
        let history = parts::history(table, &roles);
        let scope = Scope { roles: &roles, phases: &phases, has_history: history.is_some() };
        let events = parts::events(table, scope, seed);
        let controllers = parts::controllers(table, scope);
        let (expectations, void) = parts::expectations(table, scope);
        let about = table.text("about").map(|about| about.text).unwrap_or_default();
        let name = name?;
        Some(Self { name, about, seed, roles, phases, events, controllers, history, expectations, void })
    }

    /// Returns how many nodes it needs.
    pub(crate) fn node_count(&self) -> usize {
        self.roles.iter().map(|role| role.count).sum()
    }

    /// Returns what a node of a role has under an id: by its role, or because an action starts it.
    pub(crate) fn workload<'a>(&'a self, role: &'a Role, index: usize, id: &str) -> Option<&'a RoleWorkload> {
        let is_meant = |on: &Target| on.role == role.name && on.index.is_none_or(|wanted| wanted == index);
        let started = self.events.iter().filter(|event| is_meant(&event.on)).filter_map(|event| match &event.what {
            Deed::Start(workload) => Some(workload),
            _ => None,
        });
        role.workloads.iter().chain(started).find(|workload| workload.id == id)
    }

    /// Returns how long it takes at most, from the first phase on.
    pub(crate) fn length(&self) -> Duration {
        self.phases.last().map_or(Duration::ZERO, |phase| phase.start + phase.length)
    }
}

/// Reads `PHASE`, `PHASE+2s` or `2s`, from the beginning of the first phase.
fn moment(text: &Text, phases: &[Phase]) -> Result<Duration, Mistake> {
    let (phase, offset) = match text.text.split_once('+') {
        Some((phase, offset)) => (Some(phase.trim()), Some(offset.trim())),
        None if super::reader::time(&text.text).is_some() => (None, Some(text.text.as_str())),
        None => (Some(text.text.as_str()), None),
    };
    let start = match phase {
        None => Duration::ZERO,
        Some(name) => match phases.iter().find(|phase| phase.name == name) {
            Some(phase) => phase.start,
            None => {
                let known: Vec<_> = phases.iter().map(|phase| phase.name.as_str()).collect();
                return Err(Mistake::unknown(text.place(name), "phase", name, &known));
            }
        },
    };
    let offset = match offset {
        None => Duration::ZERO,
        Some(offset) => super::reader::time(offset).ok_or_else(|| {
            Mistake::new(text.place(offset), format!("'{offset}' is no time")).help("such as \"run+2s\" or \"12s\"")
        })?,
    };
    let (at, end) = (start + offset, phases.last().map_or(Duration::ZERO, |phase| phase.start + phase.length));
    if at > end {
        return Err(Mistake::new(
            text.span.clone(),
            format!("this is after the end, which is {end:?} after the beginning"),
        ));
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
