//! What clients say and what they are answered, word for word as Redis 7.0 does.

use super::{Client, Random, request, server};
use crate::builtin::kv::session::Fate;

#[test]
fn commands_are_answered_as_by_redis() {
    let mut server = server(4);
    let mut client = Client::new();
    server.store.set_now(1000);
    let talk = [
        ("PING", "+PONG"),
        ("PING hi", "$2\r\nhi"),
        ("ECHO hi", "$2\r\nhi"),
        ("SET a 1", "+OK"),
        ("SET a 2 NX", "$-1"),
        ("SET b 2 XX", "$-1"),
        ("SET a 3 XX EX 10", "+OK"),
        ("TTL a", ":10"),
        ("PTTL a", ":10000"),
        ("SET a 4 IFEQ 2", "$-1"),
        ("SET a 4 IFEQ 3 KEEPTTL", "+OK"),
        ("SET nobody 1 IFEQ 1", "$-1"),
        ("SET a 5 IFEQ", "-ERR syntax error"),
        ("SET a 5 IFEQ 4 NX", "-ERR syntax error"),
        ("TTL a", ":10"),
        ("PERSIST a", ":1"),
        ("PERSIST a", ":0"),
        ("TTL a", ":-1"),
        ("TTL nobody", ":-2"),
        ("SET a 5 EX 0", "-ERR invalid expire time in 'set' command"),
        ("SET a 5 EX x", "-ERR value is not an integer or out of range"),
        ("SET a 5 EX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
        ("SET a 5 EX", "-ERR syntax error"),
        ("SET a 5 NX XX", "-ERR syntax error"),
        ("SET a 5 EX 1 PX 1", "-ERR syntax error"),
        ("GET a", "$1\r\n4"),
        ("INCR a", ":5"),
        ("DECR a", ":4"),
        ("INCRBY a 10", ":14"),
        ("DECRBY a 4", ":10"),
        ("SET big 9223372036854775807", "+OK"),
        ("INCR big", "-ERR increment or decrement would overflow"),
        ("SET word x1", "+OK"),
        ("INCR word", "-ERR value is not an integer or out of range"),
        ("APPEND word y", ":3"),
        ("STRLEN word", ":3"),
        ("STRLEN nobody", ":0"),
        ("SETNX word z", ":0"),
        ("SETNX new z", ":1"),
        ("GETSET new y", "$1\r\nz"),
        ("GETDEL new", "$1\r\ny"),
        ("GETDEL new", "$-1"),
        ("MSET m1 1 m2 2", "+OK"),
        ("MSET m1 1 m2", "-ERR wrong number of arguments for 'mset' command"),
        ("MGET m1 nobody m2", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2"),
        ("LPUSH l a b c", ":3"),
        ("RPUSH l z", ":4"),
        ("LRANGE l 0 -1", "*4\r\n$1\r\nc\r\n$1\r\nb\r\n$1\r\na\r\n$1\r\nz"),
        ("LRANGE l -2 -1", "*2\r\n$1\r\na\r\n$1\r\nz"),
        ("LRANGE l 1 1", "*1\r\n$1\r\nb"),
        ("LRANGE l 5 9", "*0"),
        ("LRANGE l 3 1", "*0"),
        ("LINDEX l -1", "$1\r\nz"),
        ("LINDEX l 9", "$-1"),
        ("LLEN l", ":4"),
        ("LPOP l", "$1\r\nc"),
        ("LPOP l 2", "*2\r\n$1\r\nb\r\n$1\r\na"),
        ("RPOP l", "$1\r\nz"),
        ("RPOP l", "$-1"),
        ("EXISTS l", ":0"),
        ("LPUSH l x", ":1"),
        ("GET l", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("LPUSH a x", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SET l y IFEQ x", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("INCR l", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("TYPE l", "+list"),
        ("TYPE a", "+string"),
        ("TYPE nobody", "+none"),
        ("SET l now-a-string", "+OK"),
        ("TYPE l", "+string"),
        ("EXISTS a a nobody", ":2"),
        ("DEL a nobody m1", ":2"),
        ("EXPIRE m2 100", ":1"),
        ("TTL m2", ":100"),
        ("EXPIRE nobody 100", ":0"),
        ("EXPIRE m2 -1", ":1"),
        ("EXISTS m2", ":0"),
        ("SELECT 0", "+OK"),
        ("SELECT 1", "-ERR DB index is out of range"),
        ("HELLO 3", "-NOPROTO unsupported protocol version"),
        ("CLIENT SETNAME x", "+OK"),
        ("COMMAND DOCS", "*0"),
        ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n"),
        ("CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$2\r\nno"),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("GET a b", "-ERR wrong number of arguments for 'get' command"),
        ("NOSUCH a b", "-ERR unknown command 'NOSUCH'"),
        ("DBSIZE", ":3"),
        ("FLUSHDB", "+OK"),
        ("DBSIZE", ":0"),
        ("KEYS *", "*0"),
        ("QUIT", "+OK"),
    ];
    for (line, expected) in talk {
        assert_eq!(client.say(&mut server, line), expected.trim_end_matches("\r\n"), "{line}");
    }
    assert_eq!(client.session.fate, Fate::Closing);
    assert_eq!(client.say(&mut server, "PING"), "", "what follows QUIT is not read");
}

#[test]
fn inline_commands_work_and_nonsense_is_told() {
    for (bytes, reply) in [
        ("PING\r\n", "+PONG\r\n"),
        ("\r\n\r\nPING\n", "+PONG\r\n"),
        ("*0\r\n*-1\r\nPING\r\n", "+PONG\r\n"),
        ("SET x 'a b'\r\nGET x\r\n", "+OK\r\n$3\r\na b\r\n"),
        ("SET x \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        ("*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
        ("*1\r\n*1\r\n$4\r\nPING\r\n", "-ERR Protocol error: expected '$', got '*'\r\n"),
        ("*9999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("GET / HTTP/1.1\r\n", "-ERR wrong number of arguments for 'get' command\r\n"),
    ] {
        for step in [1, 5, 100] {
            let (mut server, mut client) = (server(1), Client::new());
            let replies = client.send_in(&mut server, bytes.as_bytes(), step);
            assert_eq!(String::from_utf8_lossy(&replies), reply, "{bytes:?} in pieces of {step}");
        }
    }
    for (bytes, reply) in [
        (vec![b'x'; 70_000], "-ERR Protocol error: too big inline request\r\n"),
        ([b"*".to_vec(), vec![b'1'; 70_000]].concat(), "-ERR Protocol error: too big mbulk count string\r\n"),
        ([b"*1\r\n$".to_vec(), vec![b'1'; 70_000]].concat(), "-ERR Protocol error: too big bulk count string\r\n"),
        (request(&[&[b'k'; 900][..]; 100]), "-ERR Protocol error: too big request\r\n"),
    ] {
        let (mut server, mut client) = (server(1), Client::new());
        let replies = client.send_in(&mut server, &bytes, 600);
        assert_eq!((String::from_utf8_lossy(&replies).as_ref(), client.session.fate), (reply, Fate::Closing));
    }
}

#[test]
fn at_the_limit_writes_are_refused_reads_work_and_room_comes_back() {
    let mut server = server(4);
    let mut client = Client::new();
    let value = [b'v'; 200];
    let mut count = 0;
    let refusal = loop {
        let key = format!("key:{count:012}");
        let reply = client.ask(&mut server, &[b"SET", key.as_bytes(), &value]);
        if reply != "+OK\r\n" {
            break reply;
        }
        count += 1;
    };
    assert_eq!(refusal, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    // A key of 16 bytes takes a cell, its value of 200 four more; an eighth is kept for requests and replies.
    assert_eq!(count, 4 * 4096 * 7 / 8 / 5);
    assert_eq!(client.say(&mut server, "LPUSH l x"), refusal.trim_end(), "takes two cells");
    assert_eq!(client.say(&mut server, "INCR n"), ":1", "takes the last one");
    assert_eq!(client.say(&mut server, "INCR m"), refusal.trim_end());
    assert_eq!(client.say(&mut server, "MSET a 1 b 2"), refusal.trim_end());
    assert_eq!(client.say(&mut server, "DBSIZE"), format!(":{}", count + 1), "nothing half done");
    assert_eq!(client.ask(&mut server, &[b"GET", b"key:000000000007"]).len(), 208);
    assert_eq!(client.say(&mut server, "SET key:000000000007 short"), "+OK");
    assert_eq!(client.say(&mut server, "SET key:000000000009 short"), "+OK");
    assert_eq!(client.say(&mut server, "EXPIRE key:000000000008 1"), ":1");
    server.store.set_now(5000);
    assert_eq!(client.ask(&mut server, &[b"SET", b"a-new-one", &value]), "+OK\r\n", "the room of what was replaced");
    assert_eq!(client.ask(&mut server, &[b"SET", b"another", &value]), "+OK\r\n", "the room of what has ended");
    assert_eq!(client.ask(&mut server, &[b"SET", b"one-more", &value]), refusal);
}

#[test]
fn a_value_larger_than_the_memory_is_refused_and_the_next_request_understood() {
    let mut server = server(2);
    let mut client = Client::new();
    let huge = vec![b'h'; 600_000];
    let bytes = [request(&[b"SET", b"huge", &huge]), request(&[b"PING"])].concat();
    let replies = client.send_in(&mut server, &bytes, 4096);
    assert!(replies.starts_with(b"-OOM ") && replies.ends_with(b".\r\n+PONG\r\n"));
    assert_eq!(server.store.cells.used(), 0);
    // In between it fits as it arrives, but would take the reserve.
    let large = vec![b'l'; 460_000];
    assert!(client.send_in(&mut server, &request(&[b"SET", b"large", &large]), 4096).starts_with(b"-OOM "));
    assert_eq!(server.store.cells.used(), 0);
}

#[test]
fn large_values_come_and_go_whole() {
    let mut server = server(16);
    let mut client = Client::new();
    let value: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 253) as u8).collect();
    assert_eq!(client.send_in(&mut server, &request(&[b"SET", b"k", &value]), 1460), b"+OK\r\n");
    let reply = client.send(&mut server, &request(&[b"GET", b"k"]));
    assert_eq!(reply, [b"$1000000\r\n".as_slice(), &value, b"\r\n"].concat());
    let parts = [&value[..2000], &value[2000..2001], &value[2001..90_000]];
    let push = request(&[b"RPUSH", b"l", parts[0], parts[1], parts[2]]);
    assert_eq!(client.send_in(&mut server, &push, 1460), b":3\r\n");
    assert_eq!(client.send_in(&mut server, &request(&[b"APPEND", b"k", parts[2]]), 1460), b":1087999\r\n");
    let reply = client.send(&mut server, &request(&[b"LRANGE", b"l", b"0", b"-1"]));
    let bulk = |part: &[u8]| [format!("${}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    assert_eq!(reply, [b"*3\r\n".to_vec(), bulk(parts[0]), bulk(parts[1]), bulk(parts[2])].concat());
    assert_eq!(client.send_in(&mut server, &request(&[b"ECHO", &value[..5000]]), 100), bulk(&value[..5000]));
    assert_eq!(client.say(&mut server, "DEL k l"), ":2");
    server.store.sweep(10);
    assert_eq!(server.store.cells.used(), 0);
}

#[test]
fn a_client_that_takes_no_replies_is_cut_off_when_memory_runs_out_and_loses_nobody_elses() {
    let mut server = server(2);
    let (mut slow, mut other) = (Client::new(), Client::new());
    let value = vec![7; 300_000];
    assert_eq!(other.send_in(&mut server, &request(&[b"SET", b"k", &value]), 1460), b"+OK\r\n");
    assert!(slow.session.feed(&mut server, &request(&[b"GET", b"k"])) > 0);
    assert!(slow.session.out.is_broken, "300,000 bytes do not fit a second time");
    assert_eq!(slow.session.feed(&mut server, &request(&[b"PING"])), 0, "nothing more is read");
    slow.session.reset(&mut server.store.cells);
    assert_eq!(other.say(&mut server, "STRLEN k"), ":300000");
    assert_eq!(server.store.cells.used(), 1 + 5000);
}

#[test]
fn keys_end_by_themselves() {
    let mut server = server(1);
    let mut client = Client::new();
    server.store.set_now(1000);
    for number in 0..500 {
        client.say(&mut server, &format!("SET k{number} v PX {}", 1 + number % 100));
    }
    client.say(&mut server, "SET stays v");
    server.store.set_now(1050);
    assert_eq!(client.say(&mut server, "GET k10"), "$-1");
    assert_eq!(client.say(&mut server, "GET k80"), "$1\r\nv");
    for _ in 0..40 {
        server.store.sweep(100);
    }
    assert_eq!(server.store.len(), 1 + 500 / 2);
    server.store.set_now(2000);
    server.store.sweep(4096);
    assert_eq!((server.store.len(), server.store.counts.expired), (1, 500));
}

#[test]
fn scan_finds_every_key_once() {
    let mut server = server(4);
    let mut client = Client::new();
    for number in 0..1000 {
        client.say(&mut server, &format!("SET key:{number} v"));
        client.say(&mut server, &format!("LPUSH list:{number} v"));
    }
    let mut found = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.say(&mut server, &format!("SCAN {cursor} MATCH key:* COUNT 50 TYPE string"));
        let mut lines = reply.split("\r\n");
        cursor = lines.nth(2).unwrap().to_owned();
        found.extend(lines.filter(|line| line.starts_with("key:")).map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 1000);
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 1000);
    assert_eq!(client.say(&mut server, "KEYS key:99?").matches("key:99").count(), 10);
    assert_eq!(client.say(&mut server, "SCAN 99999999999"), "-ERR invalid cursor");
}

#[test]
fn info_has_every_line() {
    let mut server = server(4);
    let mut client = Client::new();
    client.say(&mut server, "SET a b EX 10");
    let info = client.say(&mut server, "INFO");
    for line in ["connected_clients:", "used_memory:", "maxmemory:", "role:master", "db0:keys=1,expires=1,avg_ttl=0"] {
        assert!(info.contains(line), "{line} in {info}");
    }
}

#[test]
fn random_bytes_neither_panic_nor_leak() {
    let mut random = Random(0xBAD);
    let words: [&[u8]; 14] = [
        b"*3\r\n", b"*1\r\n", b"$3\r\nSET\r\n", b"$1\r\nk\r\n", b"$2000\r\n", b"SET", b" ", b"\r\n", b"$0\r\n\r\n", b"\"",
        b"LPUSH k v\r\n", b"*-5\r\n", b"$-1\r\n", b"$5000\r\n",
    ];
    for _ in 0..3_000 {
        let (mut server, mut client) = (server(1), Client::new());
        let mut bytes = Vec::new();
        for _ in 0..random.below(40) {
            if random.below(4) == 0 {
                bytes.extend((0..random.below(3000)).map(|_| random.0 as u8));
            } else {
                bytes.extend_from_slice(words[random.below(words.len())]);
            }
            if random.below(10) == 0 {
                bytes.push(random.below(256) as u8);
            }
        }
        let step = 1 + random.below(2000);
        client.send_in(&mut server, &bytes, step);
        client.session.reset(&mut server.store.cells);
        server.store.clear();
        server.store.sweep(100_000);
        assert_eq!(server.store.cells.used(), 0);
    }
}
