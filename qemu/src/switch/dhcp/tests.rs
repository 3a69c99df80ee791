//! The server, asked by smoltcp's client.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::wire::Ipv4Cidr;

use super::*;
use crate::switch::Station;

const PATIENCE: Duration = Duration::from_secs(10);

const fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

fn subnet(count: u32) -> Subnet {
    let [server, first] = [2, 10].map(|host| Ipv4Addr::new(10, 9, 0, host));
    Subnet { server, first, count, prefix_len: 24, gateway: Some(Ipv4Addr::new(10, 9, 0, 1)), dns: None }
}

struct Client {
    station: Station,
    interface: Interface,
    sockets: SocketSet<'static>,
}

impl Client {
    fn new(switch: &Switch, mac: [u8; 6]) -> Self {
        let mut station = Station::new(switch.connect().unwrap().1).unwrap();
        let config = Config::new(EthernetAddress(mac).into());
        let interface = Interface::new(config, &mut station, smoltcp::time::Instant::now());
        let mut sockets = SocketSet::new(Vec::new());
        sockets.add(dhcpv4::Socket::new());
        Self { station, interface, sockets }
    }

    /// Returns what it was given within `patience`: address, router, server.
    fn ask(&mut self, patience: Duration) -> Option<(Ipv4Cidr, Option<Ipv4Addr>, Ipv4Addr)> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.station.turn().unwrap();
            self.interface.poll(smoltcp::time::Instant::now(), &mut self.station, &mut self.sockets);
            self.station.flush().unwrap();
            for (_, socket) in self.sockets.iter_mut() {
                let smoltcp::socket::Socket::Dhcpv4(socket) = socket else { unreachable!("there is no other") };
                if let Some(dhcpv4::Event::Configured(given)) = socket.poll() {
                    return Some((given.address, given.router, given.server.address));
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

#[test]
fn nodes_get_addresses_of_their_own_and_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let switch = Switch::listen(&dir.path().join("s")).unwrap();
    let leases = Leases::serve(&switch, subnet(3)).unwrap();
    leases.reserve(mac(7), Ipv4Addr::new(10, 9, 0, 12));
    let given = |last| Client::new(&switch, mac(last)).ask(PATIENCE).unwrap();
    let expected = |host| {
        let cidr = Ipv4Cidr::new(Ipv4Addr::new(10, 9, 0, host), 24);
        (cidr, Some(Ipv4Addr::new(10, 9, 0, 1)), Ipv4Addr::new(10, 9, 0, 2))
    };
    assert_eq!(leases.address(mac(1)), None);
    assert_eq!(given(1), expected(10));
    assert_eq!(leases.wait(mac(1), PATIENCE), Some(Ipv4Addr::new(10, 9, 0, 10)));
    assert_eq!(given(7), expected(12), "the one that was set aside");
    assert_eq!(given(2), expected(11));
    assert_eq!(given(1), expected(10), "after a restart");
    // There are no more.
    assert_eq!(Client::new(&switch, mac(3)).ask(Duration::from_millis(300)), None);
    assert_eq!(leases.wait(mac(3), Duration::ZERO), None);
}

#[test]
fn rubbish_gets_no_answer_and_does_no_harm() {
    let shared = Shared { subnet: subnet(3), table: Mutex::default(), news: Condvar::new() };
    let request = {
        let dir = tempfile::tempdir().unwrap();
        let switch = Switch::listen(&dir.path().join("s")).unwrap();
        let (_, mut listener) = switch.connect().unwrap();
        let mut client = Client::new(&switch, mac(1));
        assert_eq!(client.ask(Duration::from_millis(20)), None);
        listener.receive().unwrap()
    };
    assert!(shared.answer(&request).is_some());
    for len in 0..request.len() {
        // Cut off anywhere: lengths and checksums no longer agree.
        assert!(shared.answer(&request[..len]).is_none(), "{len} bytes");
    }
    for at in 0..request.len() {
        let mut frame = request.to_vec();
        frame[at] ^= 0xff;
        // Whether it is answered depends on the byte.
        let _ = shared.answer(&frame);
    }
}
