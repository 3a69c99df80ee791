//! Two gateways at one switch: what a client of the host sends goes through the first as to a node, and through the second, which
//! is that node, to a server of the host.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{ErrorKind, Read};
use std::net::Shutdown;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const NODE: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);

struct Lab {
    ours: Gateway,
    node: Gateway,
    _switch: Switch,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let switch = Switch::listen(&dir.path().join("s")).unwrap();
        let ours = Gateway::start(&switch, Ipv4Addr::new(10, 9, 0, 1), 24).unwrap();
        let node = Gateway::start_as(&switch, NODE, ADDRESS, 24).unwrap();
        Self { ours, node, _switch: switch, _dir: dir }
    }

    fn target(port: u16) -> Target {
        Target { mac: NODE.0, address: SocketAddrV4::new(ADDRESS, port) }
    }

    /// Serves every connection to a port of the node by `serve`; returns the host's port that leads there.
    fn serve(&self, port: u16, serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.node.expose(port, listener.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, stream) = (serve.clone(), stream.unwrap());
                thread::spawn(move || serve(stream));
            }
        });
        self.ours.forward(0, Self::target(port)).unwrap()
    }
}

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends back what it gets until the other side has said all, then says good-bye.
fn echo(mut stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    // A test that goes away in the middle is no fault of the echo's.
    let _ = io::copy(&mut stream, &mut writer);
    let _ = writer.shutdown(Shutdown::Write);
}

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ seed) as u8).collect()
}

#[test]
fn much_goes_both_ways_unharmed_and_an_end_is_passed_on() {
    let lab = Lab::new();
    let mut stream = client(lab.serve(7, echo));
    let sent = pattern(1, 24 << 20);
    let mut writer = stream.try_clone().unwrap();
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got == expected, "{} of {} bytes, or not the same", got.len(), expected.len());
}

// Fewer than the 128 that the test's own listener has room for.
#[test]
fn more_connections_than_there_are_places_are_all_served() {
    let lab = Lab::new();
    let address = lab.serve(7, echo);
    let clients: Vec<_> = (0..CONNECTIONS_MAX + 40)
        .map(|seed| {
            thread::Builder::new()
                .stack_size(128 * 1024)
                .spawn(move || {
                    let mut stream = client(address);
                    let sent = pattern(seed, 20_000);
                    stream.write_all(&sent).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).unwrap();
                    assert!(got == sent, "client {seed}: {} bytes", got.len());
                })
                .unwrap()
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    // One after the other: places are given back.
    for seed in 0..300 {
        let mut stream = client(address);
        stream.write_all(&[seed as u8]).unwrap();
        let mut got = [0];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got[0], seed as u8);
    }
}

#[test]
fn who_does_not_read_stops_the_sender_and_nobody_else() {
    let lab = Lab::new();
    let deaf = lab.serve(9, |stream| {
        thread::sleep(PATIENCE);
        drop(stream);
    });
    let address = lab.serve(7, echo);
    let mut stream = client(deaf);
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let error = stream.write_all(&vec![0; 64 << 20]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    let mut other = client(address);
    other.write_all(b"hello").unwrap();
    let mut got = [0; 5];
    other.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
}

#[test]
fn refusals_and_resets_are_passed_on() {
    let lab = Lab::new();
    let is_reset = |stream: &mut TcpStream| {
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    };
    // Nobody listens at the node.
    is_reset(&mut client(lab.ours.forward(0, Lab::target(1)).unwrap()));
    // The node listens, and whom it stands for does not.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    lab.node.expose(2, nobody).unwrap();
    is_reset(&mut client(lab.ours.forward(0, Lab::target(2)).unwrap()));
    // Nobody has the address.
    let target = Target { mac: [2, 0, 0, 0, 0, 77], address: SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 77), 80) };
    let start = Instant::now();
    is_reset(&mut client(lab.ours.forward(0, target).unwrap()));
    assert!(start.elapsed() >= CONNECT_TIMEOUT);
    // The client goes away in the middle: the server sees it.
    let (ended, told) = mpsc::channel();
    let address = lab.serve(3, move |mut stream| {
        let chunk = [0; 1000];
        while stream.write_all(&chunk).is_ok() {}
        ended.send(()).unwrap();
    });
    let mut stream = client(address);
    stream.read_exact(&mut [0; 5000]).unwrap();
    drop(stream);
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn programs_of_this_process_connect_without_a_port() {
    let lab = Lab::new();
    lab.serve(7, echo);
    let mut stream = lab.ours.connect(Lab::target(7)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    assert_eq!(got, "hello");
    // The end of the gateway is the end of its connections.
    let mut stream = lab.ours.connect(Lab::target(7)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(lab);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_node_beyond_the_limit_is_refused_at_once_and_the_others_go_on() {
    let lab = Lab::new();
    lab.serve(7, echo);
    // Here the second gateway, whose places are taken by what stands for nodes.
    let connect = || {
        let stream = lab.ours.connect(Lab::target(7)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let is_served = |mut stream: &UnixStream, byte: u8| {
        let mut got = [0];
        stream.write_all(&[byte]).is_ok() && stream.read_exact(&mut got).is_ok() && got == [byte]
    };
    let mut streams: Vec<_> = (0..CONNECTIONS_LIMIT).map(|_| connect()).collect();
    for (stream, byte) in streams.iter().zip(0..) {
        assert!(is_served(stream, byte), "connection {byte} of {CONNECTIONS_LIMIT}");
    }
    let start = Instant::now();
    assert!(!is_served(&connect(), 1), "one more is served");
    assert!(start.elapsed() < CONNECT_TIMEOUT, "it is not refused, but given up");
    assert!(streams.iter().all(|stream| is_served(stream, 2)), "one of the others has ended");
    // A place that is given back is taken by the next.
    drop(streams.pop());
    let deadline = Instant::now() + PATIENCE;
    while !is_served(&connect(), 3) {
        assert!(Instant::now() < deadline, "the place is not given back");
    }
}
