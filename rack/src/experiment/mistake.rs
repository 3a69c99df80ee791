//! What is wrong with a file, and where: shown with the line and a mark below it.

use std::fmt::Write;
use std::ops::Range;

/// Words that differ by more of their letters than this share are not what was meant.
const NEAR: f64 = 0.6;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where, in bytes of the file.
    pub(crate) span: Range<usize>,
    /// What.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl Mistake {
    pub(crate) fn new(span: Range<usize>, what: impl Into<String>) -> Self {
        Self { span, what: what.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Of a word that is none of `known`: suggests the nearest, or lists them.
    pub(crate) fn unknown(span: Range<usize>, what: &str, word: &str, known: &[&str]) -> Self {
        Self::new(span, format!("there is no {what} '{word}'")).help(suggestion(word, known))
    }

    /// Shows it as it stands in `text`, the content of the file at `path`.
    pub(crate) fn show(&self, path: &str, text: &str) -> String {
        let start = self.span.start.min(text.len());
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let number = before.matches('\n').count() + 1;
        let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let column = text.get(line_start..start).map_or(0, |part| part.chars().count());
        let marked = self.span.end.min(line_start + line.len()).saturating_sub(start);
        let len = text.get(start..start + marked).map_or(1, |part| part.chars().count()).max(1);
        let margin = " ".repeat(number.to_string().len());
        // Tabs stay tabs, so that the mark is below what it means.
        let indent: String = line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let mut shown = format!(
            "error: {}\n{margin}--> {path}:{number}:{}\n{margin} |\n{number} | {line}\n{margin} | {indent}{}\n",
            self.what,
            column + 1,
            "^".repeat(len)
        );
        if let Some(help) = &self.help {
            // Writing to a String does not fail.
            let _ = writeln!(shown, "{margin} = {help}");
        }
        shown
    }
}

/// Returns what may have been meant by `word`.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean '{near}'?"),
        None if known.is_empty() => "there is none".into(),
        None => format!("there are {}", known.join(", ")),
    }
}

/// Returns the known word that `word` is nearest to, if it is near.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(&word.to_lowercase(), other);
    let best = known.iter().map(|other| (likeness(other), *other)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= NEAR).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_with_line_column_mark_and_help() {
        let text = "a = 1\n\ton = \"wörker\"\n";
        let start = text.find("wörker").unwrap_or(0);
        let mistake = Mistake::unknown(start..start + "wörker".len(), "role", "wörker", &["source", "worker"]);
        assert_eq!(
            mistake.show("x.toml", text),
            "error: there is no role 'wörker'\n --> x.toml:2:8\n  |\n2 | \ton = \"wörker\"\n  | \t      ^^^^^^\n  = did you mean 'worker'?\n"
        );
    }

    #[test]
    fn places_outside_of_the_text_and_over_several_lines_are_shown() {
        assert!(Mistake::new(100..200, "end").show("x", "ab").contains("x:1:3"));
        assert!(Mistake::new(0..9, "all").show("x", "abc\ndefgh").contains("| ^^^\n"));
        assert!(Mistake::new(0..0, "empty").show("x", "").contains("x:1:1"));
    }

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(suggestion("cont", &["name", "count"]), "did you mean 'count'?");
        assert_eq!(suggestion("zebra", &["name", "count"]), "there are name, count");
        assert_eq!(suggestion("x", &[]), "there is none");
    }
}
