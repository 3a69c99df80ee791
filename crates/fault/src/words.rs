//! The words of a fault, `KEY=VALUE`, as its kind asks for them.

use core::net::IpAddr;

use chance::{Distribution, Unit};
use heapless::Vec;

use crate::kinds::Kind;
use crate::matcher::{Protocol, parse_peer};
use crate::spec::{COMMON, FRAMES, SpecError};

/// Most words of a fault.
const WORDS_MAX: usize = 16;

/// Something that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What may be written, as in `TIME` or `5%`.
    pub form: &'static str,
    /// What it sets, and what counts without it.
    pub help: &'static str,
}

/// The words of a fault, without its kind.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    kind: &'static Kind,
    /// The workload that a kind may name without a key.
    subject: Option<&'a str>,
    pairs: Vec<(&'a str, &'a str), WORDS_MAX>,
}

impl<'a> Words<'a> {
    /// Takes the words; each key must be one that the kind knows, and stand there once.
    pub(crate) fn read(kind: &'static Kind, words: &mut dyn Iterator<Item = &'a str>) -> Result<Self, SpecError<'a>> {
        let mut read = Self { kind, subject: None, pairs: Vec::new() };
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                if kind.subject.is_none() || read.subject.replace(word).is_some() {
                    return Err(SpecError::NoPair { word });
                }
                continue;
            };
            if !kind.keys().any(|known| known.name == key) {
                return Err(SpecError::Key { kind, key });
            }
            if read.value(key).is_some() {
                return Err(SpecError::Twice { key });
            }
            read.pairs.push((key, value)).map_err(|_| SpecError::Twice { key })?;
        }
        match kind.subject {
            Some(what) if read.subject.is_none() => Err(SpecError::Missing { kind, what }),
            _ => Ok(read),
        }
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    /// Returns what stands there without a key.
    pub(crate) fn subject(&self) -> &'a str {
        self.subject.unwrap_or_default()
    }

    /// Reads the value of a key with `parse`; `None` if the key is not there.
    fn parse<T>(&self, key: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, SpecError<'a>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wrong = || {
            let known = self.kind.keys().find(|known| known.name == key);
            SpecError::Value { key, value, form: known.map_or("", |known| known.form) }
        };
        parse(value).map(Some).ok_or_else(wrong)
    }

    /// Reads a number in a range.
    pub(crate) fn number(
        &self,
        key: &'static str,
        unit: Unit,
        range: core::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, SpecError<'a>> {
        self.parse(key, |text| unit.parse(text).filter(|number| range.contains(number)))
    }

    /// Reads a number in a range that must be there.
    pub(crate) fn needed(
        &self,
        key: &'static str,
        unit: Unit,
        range: core::ops::RangeInclusive<u64>,
    ) -> Result<u64, SpecError<'a>> {
        self.number(key, unit, range)?.ok_or(SpecError::Missing { kind: self.kind, what: key })
    }

    /// Reads a share in millionths, more than none.
    pub(crate) fn share(&self, default: u64) -> Result<u64, SpecError<'a>> {
        Ok(self.number("share", Unit::Share, 1..=ALL)?.unwrap_or(default))
    }

    /// Reads a time that may be drawn.
    pub(crate) fn distribution(&self, key: &'static str, max_us: u64) -> Result<Option<Distribution>, SpecError<'a>> {
        self.parse(key, |text| Distribution::parse(text, max_us))
    }

    /// Reads one of a few words: its place among them, 0 if it is not there.
    pub(crate) fn choice(&self, key: &'static str, of: &[&str]) -> Result<usize, SpecError<'a>> {
        Ok(self.parse(key, |text| of.iter().position(|word| *word == text))?.unwrap_or(0))
    }

    pub(crate) fn peer(&self) -> Result<Option<(IpAddr, u8)>, SpecError<'a>> {
        self.parse("peer", parse_peer)
    }

    pub(crate) fn protocol(&self) -> Result<Option<Protocol>, SpecError<'a>> {
        self.parse("proto", Protocol::parse)
    }

    pub(crate) fn port(&self, key: &'static str) -> Result<Option<u16>, SpecError<'a>> {
        self.parse(key, |text| text.parse().ok().filter(|port| *port != 0))
    }

    /// Reads a time that goes forward or back, in µs.
    pub(crate) fn signed_time(&self, key: &'static str, max_us: i64) -> Result<i64, SpecError<'a>> {
        let read = self.parse(key, |text| {
            let (sign, text) = match text.strip_prefix('-') {
                Some(text) => (-1, text),
                None => (1, text.strip_prefix('+').unwrap_or(text)),
            };
            let us = i64::try_from(Unit::Time.parse(text)?).ok()?;
            (us != 0 && us <= max_us).then_some(sign * us)
        })?;
        read.ok_or(SpecError::Missing { kind: self.kind, what: key })
    }
}

/// All frames, as a share in millionths.
pub(crate) const ALL: u64 = 1_000_000;

impl Kind {
    /// Returns everything that can be set.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let frames: &[Key] = if self.is_of_frames { &FRAMES } else { &[] };
        self.own.iter().chain(frames).chain(&COMMON)
    }
}
