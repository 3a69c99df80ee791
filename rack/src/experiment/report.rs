//! The report of a run: one page that needs nothing else. Text and tables are made here; the script in it draws what it has as data, as
//! wide as the screen is. Names and words come from nodes and from the file, so all are escaped, and the page may load nothing.

mod charts;
mod tables;

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::book::Kind;
use super::crew::Crew;
use super::outcome::Outcome;

const STYLE: &str = include_str!("report/report.css");
const SCRIPT: &str = include_str!("report/report.js");
/// It has all it needs, and a text that would escape from its place could still fetch nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Writes the page.
pub(super) fn write(outcome: &Outcome, crew: &Crew<'_>) -> String {
    let mut page = String::new();
    // Writing to a String does not fail.
    let _ = fill(outcome, crew, &mut page);
    page
}

fn fill(outcome: &Outcome, crew: &Crew<'_>, out: &mut String) -> fmt::Result {
    let name = Escaped(&crew.experiment.name);
    writeln!(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
    writeln!(out, "<meta name=\"color-scheme\" content=\"light dark\">")?;
    writeln!(out, "<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">")?;
    writeln!(out, "<title>{name}: {}</title>\n<style>{STYLE}</style></head><body>", outcome.result())?;
    tables::header(outcome, crew, out)?;
    out.write_str("<main>\n")?;
    tables::expectations(outcome, out)?;
    out.write_str("<section id=\"charts\"><noscript>The plots need JavaScript.</noscript></section>\n")?;
    tables::events(outcome, crew, out)?;
    tables::nodes(crew, out)?;
    tables::footer(outcome, out)?;
    let data = data(outcome, crew).to_string();
    // What could end the element, or begin a comment in it, is written as JSON allows, too.
    let data = data.replace('<', "\\u003c");
    writeln!(out, "</main>\n<script type=\"application/json\" id=\"data\">{data}</script>")?;
    writeln!(out, "<script>{SCRIPT}</script></body></html>")
}

/// What the script draws.
fn data(outcome: &Outcome, crew: &Crew<'_>) -> Value {
    let phases: Vec<Value> = outcome
        .spans
        .iter()
        .map(|span| json!({"name": span.name, "from": outcome.second(span.from), "to": outcome.second(span.to)}))
        .collect();
    let marks: Vec<Value> = outcome
        .entries
        .iter()
        .filter(|entry| entry.kind != Kind::Phase && entry.error.is_none())
        .map(|entry| {
            json!({
                "kind": entry.kind.name(), "part": entry.member.map(|at| crew.part(at)), "text": entry.text,
                "from": outcome.second(entry.at), "to": outcome.second(entry.until.unwrap_or(entry.at).min(outcome.end)),
            })
        })
        .collect();
    json!({
        "end": outcome.second(outcome.end), "phases": phases, "marks": marks,
        "parts": (0..crew.members.len()).map(|at| crew.part(at)).collect::<Vec<_>>(),
        "charts": charts::all(outcome, crew),
    })
}

/// Text as it stands in HTML, between tags and in quoted attributes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests;
