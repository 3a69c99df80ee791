//! mDNS, as others on the link hear it. Messages are taken apart by hand here, not by the crate that put them together.

use std::net::{IpAddr, Ipv4Addr};

use embassy_time::{Duration, Timer, with_timeout};
use net::{Event, Ipv4Settings, Settings, UdpSocket};

use crate::lab::{self, Lab, Node, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const ANY: u16 = 255;
const IN: u16 = 1;
const FLUSH: u16 = 0x8001;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    name: String,
    kind: u16,
    class: u16,
    ttl_s: u32,
    data: Vec<u8>,
}

#[derive(Debug, Default)]
struct Message {
    id: u16,
    flags: u16,
    questions: Vec<(String, u16, u16)>,
    answers: Vec<Record>,
    authority: Vec<Record>,
    additional: Vec<Record>,
}

fn be16(bytes: &[u8], at: &mut usize) -> u16 {
    *at += 2;
    u16::from_be_bytes([bytes[*at - 2], bytes[*at - 1]])
}

fn name(bytes: &[u8], at: &mut usize) -> String {
    let mut name = String::new();
    let mut from = *at;
    let mut jumped = false;
    loop {
        let len = usize::from(bytes[from]);
        if len >= 0xC0 {
            if !jumped {
                *at = from + 2;
            }
            jumped = true;
            from = (len & 0x3F) << 8 | usize::from(bytes[from + 1]);
            continue;
        }
        if len == 0 {
            if !jumped {
                *at = from + 1;
            }
            return name;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(&bytes[from + 1..from + 1 + len]).unwrap());
        from += 1 + len;
    }
}

fn parse(bytes: &[u8]) -> Message {
    let mut at = 0;
    let [id, flags, questions, answers, authority, additional] = [(); 6].map(|()| be16(bytes, &mut at));
    let mut message = Message { id, flags, ..Message::default() };
    for _ in 0..questions {
        message.questions.push((name(bytes, &mut at), be16(bytes, &mut at), be16(bytes, &mut at)));
    }
    let sections =
        [(answers, &mut message.answers), (authority, &mut message.authority), (additional, &mut message.additional)];
    for (count, section) in sections {
        for _ in 0..count {
            let (name, kind, class) = (name(bytes, &mut at), be16(bytes, &mut at), be16(bytes, &mut at));
            let ttl_s = u32::from(be16(bytes, &mut at)) << 16 | u32::from(be16(bytes, &mut at));
            let len = usize::from(be16(bytes, &mut at));
            section.push(Record { name, kind, class, ttl_s, data: bytes[at..at + len].to_vec() });
            at += len;
        }
    }
    assert_eq!(at, bytes.len(), "bytes behind the message");
    message
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = vec![];
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend(label.bytes());
    }
    out.push(0);
    out
}

fn query(id: u16, questions: &[(&str, u16, u16)], known: &[Record]) -> Vec<u8> {
    let mut out = vec![];
    for field in [id, 0, questions.len() as u16, known.len() as u16, 0, 0] {
        out.extend(field.to_be_bytes());
    }
    for (name, kind, class) in questions {
        out.extend(wire_name(name));
        out.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
    }
    known.iter().for_each(|record| out.extend(wire_record(record)));
    out
}

fn wire_record(record: &Record) -> Vec<u8> {
    let mut out = wire_name(&record.name);
    out.extend([record.kind.to_be_bytes(), record.class.to_be_bytes()].concat());
    out.extend(record.ttl_s.to_be_bytes());
    out.extend((record.data.len() as u16).to_be_bytes());
    out.extend(&record.data);
    out
}

fn response(record: &Record) -> Vec<u8> {
    let mut out = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    out.extend(wire_record(record));
    out
}

/// Somebody on the link who speaks mDNS.
struct Peer {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl Peer {
    fn new(node: &Node, port: u16) -> Self {
        let mut socket = UdpSocket::bind(node.stack, port, 32, 32 * 1500).unwrap();
        socket.join(GROUP.into()).unwrap();
        Self { socket, buffer: vec![0; 1500] }
    }

    async fn say(&mut self, message: &[u8]) {
        self.socket.send_to(message, (GROUP, 5353).into()).await.unwrap();
    }

    /// Returns the next message, the address it was sent to, and its sender.
    async fn hear(&mut self, timeout: Duration) -> Option<(Message, IpAddr, IpAddr)> {
        let datagram = with_timeout(timeout, self.socket.recv_from(&mut self.buffer)).await.ok()?;
        assert_eq!(datagram.peer.port(), 5353);
        Some((parse(&self.buffer[..datagram.len]), datagram.local.unwrap(), datagram.peer.ip()))
    }

    async fn silence(&mut self) {
        while self.hear(SECOND * 3).await.is_some() {}
    }
}

fn named(name: &str, ipv4: Ipv4Settings) -> Settings {
    Settings { name: Some(name.into()), ..settings(ipv4) }
}

fn node(lab: &Lab, last: u8, settings: Settings) -> Node {
    let node = lab.node(last, settings);
    lab.tasks.spawn(net::mdns::run(node.stack));
    node
}

async fn wait_name(node: &Node, name: &str) {
    wait_until(SECOND * 20, name, || node.stack.status().mdns_name == name).await;
}

#[test]
fn a_name_is_probed_announced_and_answered_for() {
    lab::run(|lab| async move {
        let other = lab.node(9, settings(fixed(9)));
        wait_until(SECOND * 3, "an address", || other.stack.ipv4_address().is_some()).await;
        let mut peer = Peer::new(&other, 5353);
        let node = node(&lab, 1, named("pi", fixed(1)));
        let mut probes = 0;
        let announcement = loop {
            let (message, to, _) = peer.hear(SECOND * 5).await.expect("an announcement");
            if !to.is_ipv4() {
                continue;
            }
            if message.flags == 0 {
                assert_eq!(message.questions, [("pi.local".into(), ANY, FLUSH)]);
                assert!(message.authority.iter().any(|record| record.data == [10, 0, 0, 1]));
                probes += 1;
            } else if message.answers.iter().any(|record| record.kind == AAAA) {
                break message;
            }
        };
        assert!(probes >= 3);
        let owned = |kind, class, name: &str| {
            announcement.answers.iter().any(|r| (r.kind, r.class, r.name.as_str()) == (kind, class, name))
        };
        assert!(owned(A, FLUSH, "pi.local") && owned(AAAA, FLUSH, "pi.local"));
        assert!(owned(SRV, FLUSH, "pi._minipirack._tcp.local") && owned(TXT, FLUSH, "pi._http._tcp.local"));
        assert!(owned(PTR, IN, "_http._tcp.local") && owned(PTR, IN, "_services._dns-sd._udp.local"));
        peer.silence().await;

        peer.say(&query(7, &[("PI.local", A, IN)], &[])).await;
        let (answer, to, from) = peer.hear(SECOND).await.expect("an answer");
        assert_eq!((answer.id, answer.flags, to, from), (0, 0x8400, GROUP.into(), [10, 0, 0, 1].into()));
        let address = Record { name: "pi.local".into(), kind: A, class: FLUSH, ttl_s: 120, data: vec![10, 0, 0, 1] };
        assert_eq!(answer.answers, [address]);

        peer.say(&query(0, &[("_minipirack._tcp.local", PTR, IN)], &[])).await;
        let (answer, ..) = peer.hear(SECOND).await.expect("an answer");
        let [pointer] = &answer.answers[..] else { panic!("{answer:?}") };
        assert_eq!(name(&pointer.data, &mut 0), "pi._minipirack._tcp.local");
        let txt = answer.additional.iter().find(|record| record.kind == TXT).unwrap();
        assert_eq!(txt.data, b"\x0dversion=1.2.3\x0bboard=Pi 3B\x0bserial=00ab");
        let srv = answer.additional.iter().find(|record| record.kind == SRV).unwrap();
        assert_eq!((&srv.data[..6], name(&srv.data, &mut 6).as_str()), (&[0, 0, 0, 0, 0, 80][..], "pi.local"));
        assert!(answer.additional.iter().any(|record| record.kind == A));

        // What the asker knows is not said again, unless it is about to forget it.
        peer.say(&query(0, &[("_minipirack._tcp.local", PTR, IN)], std::slice::from_ref(pointer))).await;
        assert!(peer.hear(SECOND).await.is_none());
        let old = Record { ttl_s: 100, ..pointer.clone() };
        peer.say(&query(0, &[("_minipirack._tcp.local", PTR, IN)], &[old])).await;
        assert!(peer.hear(SECOND).await.is_some());

        // Not ours, another type, another class: silence.
        let not_ours = [("other.local", A, IN), ("pi.local", TXT, IN), ("pi.local", A, 3)];
        peer.say(&query(0, &not_ours, &[])).await;
        assert!(peer.hear(SECOND).await.is_none());

        // To the asker alone, when it wants that, or knows no better.
        peer.say(&query(0, &[("pi.local", A, FLUSH)], &[])).await;
        assert_eq!(peer.hear(SECOND).await.unwrap().1, IpAddr::from([10, 0, 0, 9]));
        let mut legacy = Peer::new(&other, 40_000);
        legacy.say(&query(7, &[("pi.local", A, IN)], &[])).await;
        let (answer, to, _) = legacy.hear(SECOND).await.unwrap();
        assert_eq!((answer.id, to), (7, [10, 0, 0, 9].into()));
        assert_eq!(answer.questions, [("pi.local".into(), A, IN)]);
        assert_eq!((answer.answers[0].class, answer.answers[0].ttl_s), (IN, 10));

        // Nonsense is counted, and not answered.
        let before = node.stack.counters().get(Event::MdnsMalformed);
        peer.say(&[0; 5]).await;
        peer.say(&query(0, &[("pi.local", A, IN)], &[])[..20]).await;
        assert!(peer.hear(SECOND).await.is_none());
        assert_eq!(node.stack.counters().get(Event::MdnsMalformed), before + 2);
        node.assert_no_leak();
    });
}

#[test]
fn a_taken_name_gets_a_number() {
    lab::run(|lab| async move {
        let first = node(&lab, 1, named("pi", fixed(1)));
        wait_name(&first, "pi").await;
        let second = node(&lab, 2, named("pi", fixed(2)));
        wait_name(&second, "pi-2").await;
        let third = node(&lab, 3, named("pi", fixed(3)));
        wait_name(&third, "pi-3").await;
        Timer::after(SECOND * 60).await;
        let names = [&first, &second, &third].map(|node| node.stack.status().mdns_name);
        assert_eq!(names, ["pi", "pi-2", "pi-3"]);
        assert_eq!(third.stack.counters().get(Event::MdnsConflict), 2);
    });
}

#[test]
fn two_that_start_together_end_up_with_two_names() {
    lab::run(|lab| async move {
        let one = node(&lab, 1, named("pi", fixed(1)));
        let two = node(&lab, 2, named("pi", fixed(2)));
        Timer::after(SECOND * 20).await;
        let mut names = [&one, &two].map(|node| node.stack.status().mdns_name.to_string());
        names.sort();
        assert_eq!(names, ["pi", "pi-2"]);
    });
}

#[test]
fn a_name_that_two_have_is_settled() {
    lab::run(|lab| async move {
        let other = lab.node(9, settings(fixed(9)));
        let node = node(&lab, 1, named("pi", fixed(1)));
        wait_name(&node, "pi").await;
        let mut peer = Peer::new(&other, 5353);
        peer.silence().await;
        // Two networks become one, and in the other there was a "pi" too, which does not give up.
        let claim = Record { name: "pi.local".into(), kind: A, class: FLUSH, ttl_s: 120, data: vec![10, 0, 0, 9] };
        peer.say(&response(&claim)).await;
        loop {
            let (message, ..) = peer.hear(SECOND * 5).await.expect("a probe");
            if message.questions.iter().any(|(name, ..)| name == "pi.local") {
                break;
            }
        }
        peer.say(&response(&claim)).await;
        wait_name(&node, "pi-2").await;
    });
}

#[test]
fn a_changed_address_is_announced() {
    lab::run(|lab| async move {
        let other = lab.node(9, settings(fixed(9)));
        let mut peer = Peer::new(&other, 5353);
        let node = node(&lab, 1, named("pi", fixed(1)));
        wait_name(&node, "pi").await;
        peer.silence().await;
        node.plug(false);
        Timer::after(SECOND).await;
        node.plug(true);
        let mut probes = 0;
        loop {
            let (message, ..) = peer.hear(SECOND * 5).await.expect("an announcement");
            if message.flags == 0 {
                probes += 1;
            } else if message.answers.iter().any(|record| record.data == [10, 0, 0, 1]) {
                break;
            }
        }
        assert!(probes >= 3);
    });
}
