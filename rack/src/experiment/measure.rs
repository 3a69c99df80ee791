//! What can be measured and expected: `p99 of source in run <= 50ms`. `names` has what measures are called.

mod names;

use std::fmt;
use std::time::Duration;

use chance::Unit;

use self::names::{COMMON, NAMES, figures};
pub(super) use self::names::{WHOLES, short_name};
use super::file::{Phase, Role};
use super::mistake::{Mistake, suggestion};
use super::reader::Text;

/// How the values of a time are made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Max,
    Min,
    Mean,
    Last,
}

const AGGREGATES: [(&str, Aggregate); 4] =
    [("max", Aggregate::Max), ("min", Aggregate::Min), ("mean", Aggregate::Mean), ("last", Aggregate::Last)];

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A figure of workloads, by its short name.
    Figure(String),
    /// Latency: the share of operations, in thousandths, that took at most this.
    Percentile(u32),
    /// Operations per second.
    Throughput,
    /// Longest time from a fault until throughput was, for good, at least half of what it had been.
    Failover,
    /// Longest time without an operation.
    Gap,
    /// Nodes of a role whose workloads run.
    Size,
    /// Of the history of clients of stores: registers with answers that none can give,
    Violations,
    /// acknowledged writes that are not there at the end,
    LostWrites,
    /// and the longest time without an answer.
    Silence,
}

/// A measure of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) aggregate: Option<Aggregate>,
    pub(crate) what: What,
    /// Of which role; of all without it.
    pub(crate) role: Option<String>,
    /// Of which of its workloads.
    pub(crate) id: Option<String>,
    /// In which phase; from the first to the last without it.
    pub(crate) phase: Option<String>,
}

/// How a measure has to be to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    AtLeast,
    AtMost,
    Equal,
    NotEqual,
    Less,
    More,
}

const COMPARISONS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// A share: 1 is all.
    Share,
    Seconds,
    PerSecond,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expectation {
    /// As it stands in the file.
    pub(crate) text: String,
    pub(crate) measure: Measure,
    pub(crate) comparison: Comparison,
    pub(crate) value: f64,
    pub(crate) kind: Kind,
}

/// What an experiment has that measures are about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) roles: &'a [Role],
    pub(crate) phases: &'a [Phase],
    /// There are clients whose history is checked.
    pub(crate) has_history: bool,
}

impl Expectation {
    /// Reads `MEASURE COMPARISON VALUE`.
    pub(crate) fn read(text: &Text, scope: Scope<'_>) -> Result<Self, Mistake> {
        let find = |(sign, _): &&(&str, Comparison)| text.text.contains(*sign);
        let Some((sign, comparison)) = COMPARISONS.iter().find(find) else {
            return Err(Mistake::new(text.span.clone(), "a comparison is missing")
                .help("such as \"delivered >= 99.9%\" or \"p99 of source <= 50ms\""));
        };
        let (left, right) = text.text.split_once(sign).unwrap_or((&text.text, ""));
        let measure = Measure::read(text, left, scope)?;
        let right = right.trim();
        let (value, kind) = measure.value(right).map_err(|help| {
            let span = if right.is_empty() { text.span.end..text.span.end } else { text.place(right) };
            Mistake::new(span, format!("'{right}' can't be compared with {}", left.trim())).help(help)
        })?;
        Ok(Self { text: text.text.clone(), measure, comparison: *comparison, value, kind })
    }
}

impl Measure {
    /// Reads `[max|min|mean|last] NAME [of ROLE[.ID]] [in PHASE]`, a part of `text`.
    pub(crate) fn read(text: &Text, part: &str, scope: Scope<'_>) -> Result<Self, Mistake> {
        let mut words = part.split_whitespace().peekable();
        let aggregate = words.peek().and_then(|word| AGGREGATES.iter().find(|(name, _)| name == word));
        if aggregate.is_some() {
            words.next();
        }
        let missing = |what: &str| Mistake::new(text.span.clone(), format!("{what} is missing"));
        let name = words.next().ok_or_else(|| missing("what is measured"))?;
        let mut measure = Self {
            aggregate: aggregate.map(|(_, aggregate)| *aggregate),
            what: What::Throughput,
            role: None,
            id: None,
            phase: None,
        };
        while let Some(word) = words.next() {
            let mut next = |what: &str| words.next().ok_or_else(|| missing(&format!("{what} behind '{word}'")));
            match word {
                "of" => measure.read_subject(text, next("a role")?, scope)?,
                "in" => {
                    let phase = next("a phase")?;
                    let known: Vec<_> = scope.phases.iter().map(|phase| phase.name.as_str()).collect();
                    if !known.contains(&phase) {
                        return Err(Mistake::unknown(text.place(phase), "phase", phase, &known));
                    }
                    measure.phase = Some(phase.into());
                }
                other => {
                    let help = "write NAME [of ROLE] [in PHASE], then a comparison";
                    return Err(Mistake::new(text.place(other), format!("'{other}' is not understood")).help(help));
                }
            }
        }
        measure.what = measure.find(text, name, scope)?;
        Ok(measure)
    }

    fn read_subject(&mut self, text: &Text, subject: &str, scope: Scope<'_>) -> Result<(), Mistake> {
        let (role, id) = subject.split_once('.').map_or((subject, None), |(role, id)| (role, Some(id)));
        let known: Vec<_> = scope.roles.iter().map(|role| role.name.as_str()).collect();
        let Some(found) = scope.roles.iter().find(|known| known.name == role) else {
            return Err(Mistake::unknown(text.place(role), "role", role, &known));
        };
        if let Some(id) = id {
            let ids: Vec<_> = found.workloads.iter().map(|workload| workload.id.as_str()).collect();
            if !ids.contains(&id) {
                return Err(Mistake::unknown(text.place(id), &format!("workload of role {role}"), id, &ids));
            }
        }
        (self.role, self.id) = (Some(role.into()), id.map(Into::into));
        Ok(())
    }

    /// Finds what a name means for the workloads that are meant.
    fn find(&self, text: &Text, name: &str, scope: Scope<'_>) -> Result<What, Mistake> {
        let roles = || scope.roles.iter().filter(|role| self.role.as_ref().is_none_or(|name| *name == role.name));
        if let Some((_, what)) = NAMES.iter().find(|(known, _)| *known == name) {
            if matches!(what, What::Percentile(_) | What::Size) && self.role.is_none() && scope.roles.len() > 1 {
                let help = format!("write '{name} of ROLE'; each role has its own");
                return Err(Mistake::new(text.place(name), format!("{name} of what?")).help(help));
            }
            if matches!(what, What::Violations | What::LostWrites | What::Silence) {
                let mistake = |what: String| Mistake::new(text.place(name), what);
                if !scope.has_history {
                    let help = "add [history] with stores = [\"primary\", \"replica\"]";
                    return Err(mistake(format!("there is no history for {name}")).help(help));
                }
                if self.role.is_some() || self.phase.is_some() || self.aggregate.is_some() {
                    return Err(mistake(format!("{name} is one number, of the whole history")));
                }
            }
            return Ok(what.clone());
        }
        let mut known: Vec<String> = COMMON.map(Into::into).into();
        let workloads = roles().flat_map(|role| &role.workloads);
        for workload in workloads.filter(|workload| self.id.as_ref().is_none_or(|id| *id == workload.id)) {
            known.extend(figures(workload.name));
        }
        known.extend(NAMES.map(|(name, _)| name.into()));
        known.sort();
        known.dedup();
        if known.iter().any(|known| known == name) {
            return Ok(What::Figure(name.into()));
        }
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        Err(Mistake::new(text.place(name), format!("nothing is called '{name}' here")).help(suggestion(name, &known)))
    }

    /// Reads a value that this can be compared with.
    ///
    /// # Errors
    /// What would be one.
    fn value(&self, text: &str) -> Result<(f64, Kind), String> {
        let number = |digits: &str| digits.parse::<f64>().ok().filter(|number| number.is_finite());
        let found = match &self.what {
            What::Percentile(_) | What::Failover | What::Gap | What::Silence => {
                Unit::Time.parse(text).map(|us| (Duration::from_micros(us).as_secs_f64(), Kind::Seconds))
            }
            What::Throughput => number(text.trim_end_matches("/s")).map(|rate| (rate, Kind::PerSecond)),
            What::Figure(name) => match text.strip_suffix('%') {
                Some(_) if WHOLES.iter().all(|(part, _)| part != name) => {
                    return Err(format!("{name} is no share of anything: write a number"));
                }
                Some(digits) => number(digits).map(|percent| (percent / 100.0, Kind::Share)),
                None => match Unit::Time.parse(text) {
                    Some(us) => Some((Duration::from_micros(us).as_secs_f64(), Kind::Seconds)),
                    None => number(text).map(|number| (number, Kind::Plain)),
                },
            },
            What::Size | What::Violations | What::LostWrites => number(text).map(|number| (number, Kind::Plain)),
        };
        found.ok_or_else(|| {
            match self.what {
                What::Percentile(_) | What::Failover | What::Gap | What::Silence => "write a time, such as 50ms or 2s",
                What::Throughput => "write a rate, such as 100/s",
                What::Size | What::Violations | What::LostWrites => "write a number",
                What::Figure(_) => "write a number, such as 0, or a share, such as 99.9%",
            }
            .into()
        })
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = AGGREGATES.iter().find(|(_, aggregate)| Some(*aggregate) == self.aggregate) {
            write!(f, "{name} ")?;
        }
        match &self.what {
            What::Figure(name) => f.write_str(name)?,
            what => f.write_str(NAMES.iter().find(|(_, known)| known == what).map_or("", |(name, _)| name))?,
        }
        if let Some(role) = &self.role {
            write!(f, " of {role}")?;
        }
        self.id.as_ref().map_or(Ok(()), |id| write!(f, ".{id}"))?;
        self.phase.as_ref().map_or(Ok(()), |phase| write!(f, " in {phase}"))
    }
}
