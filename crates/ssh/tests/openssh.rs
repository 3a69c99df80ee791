//! The protocol against OpenSSH's client, over a socket of this machine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output as Finished, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ssh::{Connection, Event, HostKey, Output, PublicKey, Random, Settings};
use tempfile::TempDir;
// Brings the clock that embassy-time is linked with.
use testkit as _;

/// A server whose shell gives back what it is given, and its user.
struct Rig {
    folder: TempDir,
    port: u16,
    /// Key exchanges that the server has begun or taken part in.
    exchanges: &'static AtomicU32,
}

fn public_key(file: &std::path::Path) -> PublicKey {
    use base64ct::{Base64, Encoding};
    let text = std::fs::read_to_string(file.with_extension("pub")).unwrap();
    let mut buffer = [0; 64];
    let blob = Base64::decode(text.split(' ').nth(1).unwrap(), &mut buffer).unwrap();
    PublicKey(blob[blob.len() - 32..].try_into().unwrap())
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["good", "bad"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(name));
            assert!(keygen.status().unwrap().success());
        }
        let accepted = Box::leak(Box::new([public_key(&folder.path().join("good"))]));
        let host_key = HostKey::derive(b"secret", b"board");
        let mut settings = Settings::new(host_key, accepted, "a banner\n");
        change(&mut settings);
        let settings: &'static Settings = Box::leak(Box::new(settings));
        let exchanges: &'static AtomicU32 = Box::leak(Box::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                std::thread::spawn(move || serve(stream, settings, number as u8, exchanges));
            }
        });
        Self { folder, port, exchanges }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ssh(&self, key: &str, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(self.path(key)).args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]);
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", self.path("known").display()));
        ssh.args(["-p", &self.port.to_string()]).args(options).arg("anybody@127.0.0.1").args(command);
        ssh.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ssh
    }

    fn run(&self, key: &str, options: &[&str], command: &[&str]) -> Finished {
        self.ssh(key, options, command).output().unwrap()
    }
}

/// Serves one connection: `fail` exits with 1 and a line on the error output, `cat` and a shell give back their input, `zeros N`
/// writes that many zeros, and everything else is said again.
fn serve(mut stream: TcpStream, settings: &Settings, number: u8, exchanges: &AtomicU32) {
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut connection = Connection::new(settings, Random::new([number; 32])).unwrap();
    let mut input: Vec<u8> = Vec::new();
    let mut output: Vec<u8> = Vec::new();
    let mut is_echoing = false;
    let mut status = None;
    let mut works = 0;
    loop {
        let result = connection.step();
        match result {
            Ok(Event::Idle | Event::Progress | Event::Denied | Event::LoggedIn(_)) => {}
            Ok(Event::Work) => {
                works += 1;
                if works % 3 == 0 {
                    exchanges.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(Event::Shell) => is_echoing = true,
            Ok(Event::Exec) => match connection.command() {
                "cat" => is_echoing = true,
                "fail" => {
                    connection.write(Output::Error, b"it failed\n").unwrap();
                    status = Some(1);
                }
                command => {
                    output = match command.strip_prefix("zeros ") {
                        Some(count) => vec![b'0'; count.parse().unwrap()],
                        None => format!("{command} {:?}\n", connection.terminal()).into_bytes(),
                    };
                    status = Some(0);
                }
            },
            Ok(Event::Goodbye) => return,
            Err(error) => {
                connection.disconnect(error.reason(), &error.to_string());
                let _ = stream.write_all(connection.waiting());
                return;
            }
        }
        while is_echoing && let Some(byte) = connection.read() {
            output.push(byte);
        }
        if is_echoing && connection.has_session() && connection.is_input_ended() {
            status = Some(0);
        }
        if let Ok(len) = connection.write(Output::Normal, &output) {
            output.drain(..len);
        }
        if output.is_empty()
            && let Some(status) = status.take()
        {
            is_echoing = false;
            connection.exit(status).unwrap();
        }
        let waiting = connection.waiting();
        let len = waiting.len();
        if stream.write_all(waiting).is_err() {
            return;
        }
        connection.sent(len);
        if connection.is_hungry() && result == Ok(Event::Idle) {
            let mut buffer = [0; 20_000];
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => input.extend_from_slice(&buffer[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
        if !input.is_empty() && connection.is_hungry() {
            match connection.receive(&input) {
                Ok(taken) => drop(input.drain(..taken)),
                Err(error) => {
                    connection.disconnect(error.reason(), &error.to_string());
                    let _ = stream.write_all(connection.waiting());
                    return;
                }
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn commands_have_output_errors_and_an_exit_status() {
    let rig = Rig::new();
    let done = rig.run("good", &[], &["status", "now"]);
    assert_eq!(
        (done.status.code(), text(&done.stdout).as_str()),
        (Some(0), "status now None\n"),
        "{}",
        text(&done.stderr)
    );
    assert!(text(&done.stderr).contains("a banner"), "{}", text(&done.stderr));
    let done = rig.run("good", &["-o", "LogLevel=ERROR"], &["fail"]);
    assert_eq!((done.status.code(), text(&done.stderr).as_str()), (Some(1), "it failed\n"));
    assert_eq!(text(&done.stdout), "");
}

#[test]
fn every_algorithm_of_the_client_works() {
    let rig = Rig::new();
    for (options, what) in [
        (&["-c", "aes256-ctr", "-m", "hmac-sha2-256-etm@openssh.com"][..], "aes256-ctr"),
        (&["-c", "chacha20-poly1305@openssh.com"], "chacha20-poly1305@openssh.com"),
        (&["-o", "KexAlgorithms=curve25519-sha256"], "kex: algorithm: curve25519-sha256"),
        (&["-o", "KexAlgorithms=curve25519-sha256@libssh.org"], "kex: algorithm: curve25519-sha256@libssh.org"),
    ] {
        let options = [options, &["-v"]].concat();
        let done = rig.run("good", &options, &["zeros", "100000"]);
        assert_eq!((done.status.code(), done.stdout.len()), (Some(0), 100_000), "{}", text(&done.stderr));
        assert!(text(&done.stderr).contains(what), "{}", text(&done.stderr));
    }
    let done = rig.run("good", &["-o", "KexAlgorithms=ecdh-sha2-nistp256"], &["x"]);
    assert_eq!(done.status.code(), Some(255));
    assert!(text(&done.stderr).contains("no matching key exchange method"), "{}", text(&done.stderr));
}

#[test]
fn other_keys_and_passwords_are_refused() {
    let rig = Rig::new();
    let done = rig.run("bad", &[], &["status"]);
    assert_eq!(done.status.code(), Some(255));
    assert!(text(&done.stderr).contains("Permission denied (publickey)"), "{}", text(&done.stderr));
    let done = rig.run("bad", &["-o", "PreferredAuthentications=password,keyboard-interactive"], &["status"]);
    assert!(text(&done.stderr).contains("Permission denied (publickey)"), "{}", text(&done.stderr));
}

#[test]
fn attempts_without_end_are_cut_off() {
    let rig = Rig::new();
    let keys: Vec<String> = (0..8).map(|i| rig.path(&format!("key{i}")).display().to_string()).collect();
    let mut options = Vec::new();
    for key in &keys {
        assert!(
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", key]).status().unwrap().success()
        );
        options.extend(["-i", key]);
    }
    let done = rig.run("bad", &options, &["status"]);
    assert!(text(&done.stderr).contains("too many attempts"), "{}", text(&done.stderr));
}

#[test]
fn much_data_goes_both_ways() {
    let rig = Rig::new();
    let mut child = rig.ssh("good", &[], &["cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut stdin = child.stdin.take().unwrap();
    let data = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&data).unwrap());
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(done.stdout == sent, "{} of {} bytes, {}", done.stdout.len(), sent.len(), text(&done.stderr));
}

#[test]
fn keys_are_exchanged_again_while_data_flows() {
    for (rekey_bytes, options) in [(u64::MAX, &["-o", "RekeyLimit=100K"][..]), (100_000, &[])] {
        let rig = Rig::with(|settings| settings.rekey_bytes = rekey_bytes);
        let mut child = rig.ssh("good", options, &["cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let mut stdin = child.stdin.take().unwrap();
        let data = sent.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&data).unwrap());
        let done = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(done.stdout == sent, "{} of {} bytes, {}", done.stdout.len(), sent.len(), text(&done.stderr));
        let exchanges = rig.exchanges.load(Ordering::Relaxed);
        assert!(exchanges > 8, "{exchanges}");
    }
}

#[test]
fn a_terminal_has_a_size() {
    let rig = Rig::new();
    let script = format!("stty rows 33 cols 111; exec {:?}", rig.ssh("good", &["-tt"], &["size"]))
        .replace("SSH_AUTH_SOCK= ", "");
    let script = script.replace("env -u SSH_AUTH_SOCK ", "");
    let done =
        Command::new("script").args(["-q", "-e", "-c", &script, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    assert!(text(&done.stdout).contains("Terminal { columns: 111, rows: 33 }"), "{script}\n{}", text(&done.stdout));
}

#[test]
fn forwarding_files_and_agents_are_refused_cleanly() {
    let rig = Rig::new();
    let sftp = rig.run("good", &["-s"], &["sftp"]);
    assert!(text(&sftp.stderr).contains("subsystem request failed"), "{}", text(&sftp.stderr));
    let forward = rig.run("good", &["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9"], &["status"]);
    assert!(text(&forward.stderr).contains("remote port forwarding failed"), "{}", text(&forward.stderr));
    let direct = rig.run("good", &["-W", "127.0.0.1:9"], &[]);
    assert!(text(&direct.stderr).contains("a node forwards nothing"), "{}", text(&direct.stderr));
    let agent = rig.run("good", &["-A", "-X"], &["status"]);
    assert_eq!(agent.status.code(), Some(0), "{}", text(&agent.stderr));
}

#[test]
fn one_connection_has_one_session_at_a_time_and_several_after_each_other() {
    let rig = Rig::new();
    let control = format!("ControlPath={}", rig.path("control").display());
    let mut master = rig.ssh("good", &["-M", "-N", "-o", &control], &[]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !rig.path("control").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..3 {
        let done = rig.run("good", &["-o", &control], &["again"]);
        assert_eq!(text(&done.stdout), "again None\n", "{}", text(&done.stderr));
    }
    master.kill().unwrap();
    master.wait().unwrap();
}

#[test]
fn a_client_that_asks_whether_we_are_there_is_answered() {
    let rig = Rig::new();
    let options = ["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1"];
    let mut child = rig.ssh("good", &options, &["cat"]).stdin(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(3500));
    assert_eq!(child.try_wait().unwrap(), None);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
