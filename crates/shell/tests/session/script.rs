//! Commands that a program runs.

use shell::{Flow, Script};

use crate::node::FakeNode;

/// Runs one command and returns its output, its errors and whether it went well.
fn run(node: &FakeNode, line: &str) -> (String, String, bool) {
    let (mut script, mut out, mut errors) = (Script::new(false), String::new(), String::new());
    script.run(line, node, &mut out, &mut errors).unwrap();
    (out, errors, script.is_success())
}

fn feed(script: &mut Script, node: &FakeNode, text: &str) -> (String, String, Flow) {
    let (mut out, mut errors, mut flow) = (String::new(), String::new(), Flow::Continue);
    for byte in text.bytes() {
        if script.feed(byte, node, &mut out, &mut errors).unwrap() == Flow::End {
            flow = Flow::End;
        }
    }
    (out, errors, flow)
}

#[test]
fn a_command_tells_its_success_and_keeps_errors_apart() {
    let node = FakeNode::new();
    let (out, errors, is_success) = run(&node, "status");
    assert!(out.contains("name      pi-123456") && errors.is_empty() && is_success, "{out}{errors}");
    for (line, problem) in [
        ("scp -t /tmp", "there is no command 'scp'"),
        ("status now", "status: 'now' is too much\nusage: status\n"),
        ("workload start cpu:load=500%", "workload: load=500% is not allowed"),
    ] {
        let (out, errors, is_success) = run(&node, line);
        assert!(
            out.is_empty() && errors.starts_with(problem) && errors.ends_with('\n') && !is_success,
            "{out}{errors}"
        );
    }
    node.has_led.set(false);
    assert_eq!(
        run(&node, "locate"),
        (String::new(), "locate: this board has no LED that a node can blink\n".into(), false)
    );
}

#[test]
fn lines_are_run_one_after_the_other_and_the_last_counts() {
    let (node, mut script) = (FakeNode::new(), Script::new(false));
    let (out, errors, flow) = feed(&mut script, &node, "nothing\n\nlog 1\r\n  locate 5\n");
    assert_eq!(out, "    0.029000 info  line 29\nthe LED blinks for 5 s; 'locate off' ends it\n");
    assert!(errors.starts_with("there is no command 'nothing'") && flow == Flow::Continue && script.is_success());
    assert_eq!(feed(&mut script, &node, "stat"), (String::new(), String::new(), Flow::Continue));
    let (mut out, mut errors) = (String::new(), String::new());
    script.end_line(&node, &mut out, &mut errors).unwrap();
    assert!(errors.contains("did you mean 'status'?") && !script.is_success());
    assert_eq!(feed(&mut script, &node, "exit\n").2, Flow::End);
}

#[test]
fn a_line_that_is_too_long_is_not_run() {
    let (node, mut script) = (FakeNode::new(), Script::new(false));
    let (out, errors, _) = feed(&mut script, &node, &format!("locate {}\nlog 1\n", " ".repeat(600)));
    assert!(errors.contains("it is not run") && out.lines().count() == 1, "{errors}{out}");
    assert!(node.locates.borrow().is_empty());
}

#[test]
fn without_a_terminal_views_are_plain_and_go_on() {
    let (node, mut script) = (FakeNode::new(), Script::new(false));
    let (mut out, mut errors) = (String::new(), String::new());
    script.run("top 2", &node, &mut out, &mut errors).unwrap();
    feed(&mut script, &node, "status\n");
    node.now_us.set(2_000_000);
    script.tick(&node, &mut out).unwrap();
    assert!(!out.contains('\x1b') && out.matches("core 0 [").count() == 2, "{out}");
    assert!(script.is_showing() && script.due_us() == Some(4_000_000));
}

#[test]
fn on_a_terminal_a_key_ends_a_view() {
    let (node, mut script) = (FakeNode::new(), Script::new(true));
    let (mut out, mut errors) = (String::new(), String::new());
    script.run("log -f", &node, &mut out, &mut errors).unwrap();
    assert!(script.is_showing() && out.contains("line 29"));
    feed(&mut script, &node, "q");
    assert!(!script.is_showing() && script.is_success());
}

#[test]
fn what_a_terminal_would_obey_is_neither_run_nor_shown() {
    let node = FakeNode::new();
    for line in ["note \x1b]0;owned\x07", "\0status", "status\u{9b}2J"] {
        let (out, errors, is_success) = run(&node, line);
        assert!(out.is_empty() && errors.starts_with("a command has no control characters, such as 0x"), "{errors:?}");
        assert!(!is_success && errors.trim_end().chars().all(|c| !c.is_control()), "{errors:?}");
    }
    assert!(node.notes.borrow().is_empty());
    assert!(run(&node, "log\t1\r").2, "blanks of any kind are blanks");
}

#[test]
fn lines_are_text_in_utf_8() {
    let (node, mut script) = (FakeNode::new(), Script::new(false));
    assert_eq!(feed(&mut script, &node, "note — 日\n").1, "");
    assert_eq!(*node.notes.borrow(), ["— 日"]);
    let (mut out, mut errors) = (String::new(), String::new());
    for byte in *b"note \xff\n" {
        script.feed(byte, &node, &mut out, &mut errors).unwrap();
    }
    assert!(errors.starts_with("a line is not text") && !script.is_success() && node.notes.borrow().len() == 1);
}
