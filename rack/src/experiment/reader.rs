//! Tables of a TOML file, read key by key: what is unknown, missing or of another kind is noted with its place, and reading goes on,
//! so that all mistakes are shown at once.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use chance::Unit;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::Mistake;

/// A text of the file, and its place there without the quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) span: Range<usize>,
}

impl Text {
    /// Returns the place of a part of it, as it stands in the file; of the whole if it stands there differently.
    pub(crate) fn place(&self, part: &str) -> Range<usize> {
        // With escapes the lengths differ: then the part can't be shown.
        if self.span.len() != self.text.len() {
            return self.span.clone();
        }
        let at = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let at = if at <= self.text.len() { Some(at) } else { self.text.find(part) };
        at.map_or(self.span.clone(), |at| self.span.start + at..self.span.start + at + part.len())
    }
}

/// A file while it is read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, mistakes: RefCell::default() }
    }

    pub(super) fn note(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    /// Returns what was noted, in the order of the file.
    pub(super) fn mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.span.start);
        mistakes
    }

    fn read_text(&self, value: &Spanned<DeValue<'_>>) -> Option<Text> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong(value, "a text in quotes");
            return None;
        };
        let span = value.span();
        let raw = self.text.get(span.clone()).unwrap_or("");
        let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
        Some(Text { text: text.to_string(), span: span.start + quotes..span.end.saturating_sub(quotes) })
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, wanted: &str) {
        self.note(Mistake::new(value.span(), format!("this is {wanted}, not a {}", value.get_ref().type_str())));
    }
}

/// A table of the file.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    reader: &'a Reader<'a>,
    table: &'a DeTable<'a>,
    /// Where it stands.
    pub(super) span: Range<usize>,
}

impl<'a> Table<'a> {
    /// Opens a table that may have the keys `known`, and notes others.
    pub(super) fn new(reader: &'a Reader<'a>, table: &'a DeTable<'a>, span: Range<usize>, known: &[&str]) -> Self {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            reader.note(Mistake::unknown(key.span(), "key", key.get_ref(), known));
        }
        Self { reader, table, span }
    }

    pub(super) fn note(&self, mistake: Mistake) {
        self.reader.note(mistake);
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Notes that a key is missing unless there is something.
    pub(super) fn required<T>(&self, key: &str, example: &str, found: Option<T>) -> Option<T> {
        if self.value(key).is_none() {
            self.note(Mistake::new(self.span.clone(), format!("{key} is missing")).help(format!("such as {example}")));
        }
        found
    }

    pub(super) fn text(&self, key: &str) -> Option<Text> {
        self.reader.read_text(self.value(key)?)
    }

    /// Returns the texts of a list, or the only one.
    pub(super) fn texts(&self, key: &str) -> Vec<Text> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| self.reader.read_text(item)).collect(),
            _ => self.reader.read_text(value).into_iter().collect(),
        }
    }

    /// Returns a time such as `"1.5s"`.
    pub(super) fn time(&self, key: &str) -> Option<Duration> {
        let text = self.text(key)?;
        let time = time(&text.text);
        if time.is_none() {
            let wrong = format!("'{}' is no time", text.text);
            self.note(Mistake::new(text.span, wrong).help("such as \"500ms\", \"10s\" or \"2m\""));
        }
        time
    }

    pub(super) fn number(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let found = number.filter(|number| range.contains(number));
        if found.is_none() {
            let wanted = match *range.end() {
                u64::MAX => format!("a whole number from {} on", range.start()),
                end => format!("a whole number from {} to {end}", range.start()),
            };
            self.note(Mistake::new(value.span(), format!("{key} is {wanted}")));
        }
        found
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Opens a table in this one.
    pub(super) fn table(&self, key: &str, known: &[&str]) -> Option<Self> {
        self.open(self.value(key)?, known)
    }

    /// Opens each table of a list (`[[key]]`).
    pub(super) fn tables(&self, key: &str, known: &[&str]) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| self.open(item, known)).collect(),
            _ => {
                let wanted = format!("a list of tables: write [[{key}]]");
                self.reader.wrong(value, &wanted);
                Vec::new()
            }
        }
    }

    /// Opens each table in a table (`[key.NAME]`), with its name, in the order of the file.
    pub(super) fn named(&self, key: &str, known: &[&str]) -> Vec<(Text, Self)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Table(tables) = value.get_ref() else {
            self.reader.wrong(value, &format!("tables with names: write [{key}.NAME]"));
            return Vec::new();
        };
        let open = |(name, value): (&Spanned<_>, _)| {
            let text = Text { text: AsRef::<str>::as_ref(name.get_ref()).to_owned(), span: name.span() };
            Some((text, self.open(value, known)?))
        };
        let mut named: Vec<_> = tables.iter().filter_map(open).collect();
        named.sort_by_key(|(name, _)| name.span.start);
        named
    }

    fn open(&self, value: &'a Spanned<DeValue<'a>>, known: &[&str]) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            self.reader.wrong(value, "a table");
            return None;
        };
        Some(Self::new(self.reader, table, value.span(), known))
    }
}

/// Reads a time with its unit.
pub(super) fn time(text: &str) -> Option<Duration> {
    Unit::Time.parse(text).map(Duration::from_micros)
}
