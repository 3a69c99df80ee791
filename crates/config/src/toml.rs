//! The syntax of node.toml: what is set, and what is no TOML.
//!
//! The parser is `toml_parser`, which goes on behind a mistake, so one bad line does not cost the others. What a node has no
//! use for (inline tables, lists in lists) is reported as a mistake. Nothing here knows any key.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::parser::{EventReceiver, parse_document};
use toml_parser::{ErrorSink, Expected, ParseError, Raw, Source, Span};

/// Mistakes that are kept. Further ones are not looked at.
const ERRORS_MAX: usize = 32;
/// Values that are kept.
const SETTINGS_MAX: usize = 256;

/// What a file says. Lines are counted from 1.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The headers of its tables, in order.
    pub(crate) tables: Vec<Table>,
    /// Its values, in order. Those on lines with a mistake are left out.
    pub(crate) settings: Vec<Setting>,
    /// Its mistakes.
    pub(crate) errors: Vec<Mistake>,
}

/// The header of a table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) line: usize,
    /// What stands in the brackets.
    pub(crate) name: String,
}

/// A value.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) line: usize,
    /// How many headers stand before it.
    pub(crate) table: usize,
    /// The name of its table and its key, with a dot between them.
    pub(crate) path: String,
    /// Which assignment it belongs to: the values of a list have the same.
    pub(crate) statement: usize,
    /// Whether it is part of a list.
    pub(crate) is_item: bool,
    /// Texts without quotes, everything else as it was written.
    pub(crate) value: String,
}

/// What is no TOML.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    /// In characters, counted from 1.
    pub(crate) column: usize,
    /// What is wrong and what was expected.
    pub(crate) what: String,
}

/// Reads a file.
pub(crate) fn read(text: &str) -> Document {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut reader = Reader {
        text,
        document: Document::default(),
        path: Path::default(),
        header: String::new(),
        is_header: false,
        is_complete: false,
        depth: 0,
        statement: 0,
    };
    let mut mistakes = Mistakes::default();
    parse_document(&tokens, &mut reader, &mut mistakes);
    let mut document = reader.document;
    for (at, what) in mistakes.found {
        let (line, column) = position(text, at);
        document.settings.retain(|setting| setting.line != line);
        document.errors.push(Mistake { line, column, what });
    }
    document
}

/// Returns line and column of an offset.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[derive(Default)]
struct Mistakes {
    found: Vec<(usize, String)>,
}

impl ErrorSink for Mistakes {
    fn report_error(&mut self, error: ParseError) {
        if self.found.len() >= ERRORS_MAX {
            return;
        }
        // What is not closed is noticed at the end of the file: tell where it was opened.
        let is_open = error.description().starts_with("unclosed");
        let place = if is_open { error.context() } else { error.unexpected().or(error.context()) };
        let mut what = error.description().to_string();
        for (index, expected) in error.expected().unwrap_or_default().iter().enumerate() {
            what.push_str(if index == 0 { ", expected " } else { " or " });
            // Writing to a String does not fail.
            let _ = match expected {
                Expected::Literal(text) => write!(what, "'{}'", text.escape_default()),
                Expected::Description(text) => write!(what, "{text}"),
                _ => Ok(()),
            };
        }
        self.found.push((place.map_or(0, |span| span.start()), what));
    }
}

/// A dotted name that is being read, and where it began.
#[derive(Default)]
struct Path {
    text: String,
    start: usize,
}

impl Path {
    fn add(&mut self, part: &str, start: usize) {
        if self.text.is_empty() {
            self.start = start;
        } else {
            self.text.push('.');
        }
        self.text.push_str(part);
    }
}

struct Reader<'a> {
    text: &'a str,
    document: Document,
    /// The key, or what stands in the brackets of a header.
    path: Path,
    /// The table that counts.
    header: String,
    /// Whether a header is being read.
    is_header: bool,
    /// Whether the key was read to its end.
    is_complete: bool,
    /// Lists that are open.
    depth: usize,
    statement: usize,
}

impl<'a> Reader<'a> {
    fn raw(&self, span: Span, encoding: Option<Encoding>) -> Raw<'a> {
        Raw::new_unchecked(self.text.get(span.start()..span.end()).unwrap_or_default(), encoding, span)
    }

    fn forget_key(&mut self) {
        self.path = Path::default();
        self.is_complete = false;
    }

    fn open_header(&mut self) {
        self.forget_key();
        self.is_header = true;
        self.depth = 0;
    }

    fn close_header(&mut self) {
        let Path { text: name, start } = core::mem::take(&mut self.path);
        self.is_header = false;
        self.header.clone_from(&name);
        if self.document.tables.len() < SETTINGS_MAX {
            self.document.tables.push(Table { line: position(self.text, start).0, name });
        }
    }
}

impl EventReceiver for Reader<'_> {
    fn std_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.open_header();
    }

    fn std_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.close_header();
    }

    fn array_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.open_header();
    }

    fn array_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.close_header();
    }

    fn inline_table_open(&mut self, span: Span, error: &mut dyn ErrorSink) -> bool {
        let table = ParseError::new("a table in braces is not for a node, expected a value");
        error.report_error(table.with_unexpected(span));
        false
    }

    fn array_open(&mut self, span: Span, error: &mut dyn ErrorSink) -> bool {
        if self.depth > 0 {
            error.report_error(ParseError::new("a list in a list is not for a node").with_unexpected(span));
            return false;
        }
        self.depth += 1;
        true
    }

    fn array_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.depth = 0;
    }

    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        if self.is_complete && !self.is_header {
            self.forget_key();
        }
        let mut part = Cow::Borrowed("");
        self.raw(span, encoding).decode_key(&mut part, error);
        self.path.add(&part, span.start());
    }

    fn key_val_sep(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.is_complete = true;
        self.statement += 1;
    }

    fn newline(&mut self, _: Span, _: &mut dyn ErrorSink) {
        if self.depth == 0 {
            self.forget_key();
        }
    }

    fn scalar(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        let raw = self.raw(span, encoding);
        let mut decoded = Cow::Borrowed("");
        let is_text = raw.decode_scalar(&mut decoded, error) == ScalarKind::String;
        if self.is_header || !self.is_complete {
            return;
        }
        if self.document.settings.len() >= SETTINGS_MAX {
            return error.report_error(ParseError::new("more values than a node keeps").with_unexpected(span));
        }
        let mut path = self.header.clone();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&self.path.text);
        let value = if is_text { decoded.into_owned() } else { raw.as_str().to_string() };
        let is_item = self.depth > 0;
        let (line, _) = position(self.text, if is_item { span.start() } else { self.path.start });
        let table = self.document.tables.len();
        self.document.settings.push(Setting { line, table, path, statement: self.statement, is_item, value });
    }
}

#[cfg(test)]
mod tests;
