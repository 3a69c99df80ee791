//! The host tool as a user has it: on a terminal, and in a pipe.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(60);

fn rack() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rack"))
}

fn output_of(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The tool on a terminal of its own.
struct Session {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// The other end of the terminal, kept open to look at its settings.
    terminal: File,
    before: Termios,
}

impl Session {
    fn start(arguments: &[&str]) -> Self {
        qemu::build::kernel(&mut |_| ()).unwrap();
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let terminal = File::from(slave);
        let before = tcgetattr(terminal.as_fd()).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = rack().args(arguments).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = from.read(&mut chunk) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..len]));
            }
        });
        Self { child, keyboard, screen, terminal, before }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Waits until `is_there` holds of the screen.
    fn wait_for(&self, what: &str, is_there: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + SOON;
        while !is_there(&self.screen()) {
            assert!(Instant::now() < deadline, "no {what} on the screen:\n{}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for_boot(&self) {
        self.wait_for("booted node", |screen| screen.contains("booted in"));
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Waits for the end and checks that the terminal is as it was.
    fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.screen());
            thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(tcgetattr(self.terminal.as_fd()).unwrap(), self.before, "the terminal is not as it was");
        (status, self.screen())
    }

    /// Returns QEMU's process id: the only child.
    fn qemu(&self) -> Pid {
        let pid = self.child.id();
        let children = std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .flatten()
            .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
        Pid::from_raw(children.collect::<String>().split_whitespace().next().unwrap().parse().unwrap())
    }
}

#[test]
fn ctrl_a_x_leaves_and_the_shell_hears_what_is_typed() {
    let mut session = Session::start(&["--no-build", "--name", "blinky"]);
    session.wait_for_boot();
    session.wait_for("prompt with the name", |screen| screen.contains("blinky> "));
    session.press(b"status\r");
    session.wait_for("answer of the shell", |screen| screen.contains("Raspberry Pi 3 Model B"));
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
    let mut session = Session::start(&["--no-build", "--config", &config, "--ssh-key", &format!("{key}.pub")]);
    session.wait_for_boot();
    session.wait_for("prompt with the name", |screen| screen.contains("from-a-file> "));
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
    let mut session = Session::start(&["--no-build"]);
    session.wait_for_boot();
    session.wait_for("prompt", |screen| screen.contains("> "));
    session.press(b"debug crash panic\r");
    session.wait_for("restart", |screen| screen.contains("*** restarting"));
    session.press(b"\x01x");
    let (_, screen) = session.end();
    let frame = screen.lines().find(|line| line.trim_start().starts_with("#0 0x"));
    assert!(frame.is_some_and(|line| line.contains("kernel/src/") || line.contains("library/")), "{screen}");
}

#[test]
fn a_killed_qemu_is_an_error_and_the_terminal_survives() {
    let session = Session::start(&["--no-build"]);
    session.wait_for_boot();
    kill(session.qemu(), Signal::SIGKILL).unwrap();
    let (status, screen) = session.end();
    assert_eq!(status.code(), Some(1), "{screen}");
    assert!(screen.contains("error: QEMU ended with signal: 9"), "{screen}");
}

#[test]
fn a_terminated_tool_takes_its_node_along() {
    let session = Session::start(&["--no-build"]);
    session.wait_for_boot();
    let qemu = session.qemu();
    kill(Pid::from_raw(i32::try_from(session.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let (status, screen) = session.end();
    assert_eq!(status.code(), Some(130), "{screen}");
    assert!(kill(qemu, None).is_err(), "QEMU still runs");
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
    let mut session = Session::start(&["--no-build", "--machine", "raspi4b"]);
    session.wait_for("banner of the board", |screen| screen.contains("on Raspberry Pi 4 Model B"));
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
