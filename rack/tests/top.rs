//! `top` over two virtual nodes: on a terminal as a user has it, and as a table for scripts.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
/// Leaves the screen that a program has for itself (xterm's control sequences, "Alternate Screen Buffer").
const SCREEN_GIVEN_BACK: &str = "\u{1b}[?1049l";

/// Where this test's rack is.
struct Racks(tempfile::TempDir);

impl Racks {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rack"));
        command.env("XDG_RUNTIME_DIR", self.0.path()).env("HOME", self.0.path()).env("TERM", "xterm");
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{arguments:?}: {error}: {errors}")).unwrap()
    }
}

impl Drop for Racks {
    fn drop(&mut self) {
        self.run(&["down", "--all"]);
    }
}

/// Returns what a person reads of what is written to a terminal: who draws leaves out blanks by moving the cursor.
fn as_read(written: &str) -> String {
    let mut parts = written.split("\u{1b}[");
    let mut read = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        let (control, text) = part.split_at_checked(end + 1).unwrap_or((part, ""));
        if control.ends_with('H') {
            read.push(' ');
        }
        read.push_str(text);
    }
    read
}

/// The tool on a terminal of its own.
struct Session {
    child: Child,
    keyboard: File,
    /// All that was written to it.
    screen: Arc<Mutex<String>>,
    /// The other end of the terminal, kept open to look at its settings.
    terminal: File,
    before: Termios,
}

impl Session {
    fn start(racks: &Racks, arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 140, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let terminal = File::from(slave);
        let before = tcgetattr(terminal.as_fd()).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = racks.command(arguments).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
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

    /// Waits until all of these were written, and forgets what was.
    fn wait_for(&self, texts: &[&str]) {
        let deadline = Instant::now() + SOON;
        loop {
            let mut screen = self.screen.lock().unwrap();
            let read = as_read(&screen);
            if texts.iter().all(|text| read.contains(text) || screen.contains(text)) {
                screen.clear();
                return;
            }
            assert!(Instant::now() < deadline, "no {texts:?} on the screen: {screen:?}");
            drop(screen);
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Waits for the end, and checks that the terminal is as it was.
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.screen.lock().unwrap());
            thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(tcgetattr(self.terminal.as_fd()).unwrap(), self.before, "the terminal is not as it was");
        self.wait_for(&[SCREEN_GIVEN_BACK]);
        status
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_rack_is_watched_and_the_terminal_given_back() {
    qemu::build::kernel(&mut |_| ()).unwrap();
    let racks = Racks(tempfile::Builder::new().prefix("t").tempdir().unwrap());
    let up = ["up", "2", "--rack", "t", "--name", "web", "--no-build", "--append", "workload=cpu:load=5%"];
    let up = racks.run(&up);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));

    // For programs; a node that has just been started has no rates yet.
    let deadline = Instant::now() + SOON;
    let nodes = loop {
        let nodes = racks.json(&["top", "--rack", "t", "--json", "--sort", "name"]);
        if nodes.as_array().unwrap().iter().all(|node| node["operations_per_second"].as_u64() > Some(0)) {
            break nodes;
        }
        assert!(Instant::now() < deadline, "no rates: {nodes}");
    };
    for (node, name) in nodes.as_array().unwrap().iter().zip(["web-1", "web-2"]) {
        assert_eq!((&node["node"], &node["error"]), (&Value::from(name), &Value::Null));
        assert!(node["cpu_percent"].as_f64() > Some(0.0) && node["temperature_celsius"].is_number(), "{node}");
        assert_eq!(node["workloads"][0]["spec"], "cpu load=5%");
    }
    let table = String::from_utf8(racks.run(&["top", "--rack", "t", "--once"]).stdout).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains("cpu v") && lines[1].ends_with("cpu load=5%"), "{table}");
    let nowhere = racks.run(&["top", "--rack", "t"]);
    assert!(!nowhere.status.success() && String::from_utf8_lossy(&nowhere.stderr).contains("needs a terminal"));

    let mut session = Session::start(&racks, &["top", "--rack", "t", "--sort", "name"]);
    session.wait_for(&["2 nodes, all answer", "web-1", "web-2", "cpu load=5%", "p99", "q quit"]);
    session.press(b"h");
    session.wait_for(&["choose a node"]);
    session.press(b" l");
    session.wait_for(&["log of", "booted in"]);
    // The console, of the second one.
    session.press(b"jc");
    session.wait_for(&[SCREEN_GIVEN_BACK, "Ctrl-] leaves"]);
    session.press(b"status\r");
    session.wait_for(&["name      web-2", "Raspberry Pi 3 Model B"]);
    session.press(b"\x1d");
    session.wait_for(&["\u{1b}[?1049h", "web-1", "web-2", "q quit"]);
    // It dies, and the screen says so.
    let pid = racks.json(&["ps", "--rack", "t", "--json"])[0]["nodes"][1]["pid"].to_string();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    session.wait_for(&["DOES NOT ANSWER"]);
    session.press(b"q");
    assert!(session.end().success());

    let mut session = Session::start(&racks, &["top", "--rack", "t"]);
    session.wait_for(&["q quit"]);
    session.press(b"\x03");
    assert!(session.end().success());
    let mut session = Session::start(&racks, &["top", "--rack", "t"]);
    session.wait_for(&["q quit"]);
    kill(Pid::from_raw(i32::try_from(session.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(session.end().code(), Some(130));

    let once = racks.run(&["top", "--rack", "t", "--once"]);
    let table = String::from_utf8_lossy(&once.stdout).into_owned();
    assert!(once.status.code() == Some(1) && table.lines().last().unwrap().contains("QEMU ended"), "{table}");
}
