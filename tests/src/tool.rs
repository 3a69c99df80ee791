//! The host tool as a user has it: its commands with racks of the test's own, and a terminal for it.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that has no limit of its own, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Leaves the screen that a program has for itself (xterm's control sequences, "Alternate Screen Buffer").
pub const SCREEN_GIVEN_BACK: &str = "\u{1b}[?1049l";

/// Where a test's racks are: other racks of the user, his keys and his agent are none of its business. On drop they are ended.
#[derive(Debug)]
pub struct Racks {
    program: PathBuf,
    directory: TempDir,
}

impl Racks {
    /// Builds the image, for racks that are started by this program (`CARGO_BIN_EXE_rack`).
    #[must_use]
    pub fn new(program: &str) -> Self {
        qemu::build::kernel(&mut |_| ()).unwrap();
        // A short name: sockets' paths are below it.
        let directory = tempfile::Builder::new().prefix("r").tempdir().unwrap();
        Self { program: program.into(), directory }
    }

    /// Returns a path in the test's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns where the tool keeps what belongs to a rack.
    #[must_use]
    pub fn place(&self, rack: &str) -> PathBuf {
        self.path("minipirack").join(rack)
    }

    /// Returns the tool with arguments, without input.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let home = self.directory.path();
        command.env("XDG_RUNTIME_DIR", home).env("HOME", home).env("TERM", "xterm");
        command.env_remove("XDG_CONFIG_HOME").env_remove("SSH_AUTH_SOCK");
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command and returns its exit status, what it printed, and what it complained of.
    pub fn say(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs a command that has to succeed, and returns what it printed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let (status, out, errors) = self.say(arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {out}{errors}");
        out
    }

    /// Runs a command that has to fail, and returns why it did.
    pub fn fail(&self, arguments: &[&str]) -> String {
        let (status, out, errors) = self.say(arguments);
        assert_ne!(status, Some(0), "{arguments:?} succeeds: {out}");
        errors
    }

    /// Runs a command that prints JSON, whether it succeeds or not.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let (_, out, errors) = self.say(arguments);
        serde_json::from_str(&out).map_err(|error| format!("{arguments:?}: {error}: {out}{errors}")).unwrap()
    }

    /// Returns what `ps` knows of a rack that is up.
    pub fn status(&self, rack: &str) -> Value {
        let racks = self.json(&["ps", "--json"]);
        racks.as_array().unwrap().iter().find(|status| status["rack"] == rack).unwrap().clone()
    }

    /// Returns the nodes of that.
    pub fn nodes(&self, rack: &str) -> Vec<Value> {
        self.status(rack)["nodes"].as_array().unwrap().clone()
    }

    /// Returns the processes of this test that the tool has started and that still run: supervisors, QEMUs, and what else a rack
    /// needs. They have the tool's environment.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let needle = format!("XDG_RUNTIME_DIR={}\0", self.directory.path().display());
        let is_ours = |pid: &u32| {
            // Empty for a zombie, and gone for one that has ended.
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&needle)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }

    /// Returns how these were started.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        let line = |pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        self.pids().into_iter().map(|pid| String::from_utf8_lossy(&line(pid)).replace('\0', " ")).collect()
    }

    /// Returns the tool with arguments, in the network namespace of a process.
    #[must_use]
    pub fn inside(&self, pid: &Value, arguments: &[&str]) -> Command {
        let tool = self.command(arguments);
        let mut command = Command::new("nsenter");
        for (key, value) in tool.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.args(["--target", &pid.to_string(), "--net", "--"]).arg(tool.get_program()).args(tool.get_args());
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Racks {
    fn drop(&mut self) {
        self.run(&["down", "--all"]);
    }
}

/// Looks again and again until there is something to see.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a process.
pub fn signal(pid: &Value, signal: Signal) {
    kill(Pid::from_raw(pid.to_string().parse().unwrap()), signal).unwrap();
}

/// Returns whether a process runs; a zombie does not.
#[must_use]
pub fn is_running(pid: &Value) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Returns the processes that a process has started and that still run.
#[must_use]
pub fn children(pid: &Value) -> Vec<Value> {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<String> =
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    pids.iter().map(|pid| pid.parse().unwrap()).collect()
}

/// The tool on a terminal of its own.
#[derive(Debug)]
pub struct Session {
    child: Child,
    keyboard: File,
    /// All that was written to it since somebody has waited for it.
    screen: Arc<Mutex<String>>,
    /// The other end of the terminal, kept open to look at its settings.
    terminal: File,
    before: Termios,
}

impl Session {
    /// Starts a command on a terminal of 30 lines.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 140, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let terminal = File::from(slave);
        let before = tcgetattr(terminal.as_fd()).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
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

    /// Returns what was written.
    #[must_use]
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Waits until `is_there` holds of what was written.
    pub fn wait_until(&self, what: &str, is_there: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(&self.screen()) {
            assert!(Instant::now() < deadline, "no {what} on the screen:\n{}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all of these were written, and forgets what was.
    pub fn wait_for(&self, texts: &[&str]) {
        self.wait_until(&format!("{texts:?}"), |screen| {
            let read = as_read(screen);
            texts.iter().all(|text| read.contains(text) || screen.contains(text))
        });
        self.screen.lock().unwrap().clear();
    }

    /// Types.
    pub fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Sends the tool a signal.
    pub fn signal(&self, what: Signal) {
        signal(&self.child.id().into(), what);
    }

    /// Returns the only process that the tool has started: QEMU.
    #[must_use]
    pub fn qemu(&self) -> Value {
        children(&self.child.id().into()).remove(0)
    }

    /// Waits for the end, and checks that the terminal is as it was. Returns how it ended, and what was written.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
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
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
