//! One user's session: keys change the line, Enter runs it, and views are drawn until a key is pressed.

use core::fmt::{self, Write};

use heapless::{String, Vec};

use crate::commands::{self, Failure, Next, View};
use crate::history::History;
use crate::keys::{Decoder, Key};
use crate::line::Line;
use crate::node::Node;
use crate::view::Shown;

/// Longest prompt in bytes.
const PROMPT_LEN_MAX: usize = 32;
/// Words of a line that completion looks at.
const WORDS_MAX: usize = 8;
/// Longest word that can be completed.
const WORD_LEN_MAX: usize = 32;
const BELL: &str = "\x07";

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// On the serial line, where log lines appear anyway.
    Console,
    /// Elsewhere.
    Remote,
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// The user has ended it.
    End,
}

/// A session.
pub struct Shell {
    terminal: Terminal,
    /// Empty until the session has begun.
    prompt: String<PROMPT_LEN_MAX>,
    decoder: Decoder,
    line: Line,
    history: History,
    view: Option<Shown>,
}

impl Shell {
    /// Makes a session that has not begun.
    #[must_use]
    pub const fn new(terminal: Terminal) -> Self {
        Self {
            terminal,
            prompt: String::new(),
            decoder: Decoder::new(),
            line: Line::new(),
            history: History::new(),
            view: None,
        }
    }

    /// Begins the session, or another one: shows the prompt. Older lines can still be called back.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out`.
    pub fn start(&mut self, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
        self.prompt = prompt_of(node);
        self.line.set("");
        self.history.rewind();
        self.view = None;
        self.line.draw(&self.prompt, out)
    }

    /// Takes one byte that the user typed.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out`.
    pub fn feed(&mut self, byte: u8, node: &dyn Node, out: &mut dyn Write) -> Result<Flow, fmt::Error> {
        let Some(key) = self.decoder.feed(byte) else { return Ok(Flow::Continue) };
        if self.view.take().is_some() {
            out.write_str("\n")?;
            self.draw(out)?;
            return Ok(Flow::Continue);
        }
        self.press(key, node, out)
    }

    /// Returns when [`tick`](Self::tick) has something to do, in µs since boot.
    #[must_use]
    pub fn due_us(&self) -> Option<u64> {
        self.view.as_ref().map(Shown::due_us)
    }

    /// Draws the view again if it is due, or the prompt if the node's name has changed. Call it now and then.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out`.
    pub fn tick(&mut self, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
        match &mut self.view {
            Some(shown) => shown.tick(node, out),
            None => self.refresh_prompt(node, out),
        }
    }

    /// Has `print` write whole lines without tearing the line that is being typed.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out` or of `print`.
    pub fn print_around(
        &mut self,
        out: &mut dyn Write,
        print: impl FnOnce(&mut dyn Write) -> fmt::Result,
    ) -> fmt::Result {
        if self.view.is_some() || self.prompt.is_empty() {
            return print(out);
        }
        out.write_str("\r\x1b[K")?;
        print(out)?;
        self.draw(out)
    }

    fn press(&mut self, key: Key, node: &dyn Node, out: &mut dyn Write) -> Result<Flow, fmt::Error> {
        match key {
            Key::Char(c) => self.type_char(c, out)?,
            Key::Enter => return self.enter(node, out),
            Key::Tab => self.complete(node, out)?,
            Key::Interrupt => {
                self.line.end();
                self.draw(out)?;
                out.write_str("^C\n")?;
                self.line.set("");
                self.history.rewind();
                self.draw(out)?;
            }
            Key::EndOfInput if self.line.text().is_empty() => {
                out.write_str("\n")?;
                return Ok(Flow::End);
            }
            Key::ClearScreen => {
                out.write_str("\x1b[H\x1b[2J")?;
                self.draw(out)?;
            }
            Key::Up | Key::Down => {
                let found = match key {
                    Key::Up => self.history.older(self.line.text()),
                    _ => self.history.newer(),
                };
                match found {
                    Some(text) => self.line.set(text),
                    None => return out.write_str(BELL).map(|()| Flow::Continue),
                }
                self.draw(out)?;
            }
            key => {
                let is_done = self.edit(key);
                if is_done { self.draw(out)? } else { out.write_str(BELL)? }
            }
        }
        Ok(Flow::Continue)
    }

    /// Changes the line; false if there was nothing to change.
    fn edit(&mut self, key: Key) -> bool {
        match key {
            Key::Backspace => return self.line.backspace(),
            Key::Delete | Key::EndOfInput => return self.line.delete(),
            Key::Left => return self.line.left(),
            Key::Right => return self.line.right(),
            Key::Home => self.line.home(),
            Key::End => self.line.end(),
            Key::KillToEnd => self.line.kill_to_end(),
            Key::KillToStart => self.line.kill_to_start(),
            Key::KillWord => self.line.kill_word(),
            _ => return false,
        }
        true
    }

    fn type_char(&mut self, c: char, out: &mut dyn Write) -> fmt::Result {
        // The usual case costs one character on a slow line, not the whole line.
        let is_simple = self.line.is_at_end() && self.line.has_room(&self.prompt);
        match self.line.insert(c) {
            false => out.write_str(BELL),
            true if is_simple => out.write_char(c),
            true => self.draw(out),
        }
    }

    fn enter(&mut self, node: &dyn Node, out: &mut dyn Write) -> Result<Flow, fmt::Error> {
        if !self.line.is_at_end() {
            self.line.end();
            self.draw(out)?;
        }
        out.write_str("\n")?;
        let line: String<{ crate::line::LINE_LEN_MAX }> = self.line.text().trim().try_into().unwrap_or_default();
        self.history.push(&line);
        self.line.set("");
        let next = match commands::execute(&line, node, out) {
            Ok(next) => next,
            Err(Failure::Output(error)) => return Err(error),
            Err(failure) => {
                writeln!(out, "{failure}")?;
                Next::Prompt
            }
        };
        self.prompt = prompt_of(node);
        match next {
            Next::Prompt => self.draw(out)?,
            Next::End => return Ok(Flow::End),
            Next::View(View::Log(_)) if self.terminal == Terminal::Console => {
                writeln!(out, "on the serial line log lines appear anyway: no need for -f")?;
                self.draw(out)?;
            }
            Next::View(view) => self.view = Some(Shown::start(view, true, node, out)?),
        }
        Ok(Flow::Continue)
    }

    /// Completes the word before the cursor as far as it is unambiguous; shows what is possible if that is no further.
    fn complete(&mut self, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
        let before: String<{ crate::line::LINE_LEN_MAX }> = self.line.before_cursor().try_into().unwrap_or_default();
        let mut words: Vec<&str, WORDS_MAX> = Vec::new();
        for word in before.split_ascii_whitespace() {
            if words.push(word).is_err() {
                return out.write_str(BELL);
            }
        }
        if before.is_empty() || before.ends_with(' ') {
            // A new word begins.
            if words.push("").is_err() {
                return out.write_str(BELL);
            }
        }
        let prefix = words.last().copied().unwrap_or_default();
        let mut found = 0;
        let mut common: String<WORD_LEN_MAX> = String::new();
        commands::offer(&words, node, &mut |word| {
            if !word.starts_with(prefix) {
                return;
            }
            found += 1;
            if found == 1 {
                common = word.try_into().unwrap_or_default();
            } else {
                // Words offered are ASCII, so every place is a character's boundary.
                common.truncate(common.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count());
            }
        });
        let rest = common.get(prefix.len()..).unwrap_or_default();
        if found == 1 {
            // A value follows at once, another word behind a space.
            let space = Some(' ').filter(|_| !common.ends_with('='));
            rest.chars().chain(space).for_each(|c| {
                // A full line takes no more; what is shown is what is there.
                let _ = self.line.insert(c);
            });
            return self.draw(out);
        }
        if !rest.is_empty() {
            rest.chars().for_each(|c| {
                let _ = self.line.insert(c);
            });
            return self.draw(out);
        }
        if found == 0 {
            return out.write_str(BELL);
        }
        out.write_str("\n")?;
        let mut result = Ok(());
        commands::offer(&words, node, &mut |word| {
            if result.is_ok() && word.starts_with(prefix) {
                result = write!(out, "{word}  ");
            }
        });
        result?;
        out.write_str("\n")?;
        self.draw(out)
    }

    fn refresh_prompt(&mut self, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
        if self.prompt.is_empty() || self.prompt == prompt_of(node) {
            return Ok(());
        }
        self.prompt = prompt_of(node);
        self.draw(out)
    }

    fn draw(&self, out: &mut dyn Write) -> fmt::Result {
        self.line.draw(&self.prompt, out)
    }
}

/// What the prompt says while the node has no name: that comes with the network controller.
const NAMELESS: &str = "node";

/// Returns the prompt: the node's name, which comes late and may change.
fn prompt_of(node: &dyn Node) -> String<PROMPT_LEN_MAX> {
    let mut prompt = String::new();
    node.look(&mut |snapshot| {
        let name = Some(snapshot.node.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(NAMELESS);
        let cut = name.floor_char_boundary(PROMPT_LEN_MAX - 2);
        // There is room, as just seen.
        let _ = prompt.push_str(name.get(..cut).unwrap_or_default());
    });
    let _ = prompt.push_str("> ");
    prompt
}
