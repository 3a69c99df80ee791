//! What the node's own parsers say about words of the file.

use std::time::Duration;

use chance::Unit;
use workload::Spec;

use super::super::mistake::{Mistake, nearest};
use super::super::reader::Text;
use super::{Role, RoleWorkload, Target, Template};

/// How long faults last that do not say it.
const FAULT_FOR: Duration = Duration::from_micros(fault::spec::FOR_DEFAULT_US);

/// Reads the index of a node within a role.
pub(super) fn index(text: &Text, index: &str, role: &Role) -> Result<usize, Mistake> {
    let found = index.parse().ok().filter(|index| *index < role.count);
    found.ok_or_else(|| {
        let what = format!("there is no node {index} of role {}", role.name);
        Mistake::new(text.place(index), what).help(format!("its nodes are 0 to {}", role.count.saturating_sub(1)))
    })
}

/// Reads `ROLE` or `ROLE[INDEX]`.
pub(super) fn target(text: &Text, roles: &[Role]) -> Result<Target, Mistake> {
    let (name, at) = match text.text.strip_suffix(']').and_then(|name| name.split_once('[')) {
        Some((role, index)) => (role, Some(index)),
        None => (text.text.as_str(), None),
    };
    let Some(role) = roles.iter().find(|role| role.name == name) else {
        let known: Vec<_> = roles.iter().map(|role| role.name.as_str()).collect();
        return Err(Mistake::unknown(text.place(name), "role", name, &known));
    };
    let index = at.map(|at| index(text, at, role)).transpose()?;
    Ok(Target { role: name.into(), index })
}

/// Checks a workload, and gives it an id if it has none.
pub(super) fn workload(mut template: Template) -> Result<RoleWorkload, Mistake> {
    let sample = template.sample();
    let spec = Spec::parse(&sample).map_err(|error| of_words(&template, &sample, &error.to_string()))?;
    let id = match spec.id() {
        Some(id) => id.to_owned(),
        None => {
            let name = spec.workload.name();
            template.push(&format!(" id={name}"));
            name.to_owned()
        }
    };
    // With the id that was added.
    let long = template.sample();
    Spec::parse(&long).map_err(|error| of_words(&template, &long, &error.to_string()))?;
    Ok(RoleWorkload { template, name: spec.workload.name(), id })
}

/// Checks `ID KEY=VALUE ...` for `workload set`, of a role with these workloads.
pub(super) fn change(template: &Template, workloads: &[RoleWorkload]) -> Result<(), Mistake> {
    let sample = template.sample();
    let (id, words) = sample.split_once(' ').unwrap_or((&sample, ""));
    let workload = find(template, id, workloads)?;
    let spec =
        Spec::parse(&workload.template.sample()).map_err(|error| of_words(template, words, &error.to_string()))?;
    spec.changed(words).map(|_| ()).map_err(|error| of_words(template, words, &error.to_string()))
}

/// Finds a role's workload.
pub(super) fn find<'a>(
    template: &Template,
    id: &str,
    workloads: &'a [RoleWorkload],
) -> Result<&'a RoleWorkload, Mistake> {
    let known: Vec<_> = workloads.iter().map(|workload| workload.id.as_str()).collect();
    let found = workloads.iter().find(|workload| workload.id == id);
    found.ok_or_else(|| Mistake::unknown(template.place(id), "workload of that role", id, &known))
}

/// Checks a fault, and gives it a seed if it draws random numbers and has none.
pub(super) fn fault(mut template: Template, seed: u64) -> Result<Template, Mistake> {
    let kind = fault::Kind::find(template.sample().split_ascii_whitespace().next().unwrap_or(""));
    if kind.is_some_and(|kind| kind.is_of_frames) && !template.sample().contains(" seed=") {
        template.push(&format!(" seed={seed}"));
    }
    let sample = template.sample();
    let read = fault::Spec::parse(&mut sample.split_ascii_whitespace()).map(|_| ());
    read.map_err(|error| of_words(&template, &sample, &error.to_string()))?;
    // A node is seen through its restart, and gets no other orders meanwhile.
    if is_restart(&sample)
        && let Some(after) = sample.split_ascii_whitespace().find(|word| word.starts_with("after="))
    {
        let mistake = Mistake::new(template.place(after), "a restart comes at once in an experiment");
        return Err(mistake.help("say when with at = \"…\""));
    }
    Ok(template)
}

/// Returns whether a fault is that its node restarts.
pub(crate) fn is_restart(words: &str) -> bool {
    matches!(words.split_ascii_whitespace().next(), Some("reset" | "crash"))
}

/// Returns when a fault begins after it was given, and how long it lasts then; nothing for those that are over at once.
pub(crate) fn fault_time(words: &str) -> (Duration, Duration) {
    let find = |key: &str| {
        let value = words.split_ascii_whitespace().find_map(|word| word.strip_prefix(key))?;
        Unit::Time.parse(value).map(Duration::from_micros)
    };
    let lasts = if is_restart(words) { Duration::ZERO } else { find("for=").unwrap_or(FAULT_FOR) };
    (find("after=").unwrap_or_default(), lasts)
}

/// Makes a mistake of what a node would say about words, at the word that it quotes.
fn of_words(template: &Template, words: &str, said: &str) -> Mistake {
    let quoted: Vec<&str> = said.split('\'').skip(1).step_by(2).collect();
    let named = words.split([' ', ',']).find(|word| word.contains('=') && said.starts_with(word));
    let key = said.split_once("= is").map(|(key, _)| key);
    let keyed =
        key.and_then(|key| words.split(' ').find(|word| word.strip_prefix(key).is_some_and(|w| w.starts_with('='))));
    let bad = quoted.iter().copied().find(|word| words.contains(word));
    let span = template.place(named.or(keyed).or(bad).unwrap_or(""));
    // 'there are a, b, c' and 'has no parameter': what was meant may be in it.
    let (what, listed) =
        said.split_once("; there are ").or_else(|| said.split_once(": there are ")).unwrap_or((said, ""));
    let known: Vec<&str> = listed.split(", ").collect();
    let mistake = Mistake::new(span, what);
    match bad.and_then(|bad| nearest(bad, &known)) {
        Some(near) => mistake.help(format!("did you mean '{near}'?")),
        None if !listed.is_empty() => mistake.help(format!("there are {listed}")),
        None => mistake,
    }
}
