//! Syslog over UDP and TCP, against servers made for the test.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::Read;
use net::syslog::{self, Line, Lines, SYSLOG_PORT, Severity, Transport};
use net::{Stack, TcpSocket, UdpSocket};

use crate::lab::{self, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
/// Lines that the log of a test keeps.
const KEPT: usize = 100;

/// A log that others write to, as long as a ring keeps it.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn write(&self, text: &str) {
        self.0.borrow_mut().push(text.to_owned());
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl Lines for Log {
    fn read(&mut self, number: u64, line: &mut Line) -> Option<u64> {
        let lines = self.0.borrow();
        let at = usize::try_from(number).unwrap().max(lines.len().saturating_sub(KEPT));
        line.text.push_str(lines.get(at)?);
        line.severity = Severity::Warning;
        line.at = Instant::now();
        Some(at as u64)
    }

    async fn wait(&mut self) {
        let before = self.len();
        while self.len() == before {
            Timer::after_millis(5).await;
        }
    }
}

/// Takes RFC 6587's octet counts off a stream and returns `sequenceId` and text of each whole message.
fn messages(mut stream: &[u8]) -> Vec<(u64, String)> {
    let mut messages = Vec::new();
    while let Some(space) = stream.iter().position(|byte| *byte == b' ') {
        let len: usize = std::str::from_utf8(&stream[..space]).unwrap().parse().expect("an octet count");
        let Some(message) = stream.get(space + 1..space + 1 + len) else { break };
        stream = &stream[space + 1 + len..];
        let message = std::str::from_utf8(message).unwrap();
        let (header, text) = message.split_once("\"] ").expect(message);
        let (header, id) = header.split_once("[meta sequenceId=\"").expect(message);
        assert!(header.starts_with("<132>1 - pi-1234") && header.ends_with(" minipirack - - "), "{header:?}");
        messages.push((id.parse().unwrap(), text.to_owned()));
    }
    messages
}

#[test]
fn log_lines_reach_the_server_over_udp() {
    lab::run(|lab| async move {
        let server = lab.node(1, settings(fixed(1)));
        let node = lab.node(2, settings(fixed(2)));
        let mut socket = UdpSocket::bind(server.stack, SYSLOG_PORT, 8, 8192).unwrap();
        let log = Log::default();
        log.write("started\nin two lines");
        log.write(&"ä".repeat(2000));
        let mut lines = log.clone();
        lab.tasks.spawn(async move {
            syslog::run(node.stack, Transport::Udp, ([10, 0, 0, 1], SYSLOG_PORT).into(), &mut lines).await
        });
        let mut buffer = [0; 2000];
        let len = with_timeout(SECOND * 3, socket.recv_from(&mut buffer)).await.unwrap().len;
        assert_eq!(
            std::str::from_utf8(&buffer[..len]).unwrap(),
            "<132>1 - pi-123402 minipirack - - [meta sequenceId=\"1\"] started in two lines"
        );
        let len = with_timeout(SECOND * 3, socket.recv_from(&mut buffer)).await.unwrap().len;
        let long = std::str::from_utf8(&buffer[..len]).unwrap();
        assert!(long.ends_with('ä') && (1022..=1024).contains(&len), "{len} bytes");
    });
}

/// Accepts a connection, reads from it for a while or not at all, and resets it. Returns what it has read.
async fn serve(stack: &'static Stack, for_ms: u64, reads: bool) -> Vec<u8> {
    let mut socket = TcpSocket::new(stack, 4096, 256);
    with_timeout(SECOND * 60, socket.accept(SYSLOG_PORT)).await.expect("the node comes back").unwrap();
    let mut stream = Vec::new();
    let read = async {
        let mut buffer = [0; 1000];
        loop {
            if !reads {
                std::future::pending::<()>().await;
            }
            let len = socket.read(&mut buffer).await.unwrap();
            stream.extend_from_slice(&buffer[..len]);
        }
    };
    let _ = with_timeout(Duration::from_millis(for_ms), read).await;
    socket.abort();
    stream
}

#[test]
fn no_line_that_is_kept_is_lost_when_the_server_comes_and_goes() {
    lab::run(|lab| async move {
        let server = lab.node(1, settings(fixed(1)));
        let node = lab.node(2, settings(fixed(2)));
        let log = Log::default();
        let mut lines = log.clone();
        let peer = ([10, 0, 0, 1], SYSLOG_PORT).into();
        lab.tasks.spawn(async move { syslog::run(node.stack, Transport::Tcp, peer, &mut lines).await });
        let writer = log.clone();
        lab.tasks.spawn(async move {
            loop {
                writer.write(&format!("line {}", writer.len()));
                Timer::after_millis(200).await;
            }
        });
        let mut seen = BTreeSet::new();
        let mut twice = 0;
        for round in 0..20 {
            // Every third server acknowledges what it never reads, and is soon gone.
            let reads = round % 3 != 2;
            let for_ms = if reads { 2100 + 300 * (round % 5) } else { 800 };
            for (id, text) in messages(&serve(server.stack, for_ms, reads).await) {
                assert_eq!(text, format!("line {}", id - 1), "each line has its own number");
                twice += u32::from(!seen.insert(id));
            }
            // Away for less than the ring holds: 100 lines are 20 s.
            Timer::after_millis(500 * (round % 4)).await;
        }
        let end = log.len() as u64;
        let rest = messages(&serve(server.stack, 5000, true).await);
        seen.extend(rest.iter().map(|(id, _)| *id));
        let missing: Vec<_> = (1..=end).filter(|id| !seen.contains(id)).collect();
        assert!(missing.is_empty(), "of {end} lines these never came: {missing:?}");
        assert!(end > 100 && twice > 0, "{end} lines, {twice} twice");
    });
}

#[test]
fn a_server_that_was_away_for_too_long_is_told_how_many_lines_it_missed() {
    lab::run(|lab| async move {
        let server = lab.node(1, settings(fixed(1)));
        let node = lab.node(2, settings(fixed(2)));
        let log = Log::default();
        (0..KEPT + 10).for_each(|number| log.write(&format!("line {number}")));
        let mut lines = log.clone();
        let peer = ([10, 0, 0, 1], SYSLOG_PORT).into();
        lab.tasks.spawn(async move { syslog::run(node.stack, Transport::Tcp, peer, &mut lines).await });
        // Refused in the meantime, and asked again in the end.
        Timer::after(SECOND * 100).await;
        let came = messages(&serve(server.stack, 3000, true).await);
        assert_eq!(came[0], (11, "(10 lines before this were lost) line 10".to_owned()));
        assert_eq!(came.len(), KEPT);
    });
}

#[test]
fn a_server_that_refuses_is_not_asked_all_the_time() {
    lab::run(|lab| async move {
        lab.node(1, settings(fixed(1)));
        let node = lab.node(2, settings(fixed(2)));
        let tap = lab.tap_of_nodes();
        let log = Log::default();
        let mut lines = log.clone();
        let peer = ([10, 0, 0, 1], SYSLOG_PORT).into();
        wait_until(SECOND * 10, "addresses", || node.stack.status().addresses().count() == 2).await;
        lab.tasks.spawn(async move { syslog::run(node.stack, Transport::Tcp, peer, &mut lines).await });
        Timer::after(SECOND * 300).await;
        let mut attempts = 0;
        // A TCP segment over IPv4 with only SYN set, to the port.
        while let Some(()) = tap
            .find(Duration::from_millis(1), |frame| {
                (frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&6)).then_some(())?;
                (frame.get(36..38) == Some(&SYSLOG_PORT.to_be_bytes()) && frame.get(47) == Some(&2)).then_some(())
            })
            .await
        {
            attempts += 1;
        }
        // 0.5, 1, 2, 4, 8, 16, then 30 s: at most, and half of that at least.
        assert!((10..=30).contains(&attempts), "{attempts} attempts in five minutes");
    });
}
