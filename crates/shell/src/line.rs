//! The line being typed: its text, its cursor, and how it is drawn.

use core::fmt::{self, Write};

use heapless::String;

/// Longest line in bytes.
pub(crate) const LINE_LEN_MAX: usize = 288;
/// Columns that are used: one less than the narrowest usual terminal has, so that nothing ever wraps.
pub(crate) const COLUMNS: usize = 79;

/// A line and a place in it.
#[derive(Debug)]
pub(crate) struct Line {
    text: String<LINE_LEN_MAX>,
    /// Byte index of the character under the cursor; always at a character's boundary.
    cursor: usize,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { text: String::new(), cursor: 0 }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns what stands before the cursor.
    pub(crate) fn before_cursor(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or_default()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.cursor == self.text.len()
    }

    /// Replaces the text and puts the cursor behind it.
    pub(crate) fn set(&mut self, text: &str) {
        self.text.clear();
        // What fitted before fits again.
        let _ = self.text.push_str(text);
        self.cursor = self.text.len();
    }

    /// Inserts a character; false if there is no room, or if it does not take exactly one column of a terminal.
    pub(crate) fn insert(&mut self, c: char) -> bool {
        if !is_one_column(c) || self.text.len() + c.len_utf8() > LINE_LEN_MAX {
            return false;
        }
        let mut rest: String<LINE_LEN_MAX> = String::new();
        // Both fit, as just seen.
        let _ = rest.push_str(self.text.get(self.cursor..).unwrap_or_default());
        self.text.truncate(self.cursor);
        let _ = self.text.push(c);
        self.cursor = self.text.len();
        let _ = self.text.push_str(&rest);
        true
    }

    /// Moves one character to the left; false at the start.
    pub(crate) fn left(&mut self) -> bool {
        let Some(c) = self.before_cursor().chars().next_back() else { return false };
        self.cursor -= c.len_utf8();
        true
    }

    /// Moves one character to the right; false at the end.
    pub(crate) fn right(&mut self) -> bool {
        let Some(c) = self.text.get(self.cursor..).and_then(|rest| rest.chars().next()) else { return false };
        self.cursor += c.len_utf8();
        true
    }

    pub(crate) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(crate) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Deletes the character under the cursor; false at the end.
    pub(crate) fn delete(&mut self) -> bool {
        let start = self.cursor;
        if !self.right() {
            return false;
        }
        self.remove_from(start);
        true
    }

    /// Deletes the character before the cursor; false at the start.
    pub(crate) fn backspace(&mut self) -> bool {
        self.left() && self.delete()
    }

    pub(crate) fn kill_to_end(&mut self) {
        self.text.truncate(self.cursor);
    }

    pub(crate) fn kill_to_start(&mut self) {
        self.remove_from(0);
    }

    /// Deletes the word before the cursor and the spaces behind it.
    pub(crate) fn kill_word(&mut self) {
        let before = self.before_cursor().trim_end_matches(' ');
        let start = before.rfind(' ').map_or(0, |space| space + 1);
        self.remove_from(start);
    }

    /// Deletes from `start` to the cursor. Both are at a character's boundary.
    fn remove_from(&mut self, start: usize) {
        let mut rest: String<LINE_LEN_MAX> = String::new();
        // It fitted before.
        let _ = rest.push_str(self.text.get(self.cursor..).unwrap_or_default());
        self.text.truncate(start);
        self.cursor = start;
        let _ = self.text.push_str(&rest);
    }

    /// Draws the line behind `prompt`, from the first column on. Of a long one the part around the cursor is shown.
    pub(crate) fn draw(&self, prompt: &str, out: &mut dyn Write) -> fmt::Result {
        let room = COLUMNS.saturating_sub(prompt.chars().count()).max(1);
        let at = self.before_cursor().chars().count();
        let skipped = (at + 1).saturating_sub(room);
        write!(out, "\r{prompt}")?;
        let shown = self.text.chars().skip(skipped).take(room);
        let columns = shown.clone().count();
        shown.into_iter().try_for_each(|c| out.write_char(c))?;
        out.write_str("\x1b[K")?;
        match (skipped + columns).saturating_sub(at) {
            0 => Ok(()),
            back => write!(out, "\x1b[{back}D"),
        }
    }

    /// Returns whether the line needs no more room than it has behind `prompt`, with one more character.
    pub(crate) fn has_room(&self, prompt: &str) -> bool {
        prompt.chars().count() + self.text.chars().count() < COLUMNS
    }
}

/// Latin letters and signs take one column everywhere. Others may take none or two, which only the terminal knows.
fn is_one_column(c: char) -> bool {
    !c.is_control() && c != '\u{AD}' && c < '\u{300}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, at: usize) -> Line {
        let mut line = Line::new();
        text.chars().for_each(|c| assert!(line.insert(c)));
        line.home();
        (0..at).for_each(|_| assert!(line.right()));
        line
    }

    fn shown(line: &Line) -> (&str, &str) {
        (line.before_cursor(), &line.text()[line.before_cursor().len()..])
    }

    #[test]
    fn characters_go_in_at_the_cursor() {
        let mut l = line("aé", 1);
        assert!(l.insert('ü'));
        assert_eq!(shown(&l), ("aü", "é"));
        assert!(!l.insert('日') && !l.insert('\u{301}') && !l.insert('\n'));
        assert_eq!(shown(&l), ("aü", "é"));
    }

    #[test]
    fn deleting_stops_at_the_ends() {
        let mut l = line("éa", 1);
        assert!(l.backspace());
        assert!(!l.backspace());
        assert!(l.delete());
        assert!(!l.delete() && !l.left() && !l.right());
        assert_eq!(shown(&l), ("", ""));
    }

    #[test]
    fn kills() {
        let mut l = line("one two  three", 9);
        l.kill_word();
        assert_eq!(shown(&l), ("one ", "three"));
        l.kill_word();
        assert_eq!(shown(&l), ("", "three"));
        let mut l = line("abcd", 2);
        l.kill_to_end();
        assert_eq!(shown(&l), ("ab", ""));
        let mut l = line("abcd", 2);
        l.kill_to_start();
        assert_eq!(shown(&l), ("", "cd"));
    }

    #[test]
    fn a_full_line_takes_no_more() {
        let mut l = line(&"x".repeat(LINE_LEN_MAX), 5);
        assert!(!l.insert('y'));
        assert!(l.backspace() && !l.insert('é') && l.insert('y'));
        assert_eq!(l.text().len(), LINE_LEN_MAX);
    }

    #[test]
    fn drawing_leaves_the_cursor_where_it_is() {
        let draw = |l: &Line| {
            let mut out = std::string::String::new();
            l.draw("> ", &mut out).unwrap();
            out
        };
        assert_eq!(draw(&line("abc", 3)), "\r> abc\x1b[K");
        assert_eq!(draw(&line("abc", 1)), "\r> abc\x1b[K\x1b[2D");
        let long = "0123456789".repeat(10);
        // 77 columns are left behind the prompt; the last is the cursor's.
        assert_eq!(draw(&line(&long, 100)), format!("\r> {}\x1b[K", &long[24..]));
        assert_eq!(draw(&line(&long, 0)), format!("\r> {}\x1b[K\x1b[77D", &long[..77]));
        assert_eq!(draw(&line(&long, 90)), format!("\r> {}\x1b[K\x1b[1D", &long[14..91]));
    }
}
