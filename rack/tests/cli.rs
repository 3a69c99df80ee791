//! The host tool as a user has it: on a terminal, and in a pipe.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use tests::tool::{Session, is_running, signal};

fn rack() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rack"))
}

fn output_of(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Starts a node on a terminal of its own.
fn start(arguments: &[&str]) -> Session {
    qemu::build::kernel(&mut |_| ()).unwrap();
    Session::start(rack().arg("--no-build").args(arguments))
}

fn wait_for_boot(session: &Session) {
    session.wait_until("booted node", |screen| screen.contains("booted in"));
}

#[test]
fn ctrl_a_x_leaves_and_the_shell_hears_what_is_typed() {
    let mut session = start(&["--name", "blinky"]);
    wait_for_boot(&session);
    session.wait_until("prompt with the name", |screen| screen.contains("blinky> "));
    session.press(b"status\r");
    session.wait_until("answer of the shell", |screen| screen.contains("Raspberry Pi 3 Model B"));
    session.press(b"\x01x");
    let (status, screen) = session.end();
    assert!(status.success(), "{screen}");
    assert!(screen.contains("curl http://localhost:") && screen.contains("Ctrl-A X leaves"), "{screen}");
}

#[test]
fn settings_and_a_key_reach_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (config, key) = (path("node.toml"), path("key"));
    std::fs::write(&config, "[node]\nname = \"from-a-file\"\n").unwrap();
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]).status().unwrap();
    assert!(made.success());
    let mut session = start(&["--config", &config, "--ssh-key", &format!("{key}.pub")]);
    wait_for_boot(&session);
    session.wait_until("prompt with the name", |screen| screen.contains("from-a-file> "));
    // As the tool says, with the key.
    let screen = session.screen();
    let line = screen.lines().find_map(|line| line.split_once("ssh -p ")).unwrap().1;
    let port = line.split(' ').next().unwrap();
    let ssh = Command::new("ssh")
        .args(["-i", &key, "-p", port, "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"])
        .args(["-o", &format!("UserKnownHostsFile={}", path("known")), "-F", "none", "root@localhost", "status"])
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&ssh.stdout);
    assert!(ssh.status.success() && answer.contains("from-a-file"), "{answer}{}", String::from_utf8_lossy(&ssh.stderr));
    session.press(b"\x01x");
    assert!(session.end().0.success());
}

#[test]
fn a_crash_report_gets_its_names_while_it_passes() {
    let mut session = start(&[]);
    wait_for_boot(&session);
    session.wait_until("prompt", |screen| screen.contains("> "));
    session.press(b"debug crash panic\r");
    session.wait_until("restart", |screen| screen.contains("*** restarting"));
    session.press(b"\x01x");
    let (_, screen) = session.end();
    let frame = screen.lines().find(|line| line.trim_start().starts_with("#0 0x"));
    assert!(frame.is_some_and(|line| line.contains("kernel/src/") || line.contains("library/")), "{screen}");
}

#[test]
fn a_killed_qemu_is_an_error_and_the_terminal_survives() {
    let mut session = start(&[]);
    wait_for_boot(&session);
    signal(&session.qemu(), Signal::SIGKILL);
    let (status, screen) = session.end();
    assert_eq!(status.code(), Some(1), "{screen}");
    assert!(screen.contains("error: QEMU ended with signal: 9"), "{screen}");
}

#[test]
fn a_terminated_tool_takes_its_node_along() {
    let mut session = start(&[]);
    wait_for_boot(&session);
    let qemu = session.qemu();
    session.signal(Signal::SIGTERM);
    let (status, screen) = session.end();
    assert_eq!(status.code(), Some(130), "{screen}");
    assert!(!is_running(&qemu), "QEMU still runs");
}

#[test]
fn a_wrong_argument_for_qemu_is_told_in_its_words() {
    qemu::build::kernel(&mut |_| ()).unwrap();
    let mut command = rack();
    command.args(["--no-build", "--qemu-arg", "-flux-capacitor"]);
    let output = output_of(command, "");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains("error: QEMU says:") && message.contains("flux-capacitor"), "{message}");
}

#[test]
fn another_board_boots_too_and_one_that_does_not_exist_is_refused() {
    let mut session = start(&["--machine", "raspi4b"]);
    session.wait_until("banner of the board", |screen| screen.contains("on Raspberry Pi 4 Model B"));
    session.press(b"\x01x");
    let (status, screen) = session.end();
    assert!(status.success(), "{screen}");
    let mut command = rack();
    command.args(["--no-build", "--machine", "raspi5b"]);
    let output = output_of(command, "");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(message.contains("there is no machine \"raspi5b\": it is raspi3b or raspi4b"), "{message}");
}

#[test]
fn a_report_from_a_file_is_symbolized() {
    let built = qemu::build::kernel(&mut |_| ()).unwrap();
    let mut command = rack();
    command.arg("symbolize").arg(&built.elf);
    // The first instruction of the image is the entry point's.
    let output = output_of(command, "pc 0x0000000000080000\nx0 0000000000080000\n");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].len() > "pc 0x0000000000080000  ".len(), "{text}");
    assert_eq!(lines[1], "x0 0000000000080000");
}

#[test]
fn a_missing_elf_file_is_one_line() {
    let mut command = rack();
    command.args(["symbolize", "/nowhere/kernel.elf"]);
    let output = output_of(command, "");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.starts_with("error: /nowhere/kernel.elf") && message.lines().count() == 1, "{message}");
}

#[test]
fn help_has_examples() {
    let mut command = rack();
    command.arg("--help");
    let output = output_of(command, "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Examples:") && text.contains("cargo run -- symbolize"), "{text}");
}
