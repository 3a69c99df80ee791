//! The parts of the report that are text.

use std::fmt::{self, Write};
use std::time::UNIX_EPOCH;

use super::super::crew::{Crew, seconds};
use super::super::outcome::{Outcome, shown};
use super::Escaped;

/// What the run was, and what has come of it.
pub(super) fn header(outcome: &Outcome, crew: &Crew<'_>, out: &mut String) -> fmt::Result {
    let experiment = crew.experiment;
    let result = outcome.result();
    writeln!(out, "<header class=\"{}\"><div class=\"inner\">", result.replace(' ', "-"))?;
    writeln!(out, "<p class=\"badge\">{}</p><h1>{}</h1>", result, Escaped(&experiment.name))?;
    if !experiment.about.is_empty() {
        writeln!(out, "<p class=\"about\">{}</p>", Escaped(experiment.about.trim()))?;
    }
    let met = outcome.verdicts.iter().filter(|verdict| verdict.is_met).count();
    let unix_ms = outcome.began.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let version = crew.members.first().map_or("", |member| member.look.version.as_str());
    out.write_str("<dl>")?;
    for (key, value) in [
        ("expected", format!("{met} of {}", outcome.verdicts.len())),
        ("nodes", crew.members.len().to_string()),
        ("took", seconds(outcome.end.saturating_duration_since(outcome.zero))),
        ("seed", experiment.seed.to_string()),
        ("image", version.to_owned()),
    ] {
        writeln!(out, "<div><dt>{key}</dt><dd>{}</dd></div>", Escaped(&value))?;
    }
    // The script writes it as the reader's clock has it.
    writeln!(out, "<div><dt>began</dt><dd><time data-ms=\"{unix_ms}\">{unix_ms}</time></dd></div></dl>")?;
    if outcome.is_void() {
        out.write_str("<ul class=\"void\">")?;
        outcome.void.iter().try_for_each(|reason| writeln!(out, "<li>{}</li>", Escaped(reason)))?;
        out.write_str("</ul>")?;
    }
    out.write_str("</div></header>\n")
}

/// What was expected, and what was.
pub(super) fn expectations(outcome: &Outcome, out: &mut String) -> fmt::Result {
    out.write_str("<section><h2>Expected</h2><div class=\"card scroll\"><table class=\"verdicts\"><thead><tr>")?;
    out.write_str("<th></th><th>expectation</th><th class=\"number\">measured</th><th></th></tr></thead><tbody>\n")?;
    for verdict in &outcome.verdicts {
        let (class, mark) = if verdict.is_met { ("yes", "✓") } else { ("no", "✗") };
        let value = shown(verdict.measured.value, verdict.expectation.kind);
        writeln!(
            out,
            "<tr class=\"{class}\"><td class=\"mark\" title=\"{}\">{mark}</td><td><code>{}</code></td>\
             <td class=\"number\">{}</td><td class=\"note\">{}</td></tr>",
            if verdict.is_met { "met" } else { "not met" },
            Escaped(&verdict.expectation.text),
            Escaped(&value),
            Escaped(&verdict.measured.note)
        )?;
    }
    out.write_str("</tbody></table></div></section>\n")
}

/// Everything that has happened.
pub(super) fn events(outcome: &Outcome, crew: &Crew<'_>, out: &mut String) -> fmt::Result {
    out.write_str(
        "<section><h2>Events</h2><div class=\"card scroll\"><table><thead><tr><th class=\"number\">planned</th>",
    )?;
    out.write_str("<th class=\"number\">was</th><th>what</th><th>where</th><th></th></tr></thead><tbody>\n")?;
    for entry in &outcome.entries {
        let planned = entry.planned.map_or_else(String::new, |at| format!("{:.3} s", at.as_secs_f64()));
        let who = entry.member.map(|at| crew.part(at)).unwrap_or_default();
        let error = entry.error.as_ref().map(|error| format!("failed: {error}")).unwrap_or_default();
        writeln!(
            out,
            "<tr class=\"{0}\"><td class=\"number\">{planned}</td><td class=\"number\">{1:.3} s</td><td><span class=\"tag\">{0}</span></td>\
             <td>{2}</td><td><code>{3}</code> {4}</td></tr>",
            entry.kind.name(),
            outcome.second(entry.at),
            Escaped(&who),
            Escaped(&entry.text),
            Escaped(&error)
        )?;
    }
    out.write_str("</tbody></table></div></section>\n")
}

/// Who has taken part.
pub(super) fn nodes(crew: &Crew<'_>, out: &mut String) -> fmt::Result {
    out.write_str("<section><h2>Nodes</h2><div class=\"card scroll\"><table><thead><tr><th>part</th><th>node</th>")?;
    out.write_str("<th>address</th><th>board</th><th>image</th><th>workloads</th></tr></thead><tbody>\n")?;
    for (at, member) in crew.members.iter().enumerate() {
        let works: Vec<String> = crew.workloads(at).into_iter().map(|(_, words)| words).collect();
        let works = works.iter().map(|words| format!("<code>{}</code>", Escaped(words))).collect::<Vec<_>>();
        writeln!(
            out,
            "<tr><td><b>{}</b></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(&crew.part(at)),
            Escaped(&member.node.name),
            member.node.address.ip(),
            Escaped(&member.look.board),
            Escaped(&member.look.version),
            works.join("<br>")
        )?;
    }
    out.write_str("</tbody></table></div></section>\n")
}

/// How it is to be read.
pub(super) fn footer(outcome: &Outcome, out: &mut String) -> fmt::Result {
    let ms = outcome.interval.as_millis();
    writeln!(
        out,
        "<footer>Times are seconds from the beginning of the first phase. Nodes were asked every {ms} ms; latencies are exact to 1/16. \
         Made by MiniPiRack.</footer>"
    )
}
