//! The values that were given for a workload's parameters.
//!
//! They stay the text that they were given as, because that is small, is shown, and is changed while the workload runs.
//! Each was found good when it was put in; reading one takes about a microsecond, so a workload does that at its start.

use core::net::IpAddr;

use heapless::String;
use telemetry::workload_status::SPEC_LEN_MAX;

use crate::core_set::CoreSet;
use crate::distribution::Distribution;
use crate::parameter::{Kind, Parameter};
use crate::peer::Peer;

/// A workload's name and the values that were given, with a space between two: `cpu load=50% cores=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(String<SPEC_LEN_MAX>);

/// There is no room for another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Values {
    /// Makes values of the workload called `name`, none of which is given.
    pub(crate) fn new(name: &str) -> Self {
        Self(String::try_from(name).unwrap_or_default())
    }

    /// Returns the workload and what was given, as it could be typed again.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a value for `parameter` was given.
    #[must_use]
    pub fn is_given(&self, parameter: &Parameter) -> bool {
        self.get(parameter).is_some()
    }

    /// Returns the number given for `parameter`, or its default; of a choice, the index of the word.
    #[must_use]
    pub fn number(&self, parameter: &Parameter) -> u64 {
        let given = self.get(parameter).and_then(|text| parameter.kind.number(text));
        given.unwrap_or(match &parameter.kind {
            Kind::Integer { default, .. } | Kind::Choice { default, .. } => *default,
            _ => 0,
        })
    }

    /// Returns the address given for `parameter`; a [`Spec`](crate::Spec) is only made when there is one.
    #[must_use]
    pub fn address(&self, parameter: &Parameter) -> Option<IpAddr> {
        self.get(parameter)?.parse().ok()
    }

    /// Returns the peer given for `parameter`; always there if it must be given.
    #[must_use]
    pub fn peer(&self, parameter: &Parameter) -> Option<Peer<'_>> {
        Peer::parse(self.get(parameter)?)
    }

    /// Returns the text given for `parameter`, or its default.
    #[must_use]
    pub fn text(&self, parameter: &Parameter) -> &str {
        self.get(parameter).unwrap_or(parameter.kind.default_text())
    }

    /// Returns the numbers given for `parameter`, or its default.
    pub fn numbers(&self, parameter: &Parameter) -> impl Iterator<Item = u64> {
        let unit = match &parameter.kind {
            Kind::Numbers { unit, .. } => Some(*unit),
            _ => None,
        };
        self.text(parameter).split(',').filter_map(move |part| unit?.parse(part))
    }

    /// Returns the times given for `parameter`, or its default.
    #[must_use]
    pub fn distribution(&self, parameter: &Parameter) -> Distribution {
        let max_us = match &parameter.kind {
            Kind::Distribution { max_us, .. } => *max_us,
            _ => 0,
        };
        Distribution::parse(self.text(parameter), max_us).unwrap_or(Distribution::Constant(0))
    }

    /// Returns the cores given for `parameter`.
    pub(crate) fn cores(&self, parameter: &Parameter) -> Option<CoreSet> {
        CoreSet::parse(self.get(parameter)?)
    }

    /// Puts in a value that was found good; one that was given before is replaced.
    pub(crate) fn set(&mut self, parameter: &Parameter, value: &str) -> Result<(), Full> {
        let mut text = String::new();
        let mut is_replaced = false;
        for (i, word) in self.0.split(' ').enumerate() {
            let is_this = i > 0 && word.split_once('=').is_some_and(|(name, _)| name == parameter.name);
            is_replaced |= is_this;
            let parts = if is_this { [parameter.name, "=", value] } else { [word, "", ""] };
            push(&mut text, &[if i == 0 { "" } else { " " }])?;
            push(&mut text, &parts)?;
        }
        if !is_replaced {
            push(&mut text, &[" ", parameter.name, "=", value])?;
        }
        self.0 = text;
        Ok(())
    }

    /// Returns the text given for `parameter`, if any.
    pub(crate) fn get(&self, parameter: &Parameter) -> Option<&str> {
        let pairs = self.0.split(' ').skip(1).filter_map(|word| word.split_once('='));
        pairs.into_iter().find_map(|(name, value)| (name == parameter.name).then_some(value))
    }
}

fn push(text: &mut String<SPEC_LEN_MAX>, parts: &[&str]) -> Result<(), Full> {
    parts.iter().try_for_each(|part| text.push_str(part)).map_err(|_| Full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter::Unit;

    static COUNT: Parameter = Parameter {
        name: "count",
        help: "how many",
        kind: Kind::Integer { min: 0, max: 99, default: 7, unit: Unit::Count },
    };
    static STEPS: Parameter = Parameter {
        name: "steps",
        help: "one after the other",
        kind: Kind::Numbers { min: 0, max: 99_000, max_count: 9, default: "1ms", unit: Unit::Time },
    };
    static DELAY: Parameter =
        Parameter { name: "delay", help: "time", kind: Kind::Distribution { max_us: 1_000_000, default: "5ms" } };
    static WORD: Parameter =
        Parameter { name: "word", help: "any", kind: Kind::Text { max_len: 300, default: Some("none") } };
    static PEER: Parameter = Parameter { name: "peer", help: "who", kind: Kind::Peer { is_required: false } };

    #[test]
    fn defaults_stand_in_for_what_is_not_given() {
        let values = Values::new("x");
        assert_eq!((values.number(&COUNT), values.text(&WORD), values.peer(&PEER)), (7, "none", None));
        assert_eq!(values.numbers(&STEPS).collect::<Vec<_>>(), [1_000]);
        assert_eq!(values.distribution(&DELAY), Distribution::Constant(5_000));
        assert!(!values.is_given(&COUNT));
    }

    #[test]
    fn a_value_is_read_back_and_replaced() {
        let mut values = Values::new("x");
        values.set(&COUNT, "1").unwrap();
        values.set(&STEPS, "1ms,2ms").unwrap();
        values.set(&DELAY, "lognormal:5ms,0.5").unwrap();
        values.set(&WORD, "count=9").unwrap();
        values.set(&PEER, "pi-2:80").unwrap();
        values.set(&COUNT, "23").unwrap();
        assert_eq!(values.as_str(), "x count=23 steps=1ms,2ms delay=lognormal:5ms,0.5 word=count=9 peer=pi-2:80");
        assert_eq!((values.number(&COUNT), values.text(&WORD)), (23, "count=9"));
        assert_eq!(values.numbers(&STEPS).collect::<Vec<_>>(), [1_000, 2_000]);
        assert_eq!(values.peer(&PEER).unwrap().to_string(), "pi-2:80");
        assert!(matches!(values.distribution(&DELAY), Distribution::LogNormal { median: 5_000, .. }));
        let before = values.clone();
        assert_eq!(values.set(&WORD, &"w".repeat(300)), Err(Full));
        assert_eq!(values, before, "what does not fit changes nothing");
    }
}
