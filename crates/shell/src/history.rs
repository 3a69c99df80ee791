//! Lines that were entered before.

use heapless::{Deque, String};

use crate::line::LINE_LEN_MAX;

/// Lines that are kept.
pub(crate) const LINES: usize = 16;

/// The last lines, and where among them the user is looking.
pub(crate) struct History {
    /// Newest first.
    lines: Deque<String<LINE_LEN_MAX>, LINES>,
    /// How many lines back; 0 is the line being typed.
    back: usize,
    /// The line being typed, while an older one is looked at.
    draft: String<LINE_LEN_MAX>,
}

impl History {
    pub(crate) const fn new() -> Self {
        Self { lines: Deque::new(), back: 0, draft: String::new() }
    }

    /// Keeps a line that was entered, unless it is empty or the same as the last.
    pub(crate) fn push(&mut self, line: &str) {
        self.back = 0;
        if line.is_empty() || self.lines.front().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.is_full() {
            self.lines.pop_back();
        }
        if let Ok(line) = String::try_from(line) {
            // There is room now.
            let _ = self.lines.push_front(line);
        }
    }

    /// Returns the line before the one shown, `shown` being that one; `None` at the oldest.
    pub(crate) fn older(&mut self, shown: &str) -> Option<&str> {
        let line = self.lines.iter().nth(self.back)?;
        if self.back == 0 {
            self.draft.clear();
            // It came from a line of the same size.
            let _ = self.draft.push_str(shown);
        }
        self.back += 1;
        Some(line)
    }

    /// Returns the line after the one shown; `None` at the line being typed.
    pub(crate) fn newer(&mut self) -> Option<&str> {
        self.back = self.back.checked_sub(1)?;
        match self.back.checked_sub(1) {
            None => Some(&self.draft),
            Some(index) => self.lines.iter().nth(index).map(String::as_str),
        }
    }

    /// Forgets where the user was looking.
    pub(crate) fn rewind(&mut self) {
        self.back = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_newest_first_and_the_draft_last() {
        let mut history = History::new();
        for line in ["one", "two", "two", ""] {
            history.push(line);
        }
        assert_eq!(history.older("draft"), Some("two"));
        assert_eq!(history.older("two"), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer(), Some("two"));
        assert_eq!(history.newer(), Some("draft"));
        assert_eq!(history.newer(), None);
        assert_eq!(history.older("other"), Some("two"));
        assert_eq!(history.newer(), Some("other"));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut history = History::new();
        (0..100).for_each(|i| history.push(&i.to_string()));
        let mut all = Vec::new();
        while let Some(line) = history.older("") {
            all.push(line.to_owned());
        }
        assert_eq!(all.len(), LINES);
        assert_eq!((all.first().unwrap().as_str(), all.last().unwrap().as_str()), ("99", "84"));
    }
}
