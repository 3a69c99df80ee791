//! A workload with its parameters, from text such as `cpu:load=50%,cores=1-3`.

use core::fmt;

use embassy_time::Duration;
use heapless::String;
use telemetry::workload_status::SPEC_LEN_MAX;

use crate::Workload;
use crate::builtin::{WORKLOADS, find};
use crate::core_set::CoreSet;
use crate::parameter::{Kind, Parameter, Unit, Value, Values};

/// What every workload can be told besides its own parameters.
pub static FOR: Parameter = Parameter {
    name: "for",
    help: "how long to run; without it, until stopped",
    kind: Kind::Integer { min: 1_000, max: 365 * 24 * 3_600_000_000, default: 0, unit: Unit::Time },
};

/// Where every workload can be told to run.
pub static CORES: Parameter = Parameter {
    name: "cores",
    help: "where to run, such as 1, 1-3, 1+3 or all; without it, on one free core (certify: on all)",
    kind: Kind::Cores,
};

/// A workload with its parameters.
#[derive(Clone)]
pub struct Spec {
    /// The workload.
    pub workload: &'static dyn Workload,
    /// Its parameters.
    pub values: Values,
    /// Where to run, if told.
    pub cores: Option<CoreSet>,
    /// How long to run, if told.
    pub duration: Option<Duration>,
    /// What this was made from.
    pub text: String<SPEC_LEN_MAX>,
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spec({})", self.text)
    }
}

impl Spec {
    /// Reads `NAME` or `NAME:KEY=VALUE,KEY=VALUE…`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the text and what is allowed instead.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let workload = find(name).ok_or_else(|| SpecError::UnknownWorkload(Excerpt::new(name)))?;
        let spec_text = String::try_from(text).map_err(|_| SpecError::TooLong { len: text.len() })?;
        let mut spec = Self { workload, values: Values::default(), cores: None, duration: None, text: spec_text };
        for part in parameters.split(',').filter(|part| !part.is_empty()) {
            spec.set(part)?;
        }
        let missing = |p: &&&Parameter| p.kind.is_required() && !spec.values.is_given(p);
        match workload.parameters().iter().find(missing) {
            Some(parameter) => Err(SpecError::Missing { workload: workload.name(), parameter }),
            None => Ok(spec),
        }
    }

    fn set(&mut self, part: &str) -> Result<(), SpecError> {
        let workload = self.workload;
        let (name, value) = part.split_once('=').ok_or_else(|| SpecError::NoValue(Excerpt::new(part)))?;
        let bad = |parameter| SpecError::BadValue { parameter, value: Excerpt::new(value) };
        let twice = |parameter: &Parameter| SpecError::Twice { parameter: parameter.name };
        if name == CORES.name {
            let Some(Value::Cores(cores)) = CORES.kind.parse(value) else { return Err(bad(&CORES)) };
            return self.cores.replace(cores).map_or(Ok(()), |_| Err(twice(&CORES)));
        }
        if name == FOR.name {
            let Some(Value::Number(us)) = FOR.kind.parse(value) else { return Err(bad(&FOR)) };
            return self.duration.replace(Duration::from_micros(us)).map_or(Ok(()), |_| Err(twice(&FOR)));
        }
        let Some(parameter) = workload.parameters().iter().find(|p| p.name == name) else {
            return Err(SpecError::UnknownParameter { workload, name: Excerpt::new(name) });
        };
        if self.values.is_given(parameter) {
            return Err(twice(parameter));
        }
        self.values.set(parameter, parameter.kind.parse(value).ok_or(bad(parameter))?);
        Ok(())
    }
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
        all = names(workload.parameters().iter().map(|p| p.name).chain([CORES.name, FOR.name])),
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
    /// A parameter that has no default is not given.
    #[error("{workload} needs {}=ADDRESS: {}", parameter.name, parameter.kind.allowed())]
    Missing {
        /// The workload's name.
        workload: &'static str,
        /// The parameter.
        parameter: &'static Parameter,
    },
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
        assert_eq!((spec.workload.name(), spec.cores, spec.duration), ("cpu", None, None));
        assert_eq!(spec.values, Values::default());
        assert_eq!(spec.text, "cpu");
    }

    #[test]
    fn parameters_are_typed() {
        let spec = Spec::parse("cpu:load=50%,cores=1-3,for=30s").unwrap();
        let load = spec.workload.parameters().iter().find(|p| p.name == "load").unwrap();
        assert_eq!(spec.values.number(load), 50);
        assert_eq!(spec.cores, Some(CoreSet::ALL));
        assert_eq!(spec.duration, Some(Duration::from_secs(30)));
    }

    #[test]
    fn an_address_may_contain_colons() {
        let spec = Spec::parse("ping:peer=fe80::1,count=3").unwrap();
        let peer = spec.workload.parameters().iter().find(|p| p.name == "peer").unwrap();
        assert_eq!(spec.values.address(peer), Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn errors_say_what_is_allowed() {
        assert_eq!(error("cpx:load=1"), "there is no workload 'cpx'; there are certify, cpu, idle, memory, ping");
        assert_eq!(error(""), "there is no workload ''; there are certify, cpu, idle, memory, ping");
        assert_eq!(error("cpu:lod=1"), "cpu has no parameter 'lod'; there are load, slice, cores, for");
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
            error(&format!("cpu:{}", ",".repeat(100))),
            "104 bytes are too many for a workload and its parameters; at most 96"
        );
    }

    #[test]
    fn what_was_typed_cannot_move_the_cursor() {
        assert!(!error("\x1b[2J:").contains('\x1b'));
        assert_eq!(error(&"x".repeat(500)).matches('x').count(), 32);
    }
}
