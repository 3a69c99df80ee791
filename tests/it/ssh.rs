//! The SSH server, through OpenSSH's client and through those who are none.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::malformed::Random;
use tests::node::{PATIENCE, Rig, TestNode};
use tests::openssh::{Done, User};
use tests::{python, shell, wait};

/// The secret that the nodes of these tests are given.
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_has_the_key_runs_commands() -> Result<()> {
    let user = User::new()?;
    let rig = Rig::boot(&format!("name=delta {} rack-secret={SECRET}", user.setting()?))?;
    let node = &rig.node;

    let status = user.run(node, "status")?;
    ensure!(status.status == Some(0) && status.out.contains("name      delta"), "{status:?}");
    ensure!(!status.out.contains('\r'), "{status:?}");

    // Errors are apart, and tell in the status.
    let wrong = user.run(node, "workload start cpu:load=500%")?;
    ensure!(wrong.status == Some(1) && wrong.out.is_empty() && wrong.errors.contains("load=500%"), "{wrong:?}");
    let unknown = user.run(node, "frobnicate")?;
    ensure!(unknown.status == Some(1) && unknown.errors.contains("'frobnicate'"), "{unknown:?}");
    let nothing = user.run(node, "workload help nosuch")?;
    ensure!(nothing.status == Some(1) && nothing.errors.contains("there are certify"), "{nothing:?}");

    // It changes the node.
    let started = user.run(node, "workload start cpu:load=30%,cores=3")?;
    ensure!(started.status == Some(0), "{started:?}");
    node.wait_for_metric("a running workload", PATIENCE, |metrics| {
        let operations = metrics.sum("minipirack_workload_operations_total", &[("core", "3"), ("workload", "cpu")]);
        Ok((operations > 0.0).then_some(operations))
    })?;

    // The client, the console and the node's own words agree on the host key.
    let known = Command::new("ssh-keygen").arg("-lf").arg(user.path("known")).output()?;
    let fingerprint = String::from_utf8_lossy(&known.stdout).split(' ').nth(1).context("no fingerprint")?.to_owned();
    let console = shell::run(node, "status")?.join("\n");
    ensure!(fingerprint.starts_with("SHA256:") && console.contains(&fingerprint), "{fingerprint} in\n{console}");

    // Other keys, and passwords, are refused.
    for options in [&[][..], &["-o", "PreferredAuthentications=password,keyboard-interactive"]] {
        let refused = user.run_as(node, "bad", options, "status")?;
        let is_clear = refused.errors.contains("Permission denied (publickey)");
        ensure!(refused.status == Some(255) && is_clear, "{refused:?}");
    }

    // So are files, forwarding and agents.
    let mut scp = Command::new("scp");
    let address = node.tcp(22)?;
    scp.args(["-F", "none", "-o", "BatchMode=yes", "-o", "HostKeyAlias=node", "-o", "IdentitiesOnly=yes", "-i"]);
    scp.arg(user.path("good")).arg("-o").arg(format!("UserKnownHostsFile={}", user.path("known").display()));
    scp.args(["-P", &address.port().to_string()]).arg(user.path("good.pub")).arg(format!("x@{}:/tmp", address.ip()));
    let scp = Done::from(&scp.output().context("running scp")?);
    ensure!(scp.status != Some(0) && scp.errors.contains("subsystem request failed"), "{scp:?}");
    let forward = user.run_as(node, "good", &["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9"], "status")?;
    ensure!(forward.errors.contains("remote port forwarding failed"), "{forward:?}");
    let agent = user.run_as(node, "good", &["-A"], "net")?;
    ensure!(agent.status == Some(0) && agent.out.contains("52:54:00:12:34:56"), "{agent:?}");

    // A program's lines are run one by one.
    let mut lines = Running(user.ssh(node, "good", &["-T"], &[])?.stdin(Stdio::piped()).spawn()?);
    lines.0.stdin.take().context("no input")?.write_all(b"help\nlog 2\nnothing\n")?;
    let mut out = String::new();
    lines.0.stdout.take().context("no output")?.read_to_string(&mut out)?;
    ensure!(lines.0.wait()?.code() == Some(1) && out.contains("restarts the node"), "{out}");

    keys_change_in_the_middle(&user, node)?;
    login_is_quick(&user, node)
}

/// Exchanges the keys again every 64 kB, while much output is on its way and lines of input come.
fn keys_change_in_the_middle(user: &User, node: &TestNode) -> Result<()> {
    const LINES: usize = 60;
    let mut ssh = user.ssh(node, "good", &["-T", "-v", "-o", "RekeyLimit=64K"], &[])?;
    let mut running = Running(ssh.stdin(Stdio::piped()).spawn()?);
    let mut input = running.0.stdin.take().context("no input")?;
    let mut errors = running.0.stderr.take().context("no errors")?;
    let writer = std::thread::spawn(move || input.write_all("workload help http\n".repeat(LINES).as_bytes()));
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    let mut out = String::new();
    running.0.stdout.take().context("no output")?.read_to_string(&mut out)?;
    ensure!(running.0.wait()?.code() == Some(0), "{:?}", log.join());
    writer.join().ok().context("the writer panicked")??;
    let log = log.join().ok().context("the reader panicked")??;
    let once = user.run(node, "workload help http")?.out;
    let wanted = once.repeat(LINES);
    let same = out.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
    ensure!(out == wanted, "{} bytes came, not {LINES} times {}; the first {same} are right", out.len(), once.len());
    // One is that of the login. What is under way meanwhile makes the others fewer than one per 64 kB.
    let exchanges = log.matches("SSH2_MSG_NEWKEYS received").count();
    ensure!(exchanges >= 2, "{exchanges} key exchanges for {} bytes: {log}", out.len());
    Ok(())
}

/// A login with a command takes well below a second even on an emulated board that shares its machine with other tests.
fn login_is_quick(user: &User, node: &TestNode) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        ensure!(user.run(node, "status")?.status == Some(0));
        times.push(start.elapsed());
    }
    times.sort();
    tests::lab::say(&format!("ssh: a login takes {:?} at best, {:?} in the median", times[0], times[2]));
    ensure!(times[0] < Duration::from_millis(900), "{times:?}");
    Ok(())
}

#[test]
fn a_shell_has_line_editing_views_and_a_log_that_goes_on() -> Result<()> {
    let user = User::new()?;
    let rig = Rig::boot(&format!("name=epsilon {} rack-secret={SECRET}", user.setting()?))?;
    let node = &rig.node;

    // `-tt` asks for a terminal although our end is a pipe.
    let mut terminal = Terminal::open(user.ssh(node, "good", &["-tt"], &[])?)?;
    terminal.wait_for("epsilon> ")?;
    // "staXtus", corrected: three steps left, backspace.
    terminal.send(b"staXtus\x1b[D\x1b[D\x1b[D\x7f\r")?;
    terminal.wait_for("access    SSH, 1 key; host key SHA256:")?;
    terminal.wait_for("epsilon> ")?;
    terminal.send(b"\x1b[A\r")?;
    terminal.wait_for("access    SSH")?;
    terminal.send(b"top\r")?;
    terminal.wait_for("(any key ends)")?;
    terminal.send(b"q")?;
    terminal.wait_for("epsilon> ")?;
    terminal.send(b"exit\r")?;
    ensure!(terminal.wait()? == Some(0), "{}", terminal.text());

    // The log goes on, without input, while others come and go.
    let mut follower = Terminal::open(user.ssh(node, "good", &[], &["log -f"])?)?;
    follower.wait_for("MiniPiRack")?;
    shell::run(node, "workload start cpu:load=10%,cores=2")?;
    ensure!(user.run_as(node, "bad", &[], "status")?.status == Some(255));
    follower.wait_for("was not let in")?;
    ensure!(user.run(node, "status")?.status == Some(0));
    drop(follower);

    // Six sessions at once; the seventh is told why not.
    let mut sessions = Vec::new();
    for _ in 0..6 {
        let mut session = Terminal::open(user.ssh(node, "good", &["-tt"], &[])?)?;
        session.wait_for("epsilon> ")?;
        sessions.push(session);
    }
    let refused = user.run(node, "status")?;
    ensure!(refused.status == Some(255) && refused.errors.contains("too many sessions"), "{refused:?}");
    for session in &mut sessions {
        session.send(b"net\r")?;
        session.wait_for("52:54:00:12:34:56")?;
    }
    drop(sessions);
    wait::until(
        "room for another session",
        PATIENCE,
        || Ok((user.run(node, "status")?.status == Some(0)).then_some(())),
    )
}

/// Seconds after which a session is idle in the test below: as few as can be set.
const IDLE: Duration = Duration::from_secs(10);

#[test]
fn an_idle_session_ends_and_is_told_so_and_a_busy_one_stays() -> Result<()> {
    let user = User::new()?;
    let setting = format!("ssh-idle={} report=0", IDLE.as_secs());
    let rig = Rig::boot(&format!("name=zeta {} rack-secret={SECRET} {setting}", user.setting()?))?;
    let node = &rig.node;
    // Both show something all the time, without anything that is typed.
    let mut follower = Terminal::open(user.ssh(node, "good", &[], &["log -f"])?)?;
    follower.wait_for("MiniPiRack")?;
    let mut viewer = Terminal::open(user.ssh(node, "good", &["-tt"], &[])?)?;
    viewer.wait_for("zeta> ")?;
    viewer.send(b"top\r")?;
    viewer.wait_for("(any key ends)")?;

    // In one nothing is typed, although the client says that it is there; in the other something is, once.
    let mut silent = Terminal::open(user.ssh(node, "good", &["-tt", "-o", "ServerAliveInterval=2"], &[])?)?;
    silent.wait_for("zeta> ")?;
    let silent_from = Instant::now();
    let mut typing = Terminal::open(user.ssh(node, "good", &["-tt"], &[])?)?;
    typing.wait_for("zeta> ")?;
    std::thread::sleep(IDLE / 2);
    typing.send(b"net\r")?;
    let typed_at = Instant::now();
    typing.wait_for("52:54:00:12:34:56")?;
    for (mut session, since) in [(silent, silent_from), (typing, typed_at)] {
        let status = session.wait()?;
        // It may have noticed the last key a moment before the test noticed that.
        ensure!(since.elapsed() > IDLE - Duration::from_secs(1), "it ended after {:?}", since.elapsed());
        let told = session.errors()?;
        ensure!(status == Some(255) && told.contains("nothing was typed for too long"), "{status:?}, {told:?}");
    }
    node.wait_for_metric("two idle sessions counted", PATIENCE, |metrics| {
        let count = metrics.sum("minipirack_events_total", &[("event", "ssh_timeout")]);
        Ok((count == 2.0).then_some(count))
    })?;

    // The other two are older, and still there.
    node.console().send_line("note for who still listens")?;
    follower.wait_for("for who still listens")?;
    viewer.send(b"q")?;
    viewer.wait_for("zeta> ")?;
    viewer.send(b"exit\r")?;
    ensure!(viewer.wait()? == Some(0), "{}", viewer.text());
    Ok(())
}

#[test]
fn auditors_and_other_clients_find_nothing_wrong() -> Result<()> {
    let programs = python::programs("ssh", &["ssh-audit==3.9.0", "asyncssh==2.24.1", "cryptography==50.0.2"])?;
    let user = User::new()?;
    let rig = Rig::boot(&format!("{} rack-secret={SECRET}", user.setting()?))?;
    let address = rig.node.tcp(22)?;
    let (host, port) = (address.ip().to_string(), address.port().to_string());

    // AsyncSSH has the hybrid key exchange that OpenSSH has from version 9.9 on.
    let script = "import asyncio, asyncssh, sys\n\
        async def main(host, port, key):\n\
        \x20   async with asyncssh.connect(host, int(port), username='x', client_keys=[key], known_hosts=None,\n\
        \x20           kex_algs=['mlkem768x25519-sha256'], encryption_algs=['aes256-ctr']) as node:\n\
        \x20       done = await node.run('help')\n\
        \x20       print(done.exit_status, done.stdout)\n\
        asyncio.run(main(*sys.argv[1:]))\n";
    let mut python = Command::new(programs.join("python"));
    let other =
        python.args(["-c", script, &host, &port]).arg(user.path("good")).output().context("running AsyncSSH")?;
    let other = Done::from(&other);
    ensure!(other.out.starts_with("0 ") && other.out.contains("restarts the node"), "{other:?}");

    // Its status is 2 for warnings, such as for a key exchange that is not safe from quantum computers, and 3 for failures.
    let audit = Command::new(programs.join("ssh-audit")).args(["-n", "-p", &port, &host]).output()?;
    let audit = Done::from(&audit);
    ensure!(matches!(audit.status, Some(0 | 2)) && !audit.out.contains("[fail]"), "{audit:?}");
    ensure!(audit.out.contains("(kex) mlkem768x25519-sha256") && audit.out.contains("(key) ssh-ed25519"), "{audit:?}");
    Ok(())
}

#[test]
fn the_host_key_lasts_and_a_node_can_be_restarted() -> Result<()> {
    let user = User::new()?;
    let rig = Rig::boot(&format!("{} rack-secret={SECRET}", user.setting()?))?;
    let node = &rig.node;
    ensure!(user.run(node, "status")?.status == Some(0));
    let before = std::fs::read(user.path("known"))?;
    node.console().skip();
    let reboot = user.run(node, "reboot")?;
    ensure!(reboot.status == Some(0) && reboot.out == "restarting\n", "{reboot:?}");
    node.console().wait_for(|line: &str| line.contains("boot number 2"), PATIENCE)?;
    node.wait_until_up()?;
    let strict = ["-o", "StrictHostKeyChecking=yes"];
    let after = user.run_as(node, "good", &strict, "log 200")?;
    ensure!(after.status == Some(0) && after.out.contains("boot number 2"), "{after:?}");
    ensure!(std::fs::read(user.path("known"))? == before, "another host key");
    Ok(())
}

#[test]
fn without_a_key_the_node_is_read_only_and_says_so() -> Result<()> {
    let user = User::new()?;
    let rig = Rig::boot("")?;
    let node = &rig.node;
    node.console().wait_for(|line: &str| line.contains("read-only: no SSH key was given"), PATIENCE)?;
    let refused = user.run(node, "status")?;
    ensure!(refused.status == Some(255), "{refused:?}");
    ensure!(refused.errors.contains("this node is read-only: no SSH key was given"), "{refused:?}");
    let page = node.get("/")?.text();
    ensure!(page.contains("read-only: no SSH key was given"), "{page}");
    let status = shell::run(node, "status")?.join("\n");
    ensure!(status.contains("access    read-only: no SSH key was given"), "{status}");
    // Who stands before it may.
    let started = shell::run(node, "workload start idle")?.join("\n");
    ensure!(started.contains("started"), "{started}");
    Ok(())
}

#[test]
fn strangers_neither_lock_out_the_owner_nor_stop_the_node() -> Result<()> {
    let user = User::new()?;
    let rig = Rig::boot(&format!("{} rack-secret={SECRET}", user.setting()?))?;
    let node = &rig.node;
    let address = node.tcp(22)?;
    let follower = Running(user.ssh(node, "good", &[], &["log -f"])?.spawn()?);

    // More silent connections than there are places, and some that say half of something.
    let mut strangers = Vec::new();
    let mut random = Random::new(22);
    for number in 0..40 {
        let Ok(mut stranger) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else { continue };
        let said: Vec<u8> = match number % 5 {
            0 => Vec::new(),
            1 => b"SSH-2.0-half".to_vec(),
            2 => b"SSH-2.0-slow\r\n\0\0\x04".to_vec(),
            3 => random.bytes(2000),
            _ => [&b"SSH-2.0-noise\r\n"[..], &random.bytes(3000)].concat(),
        };
        // The node may have had enough already.
        let _ = stranger.write_all(&said);
        strangers.push(stranger);
    }
    // All of them come from the owner's own address; he gets in all the same, if not at once.
    let start = Instant::now();
    let status = user.run(node, "status")?;
    ensure!(status.status == Some(0), "{status:?}");
    tests::lab::say(&format!("ssh: a login among forty strangers takes {:?}", start.elapsed()));
    ensure!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());

    // Who does not log in is sent away.
    let deadline = Instant::now() + Duration::from_secs(25);
    for stranger in &mut strangers {
        read_to_end(stranger, deadline).context("a stranger is still there")?;
    }
    wrong_keys_are_slowed_down(&user, node, address)?;
    let events = |event: &str| node.metrics().map(|m| m.sum("minipirack_events_total", &[("event", event)]));
    node.fresh_metrics()?;
    ensure!(events("ssh_denied")? >= 12.0 && events("ssh_login")? >= 2.0 && events("ssh_dropped")? >= 1.0);
    ensure!(node.metrics()?.sum("node_crashes_total", &[]) == 0.0);
    drop(follower);
    Ok(())
}

/// Each attempt with a wrong key costs more time than the one before, and after six the connection is over.
fn wrong_keys_are_slowed_down(user: &User, node: &TestNode, _: SocketAddr) -> Result<()> {
    // A login forgives.
    ensure!(user.run(node, "status")?.status == Some(0));
    let mut keys = Vec::new();
    for number in 0..7 {
        let key = user.path(&format!("key{number}"));
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status()?;
        ensure!(made.success());
        keys.push(key.display().to_string());
    }
    let options: Vec<&str> = keys.iter().flat_map(|key| ["-i", key]).collect();
    let mut times = Vec::new();
    for _ in 0..2 {
        let start = Instant::now();
        let refused = user.run_as(node, "bad", &options, "status")?;
        times.push(start.elapsed());
        ensure!(refused.status == Some(255) && refused.errors.contains("too many attempts"), "{refused:?}");
    }
    // The first connection waits 0.2 + 0.4 + 0.8 s, the second 3.2 s for each attempt and before it begins.
    ensure!(times[0] > Duration::from_millis(1400) && times[1] > Duration::from_secs(15), "{times:?}");
    // The owner of the same address waits once, not for ever.
    let start = Instant::now();
    ensure!(user.run(node, "status")?.status == Some(0));
    ensure!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    Ok(())
}

fn read_to_end(stream: &mut TcpStream, deadline: Instant) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => ensure!(Instant::now() < deadline, "it is still being talked to"),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A client whose output is watched while it runs.
struct Terminal {
    child: Running,
    lines: std::sync::mpsc::Receiver<Vec<u8>>,
    /// Everything since the last match.
    seen: String,
}

impl Terminal {
    fn open(mut command: Command) -> Result<Self> {
        let mut child = Running(command.stdin(Stdio::piped()).spawn()?);
        let mut out = child.0.stdout.take().context("no output")?;
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = out.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, seen: String::new() })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.child.0.stdin.as_mut().context("no input")?;
        input.write_all(bytes)?;
        Ok(input.flush()?)
    }

    /// Waits until the client has shown a text after what was waited for before.
    fn wait_for(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => anyhow::bail!("no {text:?} in {:?}", self.seen),
            }
        }
    }

    fn wait(&mut self) -> Result<Option<i32>> {
        wait::until("the client's end", PATIENCE, || Ok(self.child.0.try_wait()?)).map(|status| status.code())
    }

    fn text(&self) -> &str {
        &self.seen
    }

    /// Returns what a client that has ended said of itself.
    fn errors(&mut self) -> Result<String> {
        let mut text = String::new();
        self.child.0.stderr.take().context("no errors")?.read_to_string(&mut text)?;
        Ok(text)
    }
}
