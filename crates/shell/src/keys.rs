//! Bytes from a terminal as keys. Whatever is no key is swallowed whole, so it leaves no garbage on the line.

/// A key, or a combination of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Return, by CR, LF or both.
    Enter,
    /// Backspace, DEL or Ctrl-H.
    Backspace,
    /// Delete.
    Delete,
    /// Left arrow or Ctrl-B.
    Left,
    /// Right arrow or Ctrl-F.
    Right,
    /// Up arrow or Ctrl-P.
    Up,
    /// Down arrow or Ctrl-N.
    Down,
    /// Home or Ctrl-A.
    Home,
    /// End or Ctrl-E.
    End,
    /// Tab.
    Tab,
    /// Ctrl-K: delete to the end of the line.
    KillToEnd,
    /// Ctrl-U: delete to the start of the line.
    KillToStart,
    /// Ctrl-W: delete the word before the cursor.
    KillWord,
    /// Ctrl-L: clear the screen.
    ClearScreen,
    /// Ctrl-C: drop the line, or end what is running.
    Interrupt,
    /// Ctrl-D: end of input on an empty line, else delete.
    EndOfInput,
}

/// Bytes after which an escape sequence is given up: the longest real ones are half as long.
const SEQUENCE_LEN_MAX: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ground,
    /// A CR came: an LF right behind it is part of it.
    AfterCr,
    /// ESC came.
    Escape,
    /// ESC and `[` came; then digits, of which the first number is kept.
    Csi {
        parameter: u8,
        is_first: bool,
        len: u8,
    },
    /// ESC and `O` came: one byte follows.
    Ss3,
    /// Some bytes of a character came.
    Utf8 {
        bytes: [u8; 4],
        len: u8,
        want: u8,
    },
}

/// Turns bytes into keys.
#[derive(Debug)]
pub struct Decoder(State);

impl Decoder {
    /// Makes a decoder that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(State::Ground)
    }

    /// Takes one byte, and returns the key that it completes.
    pub fn feed(&mut self, byte: u8) -> Option<Key> {
        match core::mem::replace(&mut self.0, State::Ground) {
            State::Ground => self.ground(byte),
            State::AfterCr if byte == b'\n' => None,
            State::AfterCr => self.ground(byte),
            State::Escape => self.escape(byte),
            State::Csi { parameter, is_first, len } => self.csi(byte, parameter, is_first, len),
            State::Ss3 => {
                if (0x40..=0x7E).contains(&byte) {
                    final_key(byte)
                } else {
                    self.ground(byte)
                }
            }
            State::Utf8 { bytes, len, want } => self.utf8(byte, bytes, len, want),
        }
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        Some(match byte {
            b'\r' => {
                self.0 = State::AfterCr;
                Key::Enter
            }
            b'\n' => Key::Enter,
            b'\t' => Key::Tab,
            0x1B => {
                self.0 = State::Escape;
                return None;
            }
            0x08 | 0x7F => Key::Backspace,
            // Control keys: the letter's number in the alphabet.
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x03 => Key::Interrupt,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x0B => Key::KillToEnd,
            0x0C => Key::ClearScreen,
            0x0E => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::KillToStart,
            0x17 => Key::KillWord,
            b' '..=b'~' => Key::Char(char::from(byte)),
            0xC2..=0xF4 => {
                let want = if byte < 0xE0 {
                    2
                } else if byte < 0xF0 {
                    3
                } else {
                    4
                };
                self.0 = State::Utf8 { bytes: [byte, 0, 0, 0], len: 1, want };
                return None;
            }
            _ => return None,
        })
    }

    fn escape(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'[' => {
                self.0 = State::Csi { parameter: 0, is_first: true, len: 0 };
                None
            }
            b'O' => {
                self.0 = State::Ss3;
                None
            }
            // Alt and a key: not used.
            b' '..=b'~' => None,
            _ => self.ground(byte),
        }
    }

    fn csi(&mut self, byte: u8, parameter: u8, is_first: bool, len: u8) -> Option<Key> {
        let len = len + 1;
        match byte {
            _ if len > SEQUENCE_LEN_MAX => self.ground(byte),
            b'0'..=b'9' if is_first => {
                let parameter = parameter.saturating_mul(10).saturating_add(byte - b'0');
                self.0 = State::Csi { parameter, is_first, len };
                None
            }
            0x20..=0x3F => {
                self.0 = State::Csi { parameter, is_first: false, len };
                None
            }
            b'~' => match parameter {
                1 | 7 => Some(Key::Home),
                4 | 8 => Some(Key::End),
                3 => Some(Key::Delete),
                _ => None,
            },
            0x40..=0x7D => final_key(byte),
            _ => self.ground(byte),
        }
    }

    fn utf8(&mut self, byte: u8, mut bytes: [u8; 4], len: u8, want: u8) -> Option<Key> {
        if byte & 0xC0 != 0x80 {
            // The character was not finished: it is dropped, and this byte begins something else.
            return self.ground(byte);
        }
        if let Some(slot) = bytes.get_mut(usize::from(len)) {
            *slot = byte;
        }
        let len = len + 1;
        if len < want {
            self.0 = State::Utf8 { bytes, len, want };
            return None;
        }
        let text = bytes.get(..usize::from(len)).and_then(|bytes| core::str::from_utf8(bytes).ok())?;
        text.chars().next().filter(|c| !c.is_control()).map(Key::Char)
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the key of an escape sequence that ends in `byte` (ECMA-48, and xterm's ctlseqs, "PC-Style Function Keys").
fn final_key(byte: u8) -> Option<Key> {
    match byte {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'C' => Some(Key::Right),
        b'D' => Some(Key::Left),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::new();
        bytes.iter().filter_map(|byte| decoder.feed(*byte)).collect()
    }

    #[test]
    fn every_end_of_line_is_one_enter() {
        assert_eq!(keys(b"\r"), [Key::Enter]);
        assert_eq!(keys(b"\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\n\r\n"), [Key::Enter; 2]);
        assert_eq!(keys(b"\r\r\n\n"), [Key::Enter; 3]);
        assert_eq!(keys(b"\ra\n"), [Key::Enter, Key::Char('a'), Key::Enter]);
    }

    #[test]
    fn terminals_say_keys_in_several_ways() {
        assert_eq!(keys(b"\x1b[A\x1b[B\x1b[C\x1b[D"), [Key::Up, Key::Down, Key::Right, Key::Left]);
        assert_eq!(keys(b"\x1bOA\x1bOH\x1bOF"), [Key::Up, Key::Home, Key::End]);
        assert_eq!(keys(b"\x1b[H\x1b[1~\x1b[7~"), [Key::Home; 3]);
        assert_eq!(keys(b"\x1b[F\x1b[4~\x1b[8~"), [Key::End; 3]);
        assert_eq!(keys(b"\x1b[3~\x1b[1;5C"), [Key::Delete, Key::Right]);
        assert_eq!(keys(b"\x08\x7f"), [Key::Backspace; 2]);
    }

    #[test]
    fn other_sequences_leave_nothing() {
        assert_eq!(keys(b"\x1b[5~\x1b[200~\x1b[?1;2c\x1b[15;2~\x1bx\x1bOP"), []);
        // One that never ends is given up, and what follows counts again.
        let endless: Vec<u8> = [b"\x1b[".as_slice(), &[b';'; 100]].concat();
        assert_eq!(keys(&endless), [Key::Char(';'); 100 - SEQUENCE_LEN_MAX as usize]);
    }

    #[test]
    fn a_broken_sequence_does_not_swallow_enter() {
        assert_eq!(keys(b"\x1b\r"), [Key::Enter]);
        assert_eq!(keys(b"\x1b[\r"), [Key::Enter]);
        assert_eq!(keys(b"\x1b[12\r"), [Key::Enter]);
        assert_eq!(keys(b"\x1bO\r"), [Key::Enter]);
        assert_eq!(keys(b"\xe2\x82\r"), [Key::Enter]);
    }

    #[test]
    fn characters_may_have_several_bytes() {
        assert_eq!(keys("aé€😀".as_bytes()), "aé€😀".chars().map(Key::Char).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_that_are_no_character_leave_nothing() {
        assert_eq!(keys(b"\xff\xfe\x80\xc0\xaf\xf5\x00\x1c"), []);
        // A surrogate, a too long form, a C1 control.
        assert_eq!(keys(b"\xed\xa0\x80\xe0\x80\x80\xc2\x9b"), []);
        assert_eq!(keys(b"\xc3\xc3\xa9"), [Key::Char('é')]);
    }
}
