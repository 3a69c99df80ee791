//! The shell: keys that are typed, and lines of a program.
#![no_main]
#![expect(clippy::unwrap_used, reason = "the fake node of the tests, which would not come about")]

#[path = "../../crates/shell/tests/session/node.rs"]
mod node;

use std::fmt::{self, Write};

use node::FakeNode;
use shell::{Flow, Node, Script, Shell};
use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let node = FakeNode::new();
    let mut screen = Screen::default();
    let mut shell = Shell::new(shell::Terminal::Remote);
    for piece in 0..2 {
        // The second time as one who may only look.
        node.may_change.set(piece == 0);
        let (reboots, crashes) = (node.reboots.get(), node.crashes.borrow().len());
        assert!(shell.start(&node, &mut screen).is_ok());
        for byte in data {
            if shell.feed(*byte, &node, &mut screen).ok() == Some(Flow::End) {
                break;
            }
            if let Some(due) = shell.due_us() {
                node.now_us.set(node.now_us().max(due));
                assert!(shell.tick(&node, &mut screen).is_ok());
            }
        }
        if !node.may_change() {
            assert_eq!((node.reboots.get(), node.crashes.borrow().len()), (reboots, crashes));
        }
    }
    assert!(node.notes.borrow().iter().all(|note| !note.contains(char::is_control)));
    let (mut out, mut errors) = (Screen::default(), Screen::default());
    let mut script = Script::new(false);
    for byte in data {
        match script.feed(*byte, &node, &mut out, &mut errors) {
            Ok(Flow::End) => break,
            Ok(_) => assert!(script.is_success() || errors.written > 0, "it fails without a word"),
            Err(_) => unreachable!("the screen takes everything"),
        }
    }
    // A line of a few words can't fill a terminal without end.
    assert!(screen.written + out.written < 20_000 * (data.len() + 2), "{} bytes", screen.written + out.written);
});

/// Takes text, of which it lets no control character pass that a terminal would obey and the shell has no use for.
#[derive(Default)]
struct Screen {
    written: usize,
}

impl Write for Screen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.written += text.len();
        // Line breaks, the bell, backspace, tabs, and the sequences of cursor and colours.
        let is_used = |c: char| matches!(c, '\n' | '\r' | '\x07' | '\x08' | '\t' | '\x1b');
        assert!(text.chars().all(|c| !c.is_control() || is_used(c)), "{text:?}");
        Ok(())
    }
}
