//! The key-value store against the clients of Redis, against clients that mean no good, and as both sides of a replica.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tests::lab::{HOST, Lab, NODE};
use tests::node::{PATIENCE, Rig};
use tests::wait;

/// For the slowest benchmark on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(60);
/// Where the test plays a store that the node follows.
const SOURCE_PORT: u16 = 7777;

#[test]
fn clients_of_redis_work_and_nobody_is_held_up() -> Result<()> {
    let Some(lab) = Lab::private("the key-value store")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "workload=kv:memory=2M,clients=60,cores=1", |_| ())?;
    let port_is_open = || Ok(TcpStream::connect_timeout(&(NODE, 6379).into(), PATIENCE).ok());
    drop(wait::until("the store's port", PATIENCE, port_is_open)?);

    if available("redis-cli") {
        talk()?;
    }
    if available("redis-benchmark") {
        benchmark(&rig)?;
    }
    memory_has_a_limit()?;
    slow_and_hostile_clients()?;
    replica_gets_everything()?;
    let labels = [("workload", "kv")];
    let metrics = rig.node.fresh_metrics()?;
    ensure!(metrics.sum("minipirack_workload_operations_total", &labels) > 1000.0);
    ensure!(metrics.sum("minipirack_kv_limit_bytes", &[]) > 1_500_000.0);
    Ok(())
}

/// Returns whether a program of Redis is there, and says so if not.
fn available(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        tests::lab::say(&format!("NOT TESTED (no {program}; install redis-tools): the store with it"));
    }
    is_there
}

fn talk() -> Result<()> {
    for (command, expected) in [
        ("PING", "PONG"),
        ("SET k hello", "OK"),
        ("GET k", "hello"),
        ("INCR n", "1"),
        ("INCRBY n 41", "42"),
        ("LPUSH l a b c", "3"),
        ("LRANGE l 0 -1", "c\nb\na"),
        ("MSET x 1 y 2", "OK"),
        ("MGET x y z", "1\n2\n"),
        ("EXPIRE k 100", "1"),
        ("TTL k", "100"),
        ("SET k v PX 1", "OK"),
        ("EXISTS k", "0"),
        ("INCR l", "WRONGTYPE Operation against a key holding the wrong kind of value\n"),
        ("DBSIZE", "4"),
        ("FLUSHALL", "OK"),
    ] {
        if command == "EXISTS k" {
            std::thread::sleep(Duration::from_millis(20));
        }
        let host = NODE.to_string();
        let output = Command::new("redis-cli").args(["-h", &host]).args(command.split(' ')).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        ensure!(text == expected, "redis-cli {command}: {text:?}, not {expected:?}");
    }
    Ok(())
}

fn benchmark(rig: &Rig) -> Result<()> {
    // Fifty clients, as it has by default, who all leave after each test while the next fifty come; then pipelines.
    for (pipeline, tests) in [
        ("1", "ping,set,get,incr,lpush,rpush,lpop,rpop,lrange_100,mset"),
        ("1", "set,get,incr,lpush,mset,ping"),
        ("16", "set,get,incr,lpush,mset,ping"),
    ] {
        let host = NODE.to_string();
        let output = Command::new("timeout")
            .args([
                "120",
                "redis-benchmark",
                "-h",
                &host,
                "-c",
                "50",
                "-n",
                "2000",
                "-P",
                pipeline,
                "-t",
                tests,
                "--csv",
            ])
            .output()
            .context("running redis-benchmark")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() || errors.contains("rror") {
            std::thread::sleep(Duration::from_secs(2));
            let events = rig.node.get("/metrics")?.text();
            for line in events.lines().filter(|line| line.contains("event=\"tcp") || line.contains("minipirack_kv")) {
                tests::lab::say(line);
            }
        }
        ensure!(output.status.success(), "redis-benchmark -t {tests}: {text}{errors}{}", rig.node.last_words());
        ensure!(!text.contains("rror") && !errors.contains("rror"), "redis-benchmark -t {tests}: {text}{errors}");
        let rates = text.lines().skip(1).filter(|line| line.split(',').nth(1).is_some_and(|rate| rate != "\"0.00\""));
        ensure!(rates.count() >= tests.split(',').count(), "redis-benchmark -t {tests}: {text}");
        tests::lab::say(&format!("kv, {pipeline} at once: {}", text.lines().skip(1).collect::<Vec<_>>().join(" ")));
    }
    Ok(())
}

/// A client that speaks the protocol itself.
struct Client(TcpStream);

impl Client {
    fn connect() -> Result<Self> {
        let stream = TcpStream::connect_timeout(&(NODE, 6379).into(), PATIENCE).context("connecting to the store")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(LONG))?;
        Ok(Self(stream))
    }

    /// Sends bytes and reads until the answer ends with `end`.
    fn ask(&mut self, bytes: &[u8], end: &str) -> Result<String> {
        self.0.write_all(bytes)?;
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let mut buffer = [0; 4096];
            let asked = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            let len = self.0.read(&mut buffer).with_context(|| format!("{asked:?} is not answered with {end:?}"))?;
            ensure!(len > 0, "{asked:?}: closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..len]);
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn memory_has_a_limit() -> Result<()> {
    let mut client = Client::connect()?;
    client.ask(b"FLUSHALL\r\n", "+OK\r\n")?;
    let value = "v".repeat(50_000);
    let mut stored = 0;
    let refusal = loop {
        let set = format!("*3\r\n$3\r\nSET\r\n$5\r\nkey{stored:02}\r\n$50000\r\n{value}\r\n");
        let answer = client.ask(set.as_bytes(), "\r\n")?;
        if answer != "+OK\r\n" {
            break answer;
        }
        stored += 1;
    };
    ensure!(refusal == "-OOM command not allowed when used memory > 'maxmemory'.\r\n", "{refusal:?}");
    // 2 MiB less the table and an eighth, in pieces of 60 of 64 bytes.
    ensure!((25..36).contains(&stored), "{stored} values of 50,000 bytes");
    let got = client.ask(b"GET key07\r\n", &format!("{value}\r\n"))?;
    ensure!(got.len() == 50_000 + 10, "{} bytes", got.len());
    client.ask(b"DEL key00 key01\r\n", ":2\r\n")?;
    client.ask(b"SET small again\r\n", "+OK\r\n")?;
    client.ask(b"FLUSHALL\r\n", "+OK\r\n")?;
    Ok(())
}

fn slow_and_hostile_clients() -> Result<()> {
    let mut client = Client::connect()?;
    let value = "v".repeat(30_000);
    client.ask(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$30000\r\n{value}\r\n").as_bytes(), "+OK\r\n")?;
    let time = |client: &mut Client| -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..100 {
            client.ask(b"INCR n\r\n", "\r\n")?;
        }
        Ok(start.elapsed())
    };
    let alone = time(&mut client)?;
    let mut others = Vec::new();
    for (number, bytes) in
        [&b"GET k\r\nGET k\r\nGET k\r\n"[..], b"*3\r\n$3\r\nSET\r\n$9\r\n", b"\x16\x03\x01\x02", b"*1"]
            .iter()
            .cycle()
            .take(40)
            .enumerate()
    {
        // Asks for much and reads nothing, or begins something and never ends it.
        let mut stream = Client::connect().with_context(|| format!("hostile client {number}"))?.0;
        stream.write_all(bytes)?;
        others.push(stream);
    }
    let among = time(&mut client)?;
    ensure!(
        among < alone * 4 + Duration::from_millis(500),
        "100 requests took {alone:?} alone, {among:?} among others"
    );
    for (bytes, end) in [
        (&b"*1\r\n:1\r\n"[..], "-ERR Protocol error: expected '$', got ':'\r\n"),
        (b"*99999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$999999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    ] {
        let mut bad = Client::connect()?;
        bad.ask(bytes, end)?;
        ensure!(bad.0.read(&mut [0; 10])? == 0, "the connection is not closed after {end:?}");
    }
    ensure!(client.ask(b"PING\r\n", "\r\n")? == "+PONG\r\n");
    Ok(())
}

/// The test is the replica: it gets what there is, and then what changes.
fn replica_gets_everything() -> Result<()> {
    let mut client = Client::connect()?;
    client.ask(b"FLUSHALL\r\n", "+OK\r\n")?;
    client.ask(b"SET a 1\r\n", "+OK\r\n")?;
    client.ask(b"RPUSH l x y\r\n", ":2\r\n")?;
    let mut replica = Client::connect()?;
    let copy = replica.ask(b"REPLICATE 1\r\n", "$6\r\nCOPIED\r\n")?;
    for part in [
        "*1\r\n$8\r\nFLUSHALL\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
        "*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\nx\r\n*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\ny\r\n",
    ] {
        ensure!(copy.contains(part), "{part:?} is not in {copy:?}");
    }
    client.ask(b"INCR a\r\n", ":2\r\n")?;
    let change = replica.ask(b"", "$1\r\n2\r\n")?;
    ensure!(change.contains("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n"), "{change:?}");
    Ok(())
}

#[test]
fn a_store_follows_another_and_finds_it_again() -> Result<()> {
    let Some(lab) = Lab::private("a key-value store that follows another")? else { return Ok(()) };
    let listener = TcpListener::bind(("0.0.0.0", SOURCE_PORT))?;
    let command_line = format!("workload=kv:memory=1M,clients=4,replica-of={HOST}:{SOURCE_PORT}");
    let rig = Rig::boot_in(lab, &command_line, |_| ())?;
    for round in 1..=2 {
        let mut stream = accept(&listener)?;
        let mut request = [0; 13];
        stream.read_exact(&mut request)?;
        ensure!(request == *b"REPLICATE 1\r\n", "{:?}", String::from_utf8_lossy(&request));
        let told =
            format!("*1\r\n$8\r\nFLUSHALL\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n{round}\r\n*1\r\n$6\r\nCOPIED\r\n");
        stream.write_all(told.as_bytes())?;
        // It says how much it has applied.
        let mut word = [0; 8];
        while u64::from_be_bytes(word) < told.len() as u64 {
            stream.read_exact(&mut word).context("waiting for a confirmation")?;
        }
        let mut client = Client::connect()?;
        ensure!(client.ask(b"GET k\r\n", "\r\n")?.starts_with("$1\r\n"));
        let mut value = client.ask(b"GET k\r\n", &format!("\r\n{round}\r\n"))?;
        value.truncate(4);
        ensure!(value == "$1\r\n");
        let refusal = client.ask(b"SET k mine\r\n", "\r\n")?;
        ensure!(refusal.starts_with("-READONLY "), "{refusal:?}");
        // The source goes away; what was copied stays.
    }
    rig.node.wait_for_metric("the source to be missed", PATIENCE, |metrics| {
        Ok((metrics.sum("minipirack_kv_source_up", &[]) == 0.0).then_some(0.0))
    })?;
    Ok(())
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let stream = wait::until("the node's connection", LONG, || match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => bail!(error),
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[test]
fn a_replica_is_let_in_although_others_only_say_that_they_are() -> Result<()> {
    let Some(lab) = Lab::private("false replicas of the key-value store")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "workload=kv:memory=1M,clients=8,acks=1,cores=1", |_| ())?;
    drop(wait::until("the store's port", PATIENCE, || Ok(Client::connect().ok()))?);
    // Both places are taken by who confirms nothing, so nothing is answered.
    let mut fakes = Vec::new();
    for _ in 0..2 {
        let mut fake = Client::connect()?;
        fake.ask(b"REPLICATE 1\r\n", "COPIED\r\n")?;
        fakes.push(fake);
    }
    let mut client = Client::connect()?;
    client.0.write_all(b"SET k 1\r\n")?;
    ensure!(matches!(client.0.read(&mut [0; 10]), Ok(0) | Err(_)), "a command was answered that nobody has confirmed");
    // By now they have been silent for long enough to make room.
    let mut replica = wait::until("a place for a replica", PATIENCE, || {
        let mut replica = Client::connect()?;
        Ok(replica.ask(b"REPLICATE 1\r\n", "COPIED\r\n").ok().map(|copy| (replica.0, copy.len() as u64)))
    })?;
    std::thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            replica.0.write_all(&replica.1.to_be_bytes())?;
            match replica.0.read(&mut buffer)? {
                0 => return Ok(()),
                len => replica.1 += len as u64,
            }
        }
    });
    let mut client = Client::connect()?;
    for number in 1..=50 {
        let answer = client.ask(b"INCR n\r\n", "\r\n")?;
        ensure!(answer == format!(":{number}\r\n"), "{answer:?}");
    }
    // The other one has to go, too, although nobody needs its place.
    rig.node.wait_for_metric("only the true replica", PATIENCE, |metrics| {
        let replicas = metrics.sum("minipirack_kv_replicas", &[]);
        Ok((replicas == 1.0).then_some(replicas))
    })?;
    ensure!(client.ask(b"INCR n\r\n", "\r\n")? == ":51\r\n");
    drop(fakes);
    Ok(())
}
