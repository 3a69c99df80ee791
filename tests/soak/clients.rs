//! What the clients of a node do, each over and over again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::events::Listener;
use tests::http::HttpClient;
use tests::lab::{NODE, say};
use tests::mdns::{self, Data, Querier};
use tests::node::{self, PATIENCE, TestNode};
use tests::openssh::User;

use crate::loads::Turn;

/// Pages of the status server besides those that it lists itself.
const PAGES: [&str; 5] = ["/", "/metrics", "/health", "/certify", API];
const API: &str = "/api/v1";
/// Requests on one connection, before another is made.
const PER_CONNECTION: u64 = 100;
/// Requests of a pipeline.
const PIPELINE: usize = 16;
/// Lines of the log that a client reads: as many as there are at once.
const LINES: usize = 10;
/// Samples that a client of live events waits for.
const SAMPLES: usize = 5;
/// Tests with iperf3, at rates that leave something for the others.
const IPERF3: [&[&str]; 5] = [
    &["-b", "8M"],
    &["-b", "8M", "-R"],
    &["-u", "-b", "3M"],
    &["-u", "-b", "3M", "-R"],
    &["-b", "2M", "-P", "2", "--bidir"],
];

/// Returns all clients: a name, the pause between two turns, and what is done in a turn.
pub(crate) fn all(node: &TestNode, user: &User) -> Result<Vec<(&'static str, Duration, Turn)>> {
    let ms = Duration::from_millis;
    let mut all: Vec<(&'static str, Duration, Turn)> = vec![
        ("status", ms(50), pages(node.tcp(80)?, status_pages(node)?)),
        ("events", ms(100), events(node.tcp(80)?)),
        ("ssh", ms(1000), ssh(node, user)?),
        ("log", ms(500), log(node, user)?),
        ("echo", ms(100), echo(node)?),
        ("discard", ms(200), discard(node)?),
        ("chargen", ms(200), chargen(node)?),
        ("mdns", ms(500), names()?),
        ("ping", ms(50), pings()),
    ];
    for _ in 0..3 {
        all.push(("kv", ms(10), store(node.tcp(6379)?)));
        all.push(("http", ms(5), pages(node.tcp(8080)?, vec!["/".into()])));
    }
    match Command::new("iperf3").arg("--version").output() {
        Ok(_) => all.push(("iperf3", ms(2000), iperf3())),
        Err(_) => say("NOT TESTED (needs the package iperf3): iperf3 in the soak"),
    }
    Ok(all)
}

/// Returns every page that the status server has, but not the one without an end.
fn status_pages(node: &TestNode) -> Result<Vec<String>> {
    let index: serde_json::Value = serde_json::from_slice(&node.get(API)?.body)?;
    let listed = index["resources"].as_array().context("no resources")?;
    let listed =
        listed.iter().filter_map(|resource| resource["path"].as_str()).filter(|path| !path.ends_with("events"));
    Ok(PAGES.into_iter().chain(listed).map(str::to_owned).collect())
}

/// Gets one page after the other, and makes another connection now and then.
fn pages(address: SocketAddr, pages: Vec<String>) -> Turn {
    let mut client = None;
    let mut paths = pages.into_iter().cycle();
    let mut turns = 0_u64;
    Box::new(move || {
        turns += 1;
        if turns.is_multiple_of(PER_CONNECTION) {
            client = None;
        }
        let mut connected = match client.take() {
            Some(connected) => connected,
            None => HttpClient::connect(address)?,
        };
        let path = paths.next().context("no page")?;
        let answer = connected.get(&path).with_context(|| path.clone())?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        client = Some(connected);
        Ok(())
    })
}

/// Listens to some samples.
fn events(address: SocketAddr) -> Turn {
    Box::new(move || {
        let mut listener = Listener::open(address, "")?;
        for _ in 0..SAMPLES {
            listener.next("sample")?;
        }
        Ok(())
    })
}

/// Logs in for a command, and for a shell.
fn ssh(node: &TestNode, user: &User) -> Result<Turn> {
    let mut command = user.ssh(node, "good", &[], &["workload"])?;
    let mut shell = user.ssh(node, "good", &["-tt"], &[])?;
    Ok(Box::new(move || {
        let output = command.output().context("running ssh")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && text.contains("kv"), "{output:?}");
        let mut child = shell.stdin(std::process::Stdio::piped()).spawn()?;
        child.stdin.take().context("no input")?.write_all(b"net\rexit\r")?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && text.contains("52:54:00:12:34:56"), "{output:?}");
        Ok(())
    }))
}

/// Has something echoed, over a new connection each time.
fn echo(node: &TestNode) -> Result<Turn> {
    let (tcp, udp) = (node.tcp(7)?, node.udp(7)?);
    Ok(Box::new(move || {
        let mut stream = TcpStream::connect_timeout(&tcp, PATIENCE).context("connecting to the echo service")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[0x5a; 5000])?;
        let mut answer = [0; 5000];
        stream.read_exact(&mut answer).context("waiting for an echo")?;
        ensure!(answer == [0x5a; 5000], "something else came back");
        node::udp_echo(udp, &[0x5a; 1400])
    }))
}

/// Follows the log for some lines, and goes without a word.
fn log(node: &TestNode, user: &User) -> Result<Turn> {
    let mut follow = user.ssh(node, "good", &[], &["log -f"])?;
    Ok(Box::new(move || {
        let mut child = follow.spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let count = lines.take(LINES).filter(Result::is_ok).count();
        child.kill()?;
        let output = child.wait_with_output()?;
        ensure!(count == LINES, "{count} lines of the log; {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }))
}

/// Sends much that nobody wants.
fn discard(node: &TestNode) -> Result<Turn> {
    let (tcp, udp) = (node.tcp(9)?, node.udp(9)?);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(Box::new(move || {
        let mut stream = TcpStream::connect_timeout(&tcp, PATIENCE).context("connecting to discard")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&[0x77; 20_000]).context("sending to discard")?;
        stream.shutdown(Shutdown::Write)?;
        ensure!(stream.read(&mut [0; 1]).context("waiting for discard's end")? == 0, "discard said something");
        socket.send_to(&[0x77; 1000], udp)?;
        Ok(())
    }))
}

/// Reads some of what never ends, and goes.
fn chargen(node: &TestNode) -> Result<Turn> {
    let (tcp, udp) = (node.tcp(19)?, node.udp(19)?);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(udp)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(Box::new(move || {
        let mut stream = TcpStream::connect_timeout(&tcp, PATIENCE).context("connecting to chargen")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = [0; 74 * 200];
        stream.read_exact(&mut text).context("reading from chargen")?;
        ensure!(text.chunks(74).all(|line| line.ends_with(b"\r\n")), "chargen sent no lines");
        socket.send(b"?")?;
        socket.recv(&mut [0; 600]).context("waiting for chargen's datagram")?;
        Ok(())
    }))
}

fn names() -> Result<Turn> {
    let querier = Querier::one_shot()?;
    Ok(Box::new(move || {
        querier.ask("soaked.local", mdns::A, PATIENCE, |records| {
            records.iter().any(|record| record.data == Data::A(NODE)).then_some(())
        })
    }))
}

fn pings() -> Turn {
    Box::new(|| {
        // One at a time: ping waits for the last of several no longer than twice what the slowest before it took.
        ensure!(node::ping(NODE, 1, 1400)? == 1, "a ping was not answered");
        Ok(())
    })
}

fn iperf3() -> Turn {
    let mut tests = IPERF3.iter().cycle();
    Box::new(move || {
        let arguments = tests.next().context("no test")?;
        let mut command = Command::new("iperf3");
        command.args(["-c", &NODE.to_string(), "-t", "3", "--connect-timeout", "10000"]).args(*arguments);
        let output = command.output().context("running iperf3")?;
        if !output.status.success() {
            bail!("iperf3 {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    })
}

/// Sets keys and gets them in pipelines, and compares.
fn store(address: SocketAddr) -> Turn {
    let mut client: Option<BufReader<TcpStream>> = None;
    let mut turns = 0_u64;
    Box::new(move || {
        turns += 1;
        if turns.is_multiple_of(PER_CONNECTION) {
            client = None;
        }
        let mut stream = match client.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let own = format!("{:?}", stream.get_ref().local_addr()?);
        let mut requests = Vec::new();
        for number in 0..PIPELINE {
            write!(requests, "SET key-{own}-{number} value-{turns}-{number:050} EX 60\r\n")?;
            write!(requests, "GET key-{own}-{number}\r\n")?;
        }
        stream.get_mut().write_all(&requests)?;
        for number in 0..PIPELINE {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            ensure!(line == "+OK\r\n", "SET: {line:?}");
            let value = format!("value-{turns}-{number:050}");
            let mut answer = vec![0; format!("${}\r\n{value}\r\n", value.len()).len()];
            stream.read_exact(&mut answer)?;
            let answer = String::from_utf8_lossy(&answer);
            ensure!(answer.ends_with(&format!("{value}\r\n")), "GET: {answer:?}");
        }
        client = Some(stream);
        Ok(())
    })
}
