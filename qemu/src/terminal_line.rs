//! What a line with cursor movements looks like in the end.
//!
//! A node's shell redraws the line being typed around every log line, so its raw output has carriage returns, erasures
//! and cursor movements in it. Whoever looks for a message wants what a person would see.

/// Furthest that one sequence moves the cursor: wider than any terminal.
const COLUMNS_MAX: usize = 1000;

/// Returns what a terminal shows after `raw`, which is one line without its line feed.
#[must_use]
pub fn displayed(raw: &str) -> String {
    let mut cells: Vec<char> = Vec::with_capacity(raw.len());
    let mut column: usize = 0;
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\u{8}' => column = column.saturating_sub(1),
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                let (count, command) = control_sequence(&mut chars);
                match (command, count) {
                    ('K', None | Some(0)) => cells.truncate(column),
                    ('K', Some(2)) => cells.clear(),
                    ('D', _) => column = column.saturating_sub(count.unwrap_or(1).max(1)),
                    ('C', _) => column += count.unwrap_or(1).max(1),
                    ('G', _) => column = count.unwrap_or(1).saturating_sub(1),
                    _ => {}
                }
            }
            '\u{1b}' => {
                chars.next();
            }
            c if c.is_control() && c != '\t' => {}
            c => {
                if cells.len() <= column {
                    cells.resize(column + 1, ' ');
                }
                cells[column] = c;
                column += 1;
            }
        }
    }
    cells.into_iter().collect()
}

/// Returns the first parameter and the final character of a control sequence.
fn control_sequence(chars: &mut impl Iterator<Item = char>) -> (Option<usize>, char) {
    let mut first = String::new();
    let mut is_first = true;
    for c in chars {
        match c {
            '0'..='9' if is_first => first.push(c),
            '@'..='~' => return (first.parse().ok().map(|count: usize| count.min(COLUMNS_MAX)), c),
            _ => is_first = false,
        }
    }
    (None, '\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays() {
        assert_eq!(displayed("net: up\r"), "net: up");
    }

    #[test]
    fn colours_vanish() {
        assert_eq!(displayed("\x1b[1;31merror\x1b[0m: x"), "error: x");
    }

    #[test]
    fn a_redrawn_prompt_leaves_only_the_message() {
        assert_eq!(displayed("> hel\r\x1b[Knet: up"), "net: up");
        assert_eq!(displayed("> hel\r\x1b[2Knet: up"), "net: up");
    }

    #[test]
    fn overwriting_keeps_what_was_not_overwritten() {
        assert_eq!(displayed("abcdef\rXY"), "XYcdef");
    }

    #[test]
    fn backspace_and_cursor_movements_edit() {
        assert_eq!(displayed("helo\x08\x1b[Klo"), "hello");
        assert_eq!(displayed("ac\x1b[1Db\x1b[C!"), "ab !");
    }

    #[test]
    fn a_cut_off_sequence_is_harmless() {
        assert_eq!(displayed("abc\x1b[3"), "abc");
        assert_eq!(displayed("abc\x1b"), "abc");
    }

    #[test]
    fn a_far_cursor_is_bounded() {
        assert_eq!(displayed("\x1b[5Gx"), "    x");
        assert_eq!(displayed("\x1b[99999999999999999999Cx").len(), 2);
        assert_eq!(displayed("\x1b[999999999Cx").len(), COLUMNS_MAX + 1);
    }
}
