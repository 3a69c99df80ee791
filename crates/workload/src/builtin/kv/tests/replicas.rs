//! A store and one that follows it, without a network between them: at the end both have the same.

use super::{Client, Random, request, server};
use crate::builtin::kv::copy::Progress;
use crate::builtin::kv::feed::LinkId;
use crate::builtin::kv::session::{Fate, ReplicaFacts, Server, Session};

/// A store that follows another.
struct Follower {
    server: Server,
    session: Session,
    link: LinkId,
}

impl Follower {
    fn new(source: &mut Server) -> Self {
        let mut client = Client::new();
        assert_eq!(client.say(source, "REPLICATE 1"), "");
        let Fate::Replica(link) = client.session.fate else { panic!("{:?}", client.session.fate) };
        let mut server = server(16);
        server.store.set_now(1);
        server.facts.replica = Some(ReplicaFacts::default());
        Self { server, session: Session::new(true), link }
    }

    /// Moves up to `len` bytes over; returns how many.
    fn pull(&mut self, source: &mut Server, len: usize) -> usize {
        let mut room = vec![0; len];
        let len = source.store.feed.link(self.link).unwrap().drain(&mut room);
        let mut used = 0;
        while used < len {
            used += self.session.feed(&mut self.server, &room[used..len]);
            let mut replies = [0; 4096];
            while !self.session.out.is_empty() {
                let len = self.session.out.drain(&mut self.server.store.cells, &mut replies);
                assert!(!replies[..len].contains(&b'-') || len > 4000, "{}", String::from_utf8_lossy(&replies[..len]));
            }
        }
        len
    }

    /// Brings the copy to its end.
    fn finish(&mut self, source: &mut Server) {
        loop {
            let progress = source.store.copy(self.link);
            if self.pull(source, 10_000) == 0 && progress == Progress::Done {
                return;
            }
        }
    }
}

/// Everything in a store, as text.
fn contents(server: &mut Server) -> Vec<String> {
    let mut client = Client::new();
    let keys = client.say(server, "KEYS *");
    let mut all: Vec<String> = keys
        .split("\r\n")
        .filter(|line| line.starts_with("key:"))
        .map(|key| {
            let ttl = client.say(server, &format!("PTTL {key}"));
            let get = client.say(server, &format!("GET {key}"));
            let list = client.say(server, &format!("LRANGE {key} 0 -1"));
            format!("{key} {ttl} {get} {list}")
        })
        .collect();
    all.sort();
    all
}

fn change(client: &mut Client, server: &mut Server, random: &mut Random) {
    let key = format!("key:{}", random.below(300));
    let long = "v".repeat(random.below(200));
    let line = match random.below(10) {
        0 | 1 => format!("SET {key} {long}"),
        2 => format!("SET {key} {long} PX {}", 1 + random.below(5000)),
        3 => format!("APPEND {key} {long}"),
        4 => format!("INCR {key}"),
        5 => format!("DEL {key}"),
        6 => format!("LPUSH {key} {long} b"),
        7 => format!("RPUSH {key} {long}"),
        8 => format!("LPOP {key}"),
        _ => format!("PEXPIRE {key} {}", 1 + random.below(5000)),
    };
    client.say(server, &line);
}

#[test]
fn a_replica_has_what_its_source_has_whenever_they_meet() {
    for seed in 1..=20 {
        let mut random = Random(seed * 31);
        let mut source = server(16);
        source.store.set_now(1);
        let mut client = Client::new();
        for _ in 0..2000 {
            change(&mut client, &mut source, &mut random);
        }
        let mut follower = Follower::new(&mut source);
        // While it is copied, a little at a time, the store goes on changing.
        let mut now = 1;
        for _ in 0..3000 {
            change(&mut client, &mut source, &mut random);
            if random.below(3) == 0 {
                source.store.copy(follower.link);
            }
            let len = random.below(700);
            follower.pull(&mut source, len);
            if random.below(10) == 0 {
                now += random.below(30) as u64;
                source.store.set_now(now);
                follower.server.store.set_now(now);
                source.store.sweep(random.below(200));
            }
        }
        // What has ended is told when it is found.
        source.store.sweep(source.store.bucket_count());
        follower.finish(&mut source);
        assert!(!source.store.feed.link(follower.link).unwrap().is_broken);
        let facts = follower.server.facts.replica.unwrap();
        assert!(facts.is_copied);
        // Ends are told as what is left, so those of the replica are later by what the way there took.
        let strip = |all: Vec<String>| -> Vec<String> {
            all.iter().map(|line| line.replace(':', " ")).map(|line| {
                let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
                if words[3] != "-1" { words[3] = "ends".to_owned(); }
                words.join(" ")
            }).collect()
        };
        let there = strip(contents(&mut source));
        assert!(there.len() > 50);
        let here = strip(contents(&mut follower.server));
        assert_eq!(here.iter().zip(&there).find(|(here, there)| here != there), None, "seed {seed}");
        assert_eq!(here.len(), there.len(), "seed {seed}");
    }
}

#[test]
fn large_values_and_long_lists_are_copied_in_parts() {
    let mut source = server(16);
    source.store.set_now(1);
    let mut client = Client::new();
    let value: Vec<u8> = (0..700_001_u32).map(|i| (i % 253) as u8).collect();
    client.send_in(&mut source, &request(&[b"SET", b"key:large", &value, b"PX", b"5000"]), 1460);
    for number in 0..20_000 {
        client.say(&mut source, &format!("RPUSH key:list element-{number}"));
    }
    let mut follower = Follower::new(&mut source);
    follower.finish(&mut source);
    let mut other = Client::new();
    assert_eq!(other.say(&mut follower.server, "LLEN key:list"), ":20000");
    assert_eq!(other.say(&mut follower.server, "LINDEX key:list 12345"), "$13\r\nelement-12345");
    assert_eq!(other.say(&mut follower.server, "PTTL key:large"), ":5000");
    let reply = other.send(&mut follower.server, &request(&[b"GET", b"key:large"]));
    assert_eq!(reply[9..reply.len() - 2], value);
}

#[test]
fn a_replica_that_is_too_slow_and_one_whose_bucket_changes_begin_anew() {
    let mut source = server(16);
    source.store.set_now(1);
    let mut client = Client::new();
    let mut slow = Follower::new(&mut source);
    slow.finish(&mut source);
    for number in 0..10_000 {
        client.say(&mut source, &format!("SET key:{number} some-value"));
    }
    assert!(source.store.feed.link(slow.link).unwrap().is_broken);
    source.store.feed.close(slow.link);
    let value = vec![b'v'; 700_000];
    client.send_in(&mut source, &request(&[b"SET", b"key:large", &value]), 1460);
    let mut follower = Follower::new(&mut source);
    while source.store.feed.link(follower.link).unwrap().step.is_none_or(|step| step.done == 0) {
        source.store.copy(follower.link);
        follower.pull(&mut source, 100_000);
    }
    client.say(&mut source, "APPEND key:large x");
    assert!(source.store.feed.link(follower.link).unwrap().is_broken);
}

#[test]
fn a_replica_is_read_only_and_takes_orders_from_its_source_alone() {
    let mut follower = server(1);
    follower.facts.replica = Some(ReplicaFacts::default());
    let mut client = Client::new();
    assert_eq!(client.say(&mut follower, "SET a b"), "-READONLY You can't write against a read only replica.");
    assert_eq!(client.say(&mut follower, "GET a"), "$-1");
    assert_eq!(client.say(&mut follower, "COPIED"), "-ERR unknown command 'COPIED'");
    let mut source = Session::new(true);
    let bytes = [request(&[b"SET", b"a", b"b"]), request(&[b"OFFSET", b"100"])].concat();
    assert_eq!(source.feed(&mut follower, &bytes), bytes.len());
    assert_eq!(client.say(&mut follower, "GET a"), "$1\r\nb");
    assert_eq!(follower.facts.replica.unwrap().lag_bytes, 100);
    let mut full = server(1);
    let mut replicas = Client::new();
    for _ in 0..2 {
        replicas = Client::new();
        assert_eq!(replicas.say(&mut full, "REPLICATE 1"), "");
    }
    assert_eq!(Client::new().say(&mut full, "REPLICATE 1"), "-ERR all places for replicas are taken");
    let _ = replicas;
}
