//! A terminal, as far as the shell may use one: whatever else it is sent panics.

pub(crate) const COLUMNS: usize = 80;

/// What a user sees.
pub(crate) struct Screen {
    pub(crate) lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    pub(crate) bells: usize,
    pending: String,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { lines: vec![Vec::new()], row: 0, column: 0, bells: 0, pending: String::new() }
    }

    /// Returns the line that the cursor is in.
    pub(crate) fn current(&self) -> String {
        self.line(self.row)
    }

    /// Returns the column that the cursor is in.
    pub(crate) fn column(&self) -> usize {
        self.column
    }

    /// Returns everything, line by line, without spaces at the ends.
    pub(crate) fn text(&self) -> String {
        (0..self.lines.len()).map(|row| self.line(row)).collect::<Vec<_>>().join("\n")
    }

    fn line(&self, row: usize) -> String {
        self.lines[row].iter().collect::<String>().trim_end().to_owned()
    }

    fn put(&mut self, c: char) {
        // What a command writes may wrap; the line being typed may not, since it is drawn over itself.
        assert!(self.column < COLUMNS || !self.current().starts_with(crate::PROMPT), "wraps: {}", self.current());
        let line = &mut self.lines[self.row];
        if line.len() <= self.column {
            line.resize(self.column + 1, ' ');
        }
        line[self.column] = c;
        self.column += 1;
    }

    fn control(&mut self, parameter: &str, last: char) {
        match (parameter, last) {
            ("", 'K') => self.lines[self.row].truncate(self.column),
            ("", 'H') => (self.row, self.column) = (0, 0),
            ("2", 'J') => self.lines = vec![Vec::new(); self.row + 1],
            ("", 'J') => {
                self.lines[self.row].truncate(self.column);
                self.lines.truncate(self.row + 1);
            }
            (count, 'D') => self.column = self.column.checked_sub(count.parse().unwrap()).unwrap(),
            other => panic!("unexpected {other:?}"),
        }
    }
}

impl std::fmt::Write for Screen {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            if !self.pending.is_empty() {
                self.pending.push(c);
                let Some(parameter) = self.pending.strip_prefix("\x1b[") else {
                    assert_eq!(self.pending, "\x1b[");
                    continue;
                };
                if c.is_ascii_alphabetic() {
                    let parameter = parameter[..parameter.len() - 1].to_owned();
                    self.control(&parameter, c);
                    self.pending.clear();
                }
                continue;
            }
            match c {
                '\x1b' => self.pending.push(c),
                '\x07' => self.bells += 1,
                '\r' => self.column = 0,
                '\n' => {
                    (self.row, self.column) = (self.row + 1, 0);
                    if self.row == self.lines.len() {
                        self.lines.push(Vec::new());
                    }
                }
                c => {
                    assert!(!c.is_control(), "{c:?}");
                    self.put(c);
                }
            }
        }
        Ok(())
    }
}
