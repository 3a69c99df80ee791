//! Whatever a line sends, the session goes on, and the screen shows no garbage.

use crate::User;

/// Xorshift (Marsaglia 2003): seeded, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Makes sure that the session still does what it is told.
fn check_alive(user: &mut User) {
    // A key to end a view, an end for an escape sequence, and an empty line.
    user.types("\x1b[~\x03\x15");
    assert!(user.enters("log 1").contains("line 29"));
}

#[test]
fn random_bytes_do_no_harm() {
    let mut random = Random(0x5EED);
    let mut user = User::new();
    for i in 0..200_000 {
        let byte = random.below(256) as u8;
        if user.types([byte]) == shell::Flow::End {
            user.shell.start(&user.node, &mut user.screen).unwrap();
        }
        if i % 1_000 == 0 {
            user.shell.print_around(&mut user.screen, |out| out.write_str("a log line\n")).unwrap();
            check_alive(&mut user);
        }
    }
    assert_eq!((user.node.reboots.get(), user.node.crashes.borrow().len()), (0, 0));
}

#[test]
fn random_keys_and_words_do_no_harm() {
    const PIECES: [&str; 40] = [
        "help",
        "status",
        "net",
        "top",
        "log",
        "workload",
        "debug",
        "exit",
        " ",
        " ",
        " ",
        "\r",
        "\r\n",
        "\n",
        "\t",
        "\t",
        "\x1b[A",
        "\x1b[B",
        "\x1b[C",
        "\x1b[D",
        "\x1b[3~",
        "\x1b[",
        "\x1bO",
        "\x1b",
        "\x01",
        "\x05",
        "\x7f",
        "\x0b",
        "\x15",
        "\x17",
        "\x0c",
        "\x03",
        "é",
        "日",
        "start",
        "stop",
        "cpu:load=50%",
        "-f",
        "1-3",
        "99999999999999999999",
    ];
    let mut random = Random(0xBEEF);
    let mut user = User::new();
    for i in 0..150_000 {
        if user.types(PIECES[random.below(PIECES.len())]) == shell::Flow::End {
            user.shell.start(&user.node, &mut user.screen).unwrap();
        }
        // The cursor is where the shell believes it is: one column behind the prompt at least, unless a view is shown.
        if user.shell.due_us().is_none() {
            assert!(user.screen.current().starts_with(crate::PROMPT), "{}", user.screen.current());
            assert!(user.screen.column() > crate::PROMPT.len());
        }
        if i % 500 == 0 {
            check_alive(&mut user);
        }
    }
}
