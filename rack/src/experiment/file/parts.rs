//! The tables of the file.

use std::time::Duration;

use telemetry::health::Reason;

use super::super::measure::{Expectation, Measure, Scope};
use super::super::mistake::Mistake;
use super::super::reader::{Table, Text};
use super::template::Template;
use super::{Controller, Deed, Event, Health, History, Phase, Role, Target, check, moment};

/// Most nodes of a role.
const COUNT_MAX: u64 = 100;
/// What makes a run void besides what the nodes' health knows.
pub(crate) const VOID_OTHERS: [&str; 4] = ["lost", "rebooted", "version", "failed"];

/// Keeps a value, or notes what is wrong with it.
fn keep<T>(table: &Table<'_>, found: Result<T, Mistake>) -> Option<T> {
    found.map_err(|mistake| table.note(mistake)).ok()
}

/// Notes names that are given twice, and what can't be one.
fn check_name<'a>(table: &Table<'_>, name: &Text, what: &str, mut others: impl Iterator<Item = &'a str>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.text.is_empty() || !name.text.chars().all(is_word) || name.text == "index" {
        let wrong = format!("'{}' can't be the name of a {what}", name.text);
        table.note(Mistake::new(name.span.clone(), wrong).help("use letters, digits, '-' and '_'"));
    }
    if others.any(|other| other == name.text) {
        table.note(Mistake::new(name.span.clone(), format!("there are two {what}s '{}'", name.text)));
    }
}

pub(super) fn phases(table: &Table<'_>) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let tables = table.tables("phases", &["name", "for", "until"]);
    if tables.is_empty() {
        let what = Mistake::new(0..0, "there is no phase");
        table.note(what.help("write [[phases]] with name = \"run\" and for = \"10s\""));
    }
    let last = tables.len().saturating_sub(1);
    for (number, part) in tables.iter().enumerate() {
        let name = part.required("name", "name = \"run\"", part.text("name"));
        let length = part.required("for", "for = \"10s\"", part.time("for"));
        let until = part.text("until");
        if let Some(until) = until.as_ref().filter(|_| number != last) {
            part.note(Mistake::new(until.span.clone(), "only the last phase can end earlier"));
        }
        let name = name.unwrap_or_default();
        check_name(part, &name, "phase", phases.iter().map(|phase| phase.name.as_str()));
        let start = phases.last().map_or(Duration::ZERO, |phase| phase.start + phase.length);
        let until = until.map(|until| until.text);
        phases.push(Phase { name: name.text, start, length: length.unwrap_or_default(), until });
    }
    phases
}

/// Notes an `until` that names no role.
pub(super) fn check_until(table: &Table<'_>, phase: &Phase, roles: &[&str]) {
    let Some(until) = phase.until.as_deref().filter(|until| !roles.contains(until)) else { return };
    let tables = table.tables("phases", &["name", "for", "until"]);
    let span = tables.last().and_then(|part| part.text("until")).map_or(0..0, |text| text.span);
    table.note(Mistake::unknown(span, "role", until, roles));
}

pub(super) fn roles(table: &Table<'_>, phases: &[Phase]) -> Vec<Role> {
    let named = table.named("roles", &["count", "nodes", "board", "health", "workloads", "start"]);
    if named.is_empty() {
        table.note(Mistake::new(0..0, "there is no role").help("write [roles.NAME] with what its nodes run"));
    }
    let mut roles: Vec<Role> = Vec::new();
    for (name, part) in &named {
        check_name(part, name, "role", roles.iter().map(|role| role.name.as_str()));
        let nodes: Vec<_> = part.texts("nodes").into_iter().map(|text| text.text).collect();
        let default = if nodes.is_empty() { 1 } else { nodes.len() };
        let count = part.number("count", 1..=COUNT_MAX).and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
        if !nodes.is_empty() && nodes.len() < count {
            let what = format!("role {} needs {count} nodes, and {} are named", name.text, nodes.len());
            part.note(Mistake::new(part.span.clone(), what));
        }
        let health = part.text("health").and_then(|text| {
            let known = ["any", "well", "known"];
            let found = [Health::Any, Health::Well, Health::Known];
            let at = known.iter().position(|known| *known == text.text);
            keep(part, at.ok_or_else(|| Mistake::unknown(text.span.clone(), "health", &text.text, &known)))
                .and_then(|at| found.get(at).copied())
        });
        let start = part.text("start").and_then(|text| {
            let known: Vec<_> = phases.iter().map(|phase| phase.name.as_str()).collect();
            let at = known.iter().position(|known| *known == text.text);
            keep(part, at.ok_or_else(|| Mistake::unknown(text.span.clone(), "phase", &text.text, &known)))
        });
        roles.push(Role {
            name: name.text.clone(),
            count,
            nodes,
            board: part.text("board").map(|board| board.text),
            health: health.unwrap_or(Health::Well),
            workloads: Vec::new(),
            start,
        });
    }
    // Roles may name each other.
    for (at, (_, part)) in named.iter().enumerate() {
        let mut workloads: Vec<super::RoleWorkload> = Vec::new();
        for text in part.texts("workloads") {
            let span = text.span.clone();
            let read = Template::read(text, &roles).and_then(check::workload);
            let Some(workload) = keep(part, read) else { continue };
            if workloads.iter().any(|other| other.id == workload.id) {
                let what = format!("two workloads of this role are called '{}'", workload.id);
                part.note(Mistake::new(span, what).help("give one of them another name: id=NAME"));
            }
            workloads.push(workload);
        }
        if let Some(role) = roles.get_mut(at) {
            role.workloads = workloads;
        }
    }
    roles
}

pub(super) fn events(table: &Table<'_>, scope: Scope<'_>, seed: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for role in scope.roles {
        if let Some(phase) = role.start.and_then(|at| scope.phases.get(at)) {
            let on = Target { role: role.name.clone(), index: None };
            events.push(Event { at: phase.start, on, what: Deed::Enter });
        }
    }
    for (number, part) in (0..).zip(table.tables("faults", &["at", "on", "fault"])) {
        let text = part.required("fault", "fault = \"drop share=5% for=5s\"", part.text("fault"));
        let deed = text.and_then(|text| {
            let template = keep(&part, Template::read(text, scope.roles))?;
            // Another one for each fault of the file.
            keep(&part, check::fault(template, seed.wrapping_mul(1000).wrapping_add(number)))
        });
        events.extend(event(&part, scope, deed.map(Deed::Fault)));
    }
    for part in table.tables("actions", &["at", "on", "start", "stop", "set", "restart"]) {
        let deed = action(&part, scope);
        events.extend(event(&part, scope, deed));
    }
    events.sort_by_key(|event| event.at);
    events
}

fn event(part: &Table<'_>, scope: Scope<'_>, what: Option<Deed>) -> Option<Event> {
    let at = part.required("at", "at = \"run+2s\"", part.text("at"));
    let at = at.and_then(|text| keep(part, moment(&text, scope.phases)));
    let on = part.required("on", "on = \"worker[0]\"", part.text("on"));
    let on = on.and_then(|text| keep(part, check::target(&text, scope.roles)));
    Some(Event { at: at?, on: on?, what: what? })
}

fn action(part: &Table<'_>, scope: Scope<'_>) -> Option<Deed> {
    const VERBS: [&str; 4] = ["start", "stop", "set", "restart"];
    let given: Vec<_> = VERBS.into_iter().filter(|verb| part.has(verb)).collect();
    let [verb] = given[..] else {
        let what = "an action is one of start, stop, set and restart";
        part.note(Mistake::new(part.span.clone(), what).help("such as set = \"source rate=200\""));
        return None;
    };
    let role = part.text("on").and_then(|on| check::target(&on, scope.roles).ok());
    let workloads =
        role.and_then(|on| scope.roles.iter().find(|role| role.name == on.role)).map(|role| &role.workloads);
    let template = keep(part, Template::read(part.text(verb)?, scope.roles))?;
    let id = template.text.text.clone();
    match verb {
        "start" => keep(part, check::workload(template)).map(Deed::Start),
        "set" => {
            keep(part, check::change(&template, workloads?))?;
            Some(Deed::Set(template))
        }
        _ => {
            // What an action has started may be stopped by another, too.
            if !["all"].contains(&id.as_str()) && workloads.is_some_and(|known| !known.is_empty()) {
                keep(part, check::find(&template, &id, workloads?))?;
            }
            Some(if verb == "stop" { Deed::Stop(id) } else { Deed::Restart(id) })
        }
    }
}

pub(super) fn controllers(table: &Table<'_>, scope: Scope<'_>) -> Vec<Controller> {
    let known = ["role", "measure", "add", "remove", "min", "max", "hold"];
    let mut controllers = Vec::new();
    for part in table.tables("controllers", &known) {
        let role = part.required("role", "role = \"worker\"", part.text("role"));
        let role = role.and_then(|text| keep(&part, check::target(&text, scope.roles)));
        let measure = part.required("measure", "measure = \"depth of queue\"", part.text("measure"));
        let measure = measure.and_then(|text| keep(&part, Measure::read(&text, &text.text, scope)));
        let number = |key: &str| part.number(key, 0..=u64::from(u32::MAX));
        let add = part.required("add", "add = 50", number("add"));
        let remove = part.required("remove", "remove = 5", number("remove"));
        let count = |key: &str| part.number(key, 0..=COUNT_MAX).and_then(|n| usize::try_from(n).ok());
        let (min, max) = (count("min").unwrap_or(1), count("max"));
        let hold = part.time("hold").unwrap_or(Duration::from_secs(3));
        let (Some(role), Some(measure), Some(add), Some(remove)) = (role, measure, add, remove) else { continue };
        let nodes = scope.roles.iter().find(|known| known.name == role.role).map_or(0, |role| role.count);
        let max = max.unwrap_or(nodes);
        if remove >= add || min > max || max > nodes {
            let what =
                format!("add has to be above remove, and 0 <= min <= max <= {nodes}, the nodes of {}", role.role);
            part.note(Mistake::new(part.span.clone(), what));
        }
        // Exact for numbers of 32 bits.
        controllers.push(Controller {
            role: role.role,
            measure,
            add: add as f64,
            remove: remove as f64,
            min,
            max,
            hold,
        });
    }
    controllers
}

pub(super) fn history(table: &Table<'_>, roles: &[Role]) -> Option<History> {
    let part = table.table("history", &["stores", "clients", "keys", "pace", "timeout"])?;
    let texts = part.required("stores", "stores = [\"primary\", \"replica\"]", Some(part.texts("stores")))?;
    let stores: Vec<Target> = texts.iter().filter_map(|text| keep(&part, check::target(text, roles))).collect();
    let number = |key: &str, max, default| part.number(key, 1..=max).unwrap_or(default);
    Some(History {
        stores,
        clients: u16::try_from(number("clients", 64, 4)).unwrap_or(4),
        keys: u32::try_from(number("keys", 1000, 4)).unwrap_or(4),
        pace: part.time("pace").unwrap_or(Duration::from_millis(20)),
        timeout: part.time("timeout").filter(|timeout| !timeout.is_zero()).unwrap_or(Duration::from_secs(1)),
    })
}

pub(super) fn expectations(table: &Table<'_>, scope: Scope<'_>) -> (Vec<Expectation>, Vec<&'static str>) {
    let all = || Reason::ALL.iter().map(|reason| reason.name()).chain(VOID_OTHERS);
    let Some(part) = table.table("expect", &["that", "void"]) else {
        let what = Mistake::new(0..0, "nothing is expected");
        table.note(what.help("write [expect] with that = [\"lost == 0\"]"));
        return (Vec::new(), all().collect());
    };
    let texts = part.required("that", "that = [\"lost == 0\"]", Some(part.texts("that"))).unwrap_or_default();
    let expectations = texts.iter().filter_map(|text| keep(&part, Expectation::read(text, scope))).collect();
    if !part.has("void") {
        return (expectations, all().collect());
    }
    let known: Vec<_> = all().collect();
    let find = |text: Text| {
        let found = all().find(|known| *known == text.text);
        keep(&part, found.ok_or_else(|| Mistake::unknown(text.span.clone(), "condition", &text.text, &known)))
    };
    (expectations, part.texts("void").into_iter().filter_map(find).collect())
}
