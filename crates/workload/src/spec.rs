//! A workload with its parameters, from text such as `cpu load=50% cores=1-3` or `cpu:load=50%,cores=1-3`.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use core::fmt;

use embassy_time::Duration;
use heapless::String;
use telemetry::workload_status::SPEC_LEN_MAX;

use crate::Workload;
use crate::builtin::{WORKLOADS, find};
use crate::core_set::CoreSet;
use crate::parameter::{Kind, Parameter, Unit, Values};

/// What every workload can be told besides its own parameters.
pub static FOR: Parameter = Parameter {
    name: "for",
    help: "how long to run; without it, until stopped",
    kind: Kind::Integer { min: 1_000, max: 365 * 24 * 3_600_000_000, default: 0, unit: Unit::Time },
};

/// Where every workload can be told to run.
pub static CORES: Parameter = Parameter {
    name: "cores",
    help: "where to run, such as 1, 1-3, 1+3 or all; without it, on a free core, or the one with the fewest workloads",
    kind: Kind::Cores,
};

/// How every workload can be called while it runs.
pub static ID: Parameter = Parameter {
    name: "id",
    help: "what to call it while it runs; without it, its name, or its name and a number (cpu#2)",
    kind: Kind::Id,
};

/// The parameters that every workload has.
pub static COMMON: [&Parameter; 3] = [&CORES, &FOR, &ID];

/// A workload with its parameters.
#[derive(Clone)]
pub struct Spec {
    /// The workload.
    pub workload: &'static dyn Workload,
    /// Its parameters.
    pub values: Values,
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spec({})", self.values.as_str())
    }
}

impl Spec {
    /// Reads `NAME KEY=VALUE KEY=VALUE…` or `NAME:KEY=VALUE,KEY=VALUE…`, or both, the second first.
    ///
    /// Between commas, what has no `=` belongs to the value before: `http:delay=list:1ms,9ms,size=10` sets two.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the text and what is allowed instead.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let mut words = text.split_ascii_whitespace();
        let first = words.next().unwrap_or("");
        let (name, list) = first.split_once(':').unwrap_or((first, ""));
        let workload = find(name).ok_or_else(|| SpecError::unknown(name))?;
        if text.len() > SPEC_LEN_MAX {
            return Err(SpecError::TooLong { len: text.len() });
        }
        let mut spec = Self { workload, values: Values::new(name) };
        for pair in pairs(list).chain(words) {
            let (parameter, value) = spec.find(pair)?;
            if spec.values.is_given(parameter) {
                return Err(SpecError::Twice { parameter: parameter.name });
            }
            spec.put(parameter, value)?;
        }
        let missing = |p: &&&Parameter| p.kind.is_required() && !spec.values.is_given(p);
        match workload.parameters().iter().find(missing) {
            Some(parameter) => Err(SpecError::Missing { workload: workload.name(), parameter }),
            None => Ok(spec),
        }
    }

    /// Returns this with the changes `KEY=VALUE KEY=VALUE…`, and the names of what was changed.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse), and when a parameter can't be changed while a workload runs.
    pub fn changed(&self, text: &str) -> Result<(Self, impl Iterator<Item = &'static Parameter>), SpecError> {
        let mut changed = self.clone();
        if text.trim().is_empty() {
            return Err(SpecError::NoValue(Excerpt::new("")));
        }
        for pair in text.split_ascii_whitespace() {
            let (parameter, value) = self.find(pair)?;
            if COMMON.iter().any(|fixed| fixed.name == parameter.name) {
                return Err(SpecError::Fixed { parameter: parameter.name });
            }
            changed.put(parameter, value)?;
        }
        let (old, new) = (self.values.clone(), changed.values.clone());
        let parameters = self.workload.parameters().iter().copied();
        Ok((changed, parameters.filter(move |parameter| old.get(parameter) != new.get(parameter))))
    }

    /// Returns where to run, if told.
    #[must_use]
    pub fn cores(&self) -> Option<CoreSet> {
        self.values.cores(&CORES)
    }

    /// Returns how long to run, if told.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.values.is_given(&FOR).then(|| Duration::from_micros(self.values.number(&FOR)))
    }

    /// Returns what to call it, if told.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        Some(self.values.text(&ID)).filter(|id| !id.is_empty())
    }

    /// Finds what `NAME=VALUE` sets.
    fn find<'a>(&self, pair: &'a str) -> Result<(&'static Parameter, &'a str), SpecError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| SpecError::NoValue(Excerpt::new(pair)))?;
        let workload = self.workload;
        let mut all = workload.parameters().iter().chain(&COMMON);
        match all.find(|parameter| parameter.name == name) {
            Some(parameter) => Ok((parameter, value)),
            None => Err(SpecError::UnknownParameter { workload, name: Excerpt::new(name) }),
        }
    }

    fn put(&mut self, parameter: &'static Parameter, value: &str) -> Result<(), SpecError> {
        if !parameter.kind.accepts(value) {
            return Err(SpecError::BadValue { parameter, value: Excerpt::new(value) });
        }
        let len = self.values.as_str().len() + parameter.name.len() + value.len() + 2;
        self.values.set(parameter, value).map_err(|_| SpecError::TooLong { len })
    }
}

/// Returns the pairs of `KEY=VALUE,KEY=VALUE…`.
fn pairs(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list.trim_matches(',');
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // The pair ends at the first comma that another pair follows.
        let is_end = |(at, _): &(usize, &str)| {
            let next = rest.get(at + 1..).unwrap_or("").split(',').find(|part| !part.is_empty());
            next.is_some_and(|part| part.contains('='))
        };
        let end = rest.match_indices(',').find(is_end).map_or(rest.len(), |(at, _)| at);
        let (pair, behind) = rest.split_at_checked(end)?;
        rest = behind.trim_start_matches(',');
        Some(pair.trim_end_matches(','))
    })
}

/// What is wrong with a specification.
#[derive(Clone, thiserror::Error)]
pub enum SpecError {
    /// There is no such workload.
    #[error("there is no workload '{0}'; there are {all}", all = names(WORKLOADS.iter().map(|w| w.name())))]
    UnknownWorkload(Excerpt),
    /// The text is longer than there is room for.
    #[error("{len} bytes are too many for a workload and its parameters; at most {SPEC_LEN_MAX}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// A parameter is not followed by a value.
    #[error("'{0}' has no value; write it as NAME=VALUE")]
    NoValue(Excerpt),
    /// The workload has no such parameter.
    #[error(
        "{} has no parameter '{name}'; there are {all}",
        workload.name(),
        all = names(workload.parameters().iter().chain(&COMMON).map(|p| p.name)),
    )]
    UnknownParameter {
        /// The workload.
        workload: &'static dyn Workload,
        /// The name that was given.
        name: Excerpt,
    },
    /// A value is not allowed.
    #[error("{}={value} is not allowed; allowed: {}", parameter.name, parameter.kind.allowed())]
    BadValue {
        /// The parameter.
        parameter: &'static Parameter,
        /// The value that was given.
        value: Excerpt,
    },
    /// A parameter is given twice.
    #[error("{parameter} is given twice")]
    Twice {
        /// Its name.
        parameter: &'static str,
    },
    /// A parameter can't be changed while the workload runs.
    #[error("{parameter} can't be changed while it runs: stop it and start it anew")]
    Fixed {
        /// Its name.
        parameter: &'static str,
    },
    /// A parameter that has no default is not given.
    #[error("{workload} needs {}={}: {}", parameter.name, parameter.kind.placeholder(), parameter.kind.allowed())]
    Missing {
        /// The workload's name.
        workload: &'static str,
        /// The parameter.
        parameter: &'static Parameter,
    },
}

impl SpecError {
    /// Makes the error of a name that is no workload's.
    #[must_use]
    pub fn unknown(name: &str) -> Self {
        Self::UnknownWorkload(Excerpt::new(name))
    }
}

impl fmt::Debug for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The beginning of what was typed, safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(String<32>);

impl Excerpt {
    fn new(text: &str) -> Self {
        let mut excerpt = String::new();
        for c in text.chars() {
            if excerpt.push(if c.is_control() { '?' } else { c }).is_err() {
                break;
            }
        }
        Self(excerpt)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows names with commas between them.
fn names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for (i, name) in names.clone().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> std::string::String {
        Spec::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_name_alone_takes_the_defaults() {
        let spec = Spec::parse(" cpu ").unwrap();
        assert_eq!((spec.workload.name(), spec.cores(), spec.duration(), spec.id()), ("cpu", None, None, None));
        assert_eq!(spec.values.as_str(), "cpu");
    }

    #[test]
    fn parameters_are_typed() {
        let spec = Spec::parse("cpu:load=50%,cores=1-3,for=30s").unwrap();
        let load = spec.workload.parameters().iter().find(|p| p.name == "load").unwrap();
        assert_eq!(spec.values.number(load), 50);
        assert_eq!(spec.cores(), Some(CoreSet::ALL));
        assert_eq!(spec.duration(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn words_and_commas_mean_the_same() {
        for text in [
            "cpu load=50% cores=1 id=busy",
            "cpu:load=50%,cores=1,id=busy",
            " cpu:load=50%  cores=1\tid=busy ",
            "cpu:,load=50%,,cores=1,id=busy,,",
        ] {
            let spec = Spec::parse(text).unwrap();
            assert_eq!((spec.values.as_str(), spec.id()), ("cpu load=50% cores=1 id=busy", Some("busy")), "{text}");
        }
    }

    #[test]
    fn what_has_no_equals_sign_belongs_to_the_value_before() {
        let all = |list| pairs(list).collect::<Vec<_>>();
        assert_eq!(all("a=1"), ["a=1"]);
        assert_eq!(all("a=list:1ms,2ms,3ms,b=2"), ["a=list:1ms,2ms,3ms", "b=2"]);
        assert_eq!(all("a=1,,2,,b=2,"), ["a=1,,2", "b=2"]);
        assert_eq!(all("a,b=1"), ["a", "b=1"]);
        assert!(all("").is_empty() && all(",,,").is_empty());
    }

    #[test]
    fn a_change_replaces_what_was_given_and_keeps_the_rest() {
        let spec = Spec::parse("cpu load=50% cores=1").unwrap();
        let (changed, parameters) = spec.changed("slice=5ms load=10%").unwrap();
        assert_eq!(changed.values.as_str(), "cpu load=10% cores=1 slice=5ms");
        assert_eq!(parameters.map(|p| p.name).collect::<Vec<_>>(), ["load", "slice"]);
        let error = |text| spec.changed(text).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error("load=500%"), "load=500% is not allowed; allowed: 0% to 100%");
        assert_eq!(error("cores=2"), "cores can't be changed while it runs: stop it and start it anew");
        assert_eq!(error("lod=2"), "cpu has no parameter 'lod'; there are load, slice, cores, for, id");
        assert_eq!(error(" "), "'' has no value; write it as NAME=VALUE");
    }

    #[test]
    fn an_address_may_contain_colons() {
        let spec = Spec::parse("ping:peer=fe80::1,count=3").unwrap();
        let peer = spec.workload.parameters().iter().find(|p| p.name == "peer").unwrap();
        assert_eq!(spec.values.address(peer), Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn errors_say_what_is_allowed() {
        assert_eq!(
            error("cpx:load=1"),
            "there is no workload 'cpx'; there are certify, cpu, http, idle, iperf3, kv, leader, load, memory, ping, pipeline"
        );
        assert_eq!(
            error(""),
            "there is no workload ''; there are certify, cpu, http, idle, iperf3, kv, leader, load, memory, ping, pipeline"
        );
        assert_eq!(error("cpu:lod=1"), "cpu has no parameter 'lod'; there are load, slice, cores, for, id");
        assert_eq!(error("cpu:load=101%"), "load=101% is not allowed; allowed: 0% to 100%");
        assert_eq!(error("cpu:load"), "'load' has no value; write it as NAME=VALUE");
        assert_eq!(error("cpu:load=1,load=2"), "load is given twice");
        assert_eq!(error("cpu:for=1s,for=2s"), "for is given twice");
        assert_eq!(error("cpu:for=1"), "for=1 is not allowed; allowed: 1ms to 8760h");
        assert_eq!(
            error("cpu:cores=0"),
            "cores=0 is not allowed; allowed: cores 1 to 3, such as 1, 1-3, 1+3 or all (core 0 runs drivers and network)"
        );
        assert_eq!(error("memory:mode=swap"), "mode=swap is not allowed; allowed: all, fill, copy, read");
        assert_eq!(
            error("ping:count=1"),
            "ping needs peer=ADDRESS: an IPv4 or IPv6 address, such as 10.0.2.2 or fe80::1"
        );
        assert_eq!(
            error(&format!("cpu:{}", ",".repeat(300))),
            "304 bytes are too many for a workload and its parameters; at most 256"
        );
    }

    #[test]
    fn what_was_typed_cannot_move_the_cursor() {
        assert!(!error("\x1b[2J:").contains('\x1b'));
        assert_eq!(error(&"x".repeat(500)).matches('x').count(), 32);
    }
}
