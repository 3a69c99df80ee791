//! A session as its user sees it: keys go in, and a terminal shows what comes out.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod file;
mod node;
mod random;
mod screen;
mod script;

use node::FakeNode;
use screen::Screen;
use shell::{COMMANDS, Flow, Shell, Terminal};
// Brings the clock that the workloads' embassy-time is linked with.
use testkit as _;

const PROMPT: &str = "pi-123456>";

struct User {
    node: FakeNode,
    shell: Shell,
    screen: Screen,
}

impl User {
    fn new() -> Self {
        Self::at(Terminal::Console)
    }

    fn at(terminal: Terminal) -> Self {
        let (node, mut shell, mut screen) = (FakeNode::new(), Shell::new(terminal), Screen::new());
        shell.start(&node, &mut screen).unwrap();
        Self { node, shell, screen }
    }

    fn types(&mut self, bytes: impl AsRef<[u8]>) -> Flow {
        let mut flow = Flow::Continue;
        for byte in bytes.as_ref() {
            if self.shell.feed(*byte, &self.node, &mut self.screen).unwrap() == Flow::End {
                flow = Flow::End;
            }
        }
        flow
    }

    /// Enters a line and returns what was shown before the next prompt.
    fn enters(&mut self, line: &str) -> String {
        self.screen = Screen::new();
        self.types(line);
        self.types("\r");
        let text = self.screen.text();
        let text = text.strip_prefix(&format!("{line}\n")).unwrap_or_else(|| panic!("{text}"));
        text.strip_suffix(PROMPT).unwrap_or_else(|| panic!("{text}")).trim_end().to_owned()
    }

    fn line(&self) -> String {
        let line = self.screen.current();
        line.strip_prefix(PROMPT).unwrap_or_else(|| panic!("{line}")).trim_start().to_owned()
    }

    /// Returns where in the line the cursor is.
    fn column(&self) -> usize {
        self.screen.column() - PROMPT.len() - 1
    }
}

#[test]
fn what_is_typed_is_shown() {
    let mut user = User::new();
    user.types("stat");
    assert_eq!((user.line().as_str(), user.column()), ("stat", 4));
}

#[test]
fn the_line_can_be_edited_anywhere() {
    let mut user = User::new();
    user.types("abd\x1b[Dc");
    assert_eq!((user.line().as_str(), user.column()), ("abcd", 3));
    user.types("\x01X\x05Y");
    assert_eq!((user.line().as_str(), user.column()), ("XabcdY", 6));
    user.types("\x02\x02\x7f");
    assert_eq!((user.line().as_str(), user.column()), ("XabdY", 3));
    user.types("\x1b[3~\x1b[H\x04");
    assert_eq!((user.line().as_str(), user.column()), ("abY", 0));
    user.types("\x06\x0b");
    assert_eq!((user.line().as_str(), user.column()), ("a", 1));
    user.types(" b c\x17\x17");
    assert_eq!(user.line(), "a");
    user.types("\x15");
    assert_eq!(user.line(), "");
    assert_eq!(user.screen.bells, 0);
    user.types("\x7f\x1b[C\x1b[D\x1b[B");
    assert_eq!(user.screen.bells, 4);
}

#[test]
fn a_long_line_scrolls_and_never_wraps() {
    let mut user = User::new();
    let long: String = (0..400).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    user.types(&long);
    assert_eq!(user.screen.bells, 112);
    assert_eq!(user.screen.lines.len(), 1);
    assert!(user.line().ends_with(&long[278..288]));
    user.types("\x01");
    assert!(user.line().starts_with(&long[..20]) && user.column() == 0);
    user.types("\x1b[C".repeat(150));
    assert!(user.line().ends_with(&long[140..151]), "{}", user.line());
}

#[test]
fn entered_lines_can_be_called_back() {
    let mut user = User::new();
    for line in ["help", "log 1", "log 1", "help net"] {
        user.enters(line);
    }
    user.types("dra\x1b[A");
    assert_eq!(user.line(), "help net");
    user.types("\x1b[A\x1b[A\x1b[A");
    assert_eq!(user.line(), "help");
    user.types("\x1b[B\x1b[B\x1b[B");
    assert_eq!((user.line().as_str(), user.column()), ("dra", 3));
    user.types("\x1b[A\x1b[A\r");
    assert!(user.screen.text().contains("line 29\n"));
}

#[test]
fn tab_completes_what_is_unambiguous() {
    let mut user = User::new();
    user.types("st\t");
    assert_eq!(user.line(), "status");
    user.types("\x15wo\tsta\tme\t");
    assert_eq!(user.line(), "workload start memory");
    assert_eq!(user.column(), "workload start memory ".len());
    user.types("\x15de\t\tst\t2");
    assert_eq!(user.line(), "debug crash stack-overflow 2");
    user.types("\x15s\x01x\t");
    assert_eq!((user.line().as_str(), user.screen.bells), ("xs", 1));
}

#[test]
fn tab_shows_what_is_possible() {
    let mut user = User::new();
    user.types("workload r\t\x15workload st\t\t");
    assert!(user.screen.text().contains("\nstart  stop\n"), "{}", user.screen.text());
    assert_eq!((user.line().as_str(), user.column()), ("workload st", 11));
    user.types("\x15workload start cpu lo\t5 fo\t1s\r");
    assert!(user.screen.text().contains("\nstarted cpu on core 1\n"), "{}", user.screen.text());
    user.types("workload set c\tlo\t");
    assert_eq!(user.line(), "workload set cpu load=");
    user.types("\x15\t");
    for command in COMMANDS {
        assert!(user.screen.text().contains(&format!("{}  ", command.name)) || command.name == "exit");
    }
}

#[test]
fn the_prompt_follows_the_name_of_the_node() {
    let mut user = User::new();
    user.node.info.name = "web-1".try_into().unwrap();
    user.types("\r");
    assert_eq!(user.screen.current(), "web-1>");
    user.types("sta");
    user.node.info.name = "web-22".try_into().unwrap();
    user.shell.tick(&user.node, &mut user.screen).unwrap();
    assert_eq!(user.screen.current(), "web-22> sta");
}

#[test]
fn interrupt_drops_the_line() {
    let mut user = User::new();
    user.types("reboot\x03");
    assert_eq!(user.line(), "");
    assert!(user.screen.text().contains("> reboot^C\n"));
    user.types("\r");
    assert_eq!(user.node.reboots.get(), 0);
}

#[test]
fn end_of_input_ends_the_session_on_an_empty_line_only() {
    let mut user = User::new();
    assert_eq!(user.types("x\x04"), Flow::Continue);
    assert_eq!(user.types("\x15\x04"), Flow::End);
    user.shell.start(&user.node, &mut user.screen).unwrap();
    assert_eq!(user.types("exit\r"), Flow::End);
}

#[test]
fn the_screen_can_be_cleared() {
    let mut user = User::new();
    user.enters("help");
    user.types("abc\x0c");
    assert_eq!(user.screen.text().trim_end(), "pi-123456> abc");
}

#[test]
fn a_log_line_does_not_tear_the_line_being_typed() {
    let mut user = User::new();
    user.types("workload lst\x1b[D\x1b[D");
    user.shell.print_around(&mut user.screen, |out| out.write_str("a log line\nanother\n")).unwrap();
    assert_eq!(user.screen.text(), "a log line\nanother\npi-123456> workload lst");
    user.types("i");
    assert_eq!((user.line().as_str(), user.column()), ("workload list", 11));
}

#[test]
fn before_the_session_begins_log_lines_are_printed_plainly() {
    let (mut shell, mut out) = (Shell::new(Terminal::Console), String::new());
    shell.print_around(&mut out, |out| out.write_str("boot\n")).unwrap();
    assert_eq!(out, "boot\n");
}

#[test]
fn help_names_every_command_and_its_ways() {
    let mut user = User::new();
    let all = user.enters("help");
    assert!(all.lines().all(|line| line.len() < screen::COLUMNS), "{all}");
    for command in COMMANDS {
        assert!(all.contains(&format!("  {:9} {}", command.name, command.help)), "{all}");
        let one = user.enters(&format!("help {}", command.name));
        for usage in command.usage {
            assert!(one.contains(format!("{} {usage}", command.name).trim_end()), "{one}");
        }
    }
    assert!(user.enters("help nothing").contains("'nothing' is not a command"));
}

#[test]
fn an_unknown_command_gets_a_suggestion() {
    let mut user = User::new();
    let text = user.enters("stauts");
    assert!(text.starts_with("there is no command 'stauts'; did you mean 'status'?\ncommands: help status"), "{text}");
    assert!(!user.enters("frobnicate").contains("did you mean"));
}

#[test]
fn wrong_arguments_show_the_usage() {
    let mut user = User::new();
    for (line, problem) in [
        ("status now", "status: 'now' is too much\nusage: status"),
        ("log x", "log: LINES is a number from 1 to 256, not 'x'\nusage: log\n       log LINES\n       log -f"),
        ("top 0", "top: SECONDS is a number from 1 to 3600, not '0'\nusage: top [SECONDS]"),
        (
            "workload run",
            "workload: 'run' is not list, show, help, start, stop, restart or set\nusage: workload [list]",
        ),
        ("workload start", "workload: NAME is missing\nusage: workload [list]"),
        ("workload stop 0", "workload: no workload is called '0'; none was started"),
        ("debug", "debug: crash is missing\nusage: debug crash\n       debug crash KIND [CORE]"),
        ("debug crash x", "debug: 'x' is not a KIND: 'debug crash' shows them\nusage: debug crash"),
        ("debug crash panic 4", "debug: CORE is a number from 0 to 3, not '4'"),
    ] {
        let text = user.enters(line);
        assert!(text.starts_with(problem), "{line}: {text}");
    }
    assert_eq!(user.node.crashes.borrow().len(), 0);
}

#[test]
fn status_and_net_show_the_node() {
    let mut user = User::new();
    let status = user.enters("status");
    for text in ["name      pi-123456", "Raspberry Pi 3 Model B", "up        00:00:02", "48.2 C", "crashes   2 panic"] {
        assert!(status.contains(text), "{text} is missing in\n{status}");
    }
    let net = user.enters("net");
    for text in [
        "eth0      no driver link no controller",
        "1000 frames 1.5MB",
        "now 12.0Mbit/s",
        "malformed ipv4 3",
        "sockets   7",
    ] {
        assert!(net.contains(text), "{text} is missing in\n{net}");
    }
}

#[test]
fn the_log_is_shown_from_the_end() {
    let mut user = User::new();
    assert_eq!(user.enters("log 2"), "    0.028000 info  line 28\n    0.029000 info  line 29");
    assert_eq!(user.enters("log").lines().count(), 20);
    assert!(user.enters("log -f").starts_with("on the serial line log lines appear anyway"));
}

#[test]
fn a_remote_session_can_follow_the_log() {
    let mut user = User::at(Terminal::Remote);
    user.types("log -f\r");
    assert!(user.screen.text().contains("line 29"));
    user.node.log.push(0, telemetry::Level::Warn, 2, format_args!("news"));
    user.shell.tick(&user.node, &mut user.screen).unwrap();
    assert!(!user.screen.text().contains("news"), "not before it is due");
    user.node.now_us.set(user.shell.due_us().unwrap());
    user.shell.tick(&user.node, &mut user.screen).unwrap();
    assert!(user.screen.text().contains("warn  core 2: news"));
    (0..300).for_each(|i| user.node.log.push(0, telemetry::Level::Info, 0, format_args!("flood {i}")));
    user.node.now_us.set(user.shell.due_us().unwrap());
    user.shell.tick(&user.node, &mut user.screen).unwrap();
    assert!(user.screen.text().contains("\n(44 lines were overwritten)\n    0.000000 info  flood 44\n"));
    user.types("\x03");
    assert_eq!((user.line().as_str(), user.shell.due_us()), ("", None));
}

#[test]
fn top_refreshes_until_a_key_is_pressed() {
    let mut user = User::new();
    user.types("top 2\r");
    assert!(user.screen.text().contains("pi-123456  up 00:00:02"), "{}", user.screen.text());
    assert_eq!(user.shell.due_us(), Some(2_000_000));
    let mut sample = *user.node.history.newest().unwrap();
    sample.at_us = 99_000_000;
    user.node.history.push(sample);
    user.node.now_us.set(2_000_000);
    user.shell.tick(&user.node, &mut user.screen).unwrap();
    let text = user.screen.text();
    assert!(text.contains("up 00:01:39") && text.matches("core 0 [").count() == 1, "{text}");
    user.types("q");
    assert_eq!((user.line().as_str(), user.shell.due_us()), ("", None));
}

#[test]
fn workloads_are_explained_started_and_stopped() {
    let mut user = User::new();
    assert!(user.enters("workload help").contains("cpu"));
    assert!(user.enters("workload help cpu").contains("load"));
    assert!(user.enters("workload help x").starts_with("workload: there is no workload 'x'; there are certify"));
    assert_eq!(user.enters("workload"), "no workloads; 'workload help' lists what there is");
    assert_eq!(user.enters("workload start cpu:load=50%"), "started cpu on core 1");
    assert_eq!(user.enters("workload start ping peer=10.0.2.2 interval=10ms 2-3"), "started ping on core 2-3");
    assert_eq!(user.enters("workload start idle id=web"), "started web on core 1");
    let list = user.enters("workload");
    assert!(list.contains("1    cpu          starting") && list.contains(" cpu load=50%\n"), "{list}");
    assert!(list.contains("3    ping         starting"), "{list}");
    for (line, problem) in [
        ("start cpu load=500% 1", "load=500% is not allowed; allowed: 0% to 100%"),
        ("start idle id=web", "web runs already: stop it first, restart it, or give another id"),
        ("set cpu load=500%", "load=500% is not allowed; allowed: 0% to 100%"),
        ("set cpu", "'' has no value; write it as NAME=VALUE"),
        ("set x load=1%", "no workload is called 'x'; there are cpu, web, ping"),
        ("stop x", "no workload is called 'x'; there are cpu, web, ping"),
    ] {
        assert_eq!(user.enters(&format!("workload {line}")), format!("workload: {problem}"));
    }
    for (line, problem) in [
        ("start", "NAME is missing"),
        ("start cpu load", "'load' is not KEY=VALUE, nor cores such as 1-3"),
        ("start cpu 1 load=1%", "'load=1%' is too much"),
        ("restart", "ID is missing"),
        ("begin", "'begin' is not list, show, help, start, stop, restart or set"),
    ] {
        assert!(
            user.enters(&format!("workload {line}")).starts_with(&format!("workload: {problem}\nusage:")),
            "{line}"
        );
    }
    let long = format!("workload start cpu {}", "x=1 ".repeat(65));
    user.types(format!("{long}\r"));
    assert!(user.screen.text().contains("259 bytes are too many for a workload and its parameters; at most 256"));
    assert_eq!(user.enters("workload set cpu load=10%"), "cpu goes on with that");
    assert_eq!(user.enters("workload set ping size=10"), "ping was started anew with that");
    let shown = user.enters("workload show cpu");
    assert!(shown.starts_with("cpu on core 1: starting\n  workload    cpu load=10%\n"), "{shown}");
    assert_eq!(user.enters("workload restart web"), "restarted web on core 1");
    assert_eq!(user.enters("workload stop 1+3"), "stopped cpu on core 1, web on core 1, ping on core 3");
    assert_eq!(user.enters("workload stop"), "stopped ping on core 2");
    assert_eq!(user.enters("workload stop all"), "nothing runs there");
}

#[test]
fn a_node_without_a_name_has_a_prompt_too() {
    let mut node = FakeNode::new();
    node.info.name.clear();
    let mut out = String::new();
    Shell::new(Terminal::Console).start(&node, &mut out).unwrap();
    assert!(out.contains("node> "), "{out:?}");
}

#[test]
fn locate_blinks_for_a_minute_or_as_long_as_asked_and_ends() {
    let mut user = User::new();
    assert_eq!(user.enters("locate"), "the LED blinks for 60 s; 'locate off' ends it");
    assert_eq!(user.enters("locate 5"), "the LED blinks for 5 s; 'locate off' ends it");
    assert_eq!(user.enters("locate off"), "the LED is the board's again");
    assert_eq!(*user.node.locates.borrow(), [60, 5, 0]);
    for (line, problem) in [
        ("locate 0", "SECONDS is a number from 1 to 3600, not '0'"),
        ("locate on", "SECONDS is a number from 1 to 3600, not 'on'"),
        ("locate off now", "'now' is too much"),
        ("locate 5 6", "'6' is too much"),
    ] {
        assert!(user.enters(line).starts_with(&format!("locate: {problem}")), "{line}");
    }
    assert_eq!(user.node.locates.borrow().len(), 3);
    user.node.has_led.set(false);
    assert_eq!(user.enters("locate"), "locate: this board has no LED that a node can blink");
}

#[test]
fn reboot_and_crash_reach_the_node() {
    let mut user = User::new();
    assert_eq!(user.enters("reboot"), "restarting");
    assert_eq!(user.node.reboots.get(), 1);
    assert!(user.enters("debug crash").contains("stack-overflow     a recursion without end"));
    assert_eq!(user.enters("debug crash stack-overflow 3"), "core 3 will crash: stack-overflow");
    user.enters("debug crash panic");
    assert_eq!(*user.node.crashes.borrow(), [("stack-overflow".to_owned(), 3), ("panic".to_owned(), 0)]);
}

#[test]
fn who_may_only_look_changes_nothing() {
    let mut user = User::new();
    user.node.may_change.set(false);
    for line in [
        "reboot",
        "locate",
        "locate off",
        "workload start idle",
        "workload set x y=1",
        "workload restart all",
        "workload stop",
        "workload what",
        "debug crash panic",
        "fault add drop",
        "fault clear",
        "fault what",
    ] {
        let name = line.split(' ').next().unwrap();
        let text = user.enters(line);
        assert!(text.starts_with(&format!("{name}: this node is read-only here")), "{line}: {text}");
    }
    for line in [
        "help",
        "status",
        "net",
        "log",
        "certify",
        "workload",
        "workload list",
        "workload help cpu",
        "workload show",
        "debug crash",
        "fault",
        "fault list",
        "fault help drop",
    ] {
        assert!(!user.enters(line).contains("read-only here"), "{line}");
    }
    assert_eq!(
        (user.node.reboots.get(), user.node.locates.borrow().len(), user.node.crashes.borrow().len()),
        (0, 0, 0)
    );
    assert!(user.node.manager.statuses().is_empty());
}

#[test]
fn faults_are_explained_added_shown_and_cleared() {
    let mut user = User::new();
    assert_eq!(user.enters("fault"), "no faults; 'fault help' lists what there is");
    let help = user.enters("fault help");
    assert!(fault::KINDS.iter().all(|kind| help.contains(&format!("  {:10} {}", kind.name, kind.help))), "{help}");
    let help = user.enters("fault help drop");
    for part in ["drop: frames are lost", "share=", "peer=", "control=", "for=", "for example: fault add drop share=5%"]
    {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(!user.enters("fault help stall").contains("peer="));
    assert_eq!(user.enters("fault add drop share=5% for=30s"), "fault 1: 30 s left");
    assert_eq!(user.enters("fault add delay time=5ms dir=out after=1m"), "fault 2: in 60 s for 60 s");
    user.node.now_us.set(user.node.now_us.get() + 10_000_000);
    let list = user.enters("fault list");
    assert_eq!(
        list,
        "id  when               frames    hit       fault\n\
         1   20 s left          0         0         drop share=5% for=30s\n\
         2   in 50 s for 60 s   0         0         delay time=5ms dir=out after=1m"
    );
    assert_eq!(user.enters("fault clear 1"), "ended fault 1");
    assert!(!user.enters("fault").contains("drop"));
    assert_eq!(user.enters("fault clear"), "ended 1 faults");
    assert_eq!(user.enters("fault clear"), "nothing to end");
    for (line, problem) in [
        ("fault clear 1", "fault: no such fault: 'fault list' shows them"),
        ("fault clear x", "fault: ID is a number from 1 to 4294967295, not 'x'"),
        ("fault help lose", "fault: 'lose' is not a kind of fault: 'fault help' lists them"),
        ("fault what", "fault: 'what' is not add, list, clear or help\nusage: fault [list]"),
        ("fault add", "fault: a kind of fault is missing: drop,"),
        ("fault add drop share=5", "fault: share= is a share above 0% and up to 100%, such as 2.5%, not '5'"),
    ] {
        let text = user.enters(line);
        assert!(text.starts_with(problem), "{line}: {text}");
    }
}

#[test]
fn a_note_goes_to_the_log_as_it_was_typed() {
    let mut user = User::new();
    assert_eq!(user.enters("note broker pulled  at 12:05"), "");
    assert_eq!(*user.node.notes.borrow(), ["broker pulled at 12:05"]);
    assert!(user.enters("note").contains("TEXT is missing"));
}
