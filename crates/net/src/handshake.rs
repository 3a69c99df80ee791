//! Begins connections with sequence numbers of our own choice, and without a socket.
//!
//! smoltcp takes the number with which it begins a connection from its random numbers, and keeps a socket for every client
//! that has asked. Both are changed here from outside: a client can be answered without smoltcp, and a socket can be given the
//! connection later, when the client has confirmed it.

use core::net::{IpAddr, Ipv4Addr};

use nic::MacAddress;
use smoltcp::config::IFACE_MAX_ADDR_COUNT;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities};
use smoltcp::socket::Socket;
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, TcpControl, TcpRepr, TcpSeqNumber,
};

use crate::backlog::Client;
use crate::device::{Device, Shared};
use crate::segment::{self, Made, Segment};

/// Longest packet on Ethernet, and the headers of TCP and IP: what is left is the longest segment.
const PACKET_LEN_MAX: u16 = 1500;
const HEADER_LENS: (u16, u16) = (40, 60);

/// Answers a SYN as a socket would that can take `room` bytes, and forgets it. Needs a free transmit buffer.
pub(crate) fn answer(shared: &Shared, syn: &Segment<'_>, number: u32, room: usize) {
    let tcp = answer_to(syn, number, room);
    let (Some(len), Some(buffer)) = (segment::len(syn.to, &tcp), shared.exchange.take_tx()) else { return };
    let own = EthernetAddress(shared.mac.get().0);
    let mut checksums = ChecksumCapabilities::ignored();
    (checksums.ipv4, checksums.tcp) = (Checksum::Tx, Checksum::Tx);
    buffer.send_if(len, |frame| {
        segment::emit(frame, own, syn.station, syn.to, syn.from, &tcp, &checksums);
        ((), shared.goes_out(frame))
    });
}

fn answer_to(syn: &Segment<'_>, number: u32, room: usize) -> TcpRepr<'static> {
    let wish = syn.wish();
    let header_len = if matches!(syn.to.addr, IpAddress::Ipv4(_)) { HEADER_LENS.0 } else { HEADER_LENS.1 };
    TcpRepr {
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(number.cast_signed()),
        ack_number: Some(syn.tcp.seq_number + 1),
        window_len: u16::try_from(room).unwrap_or(u16::MAX),
        window_scale: wish.window_scale.map(|_| window_shift(room)),
        max_seg_size: Some(PACKET_LEN_MAX - header_len),
        sack_permitted: wish.has_sack,
        ..empty(syn.to, syn.from)
    }
}

/// Has smoltcp take the SYN that is the next frame, and answer it with this number.
pub(crate) fn open(device: &mut Device, sockets: &mut SocketSet<'_>, own: IpAddress, number: u32, now: Instant) {
    beginner(device, own, number, now).poll_ingress_single(now, device, sockets);
}

/// Has the first socket that listens there take a client who has its answer; what the client has said comes next.
pub(crate) fn reopen(device: &mut Device, sockets: &mut SocketSet<'_>, client: &Client, now: Instant) {
    let Client { from, to, numbers: (theirs, ours), wish, .. } = *client;
    let theirs = TcpSeqNumber(theirs.cast_signed());
    let syn = TcpRepr {
        control: TcpControl::Syn,
        seq_number: theirs,
        window_len: client.window,
        window_scale: wish.window_scale,
        max_seg_size: Some(wish.segment_len),
        sack_permitted: wish.has_sack,
        ..empty(from, to)
    };
    // Asks for an acknowledgement (RFC 9293, section 3.8.4), so that the socket believes that it has told its window.
    let probe = TcpRepr {
        seq_number: theirs,
        ack_number: Some(TcpSeqNumber(ours.cast_signed()) + 1),
        window_len: client.window,
        ..empty(from, to)
    };
    let mut iface = beginner(device, to.addr, ours, now);
    let mac = device.shared.mac.get();
    for made in [syn, probe].iter().filter_map(|tcp| Made::segment(mac, from, to, tcp)) {
        device.put_made(made);
        iface.poll_ingress_single(now, device, sockets);
    }
}

/// Has smoltcp learn which station a client on the link is, who has got our answer there: smoltcp would ask, but for one
/// station a second only, and others may have it ask for stations that do not exist.
pub(crate) fn learn(
    device: &mut Device,
    iface: &mut Interface,
    sockets: &mut SocketSet<'_>,
    client: &Client,
    now: Instant,
) {
    // Others are behind a router.
    if !iface.ip_addrs().iter().any(|cidr| cidr.contains_addr(&client.from.addr)) {
        return;
    }
    let mac = device.shared.mac.get();
    if let Some(made) = Made::neighbour(mac, client.to.addr, client.station, client.from.addr) {
        device.put_made(made);
        iface.poll_ingress_single(now, device, sockets);
    }
}

/// Has smoltcp learn that a station on the link has told everybody that it has this address now, which another had. smoltcp looks
/// at no packet that does not ask for an address of its own, and would send to the old station for a minute.
pub(crate) fn learn_announced(
    device: &mut Device,
    iface: &mut Interface,
    sockets: &mut SocketSet<'_>,
    address: Ipv4Addr,
    station: MacAddress,
    now: Instant,
) {
    // The announcement itself tells smoltcp nothing.
    device.skip();
    teach(device, iface, sockets, (address.into(), station), now);
}

/// Changes the addresses of the interface, and has smoltcp know its neighbours again: it forgets them all by that, asks for one a second
/// only, and meanwhile has nothing to say to the others. Who has not said for a minute where it is, is asked again, unless there is a
/// connection with it: who hears of the other all the time does not ask.
pub(crate) fn change_addresses(
    device: &mut Device,
    iface: &mut Interface,
    sockets: &mut SocketSet<'_>,
    now: Instant,
    change: impl FnOnce(&mut heapless::Vec<IpCidr, IFACE_MAX_ADDR_COUNT>),
) {
    iface.update_ip_addrs(change);
    let waiting = device.take_next();
    let watch = &device.shared.watch;
    for station in (0..).map_while(|n| watch.station(n)) {
        if station.is_fresh() || is_connected(sockets, station.address.into()) {
            teach(device, iface, sockets, (station.address, station.mac), now);
        }
    }
    device.put_back(waiting);
}

fn is_connected(sockets: &SocketSet<'_>, peer: IpAddress) -> bool {
    sockets.iter().any(|(_, socket)| match socket {
        Socket::Tcp(socket) => socket.remote_endpoint().is_some_and(|remote| remote.addr == peer),
        _ => false,
    })
}

/// Has smoltcp believe that a station on the link has an address.
fn teach(
    device: &mut Device,
    iface: &mut Interface,
    sockets: &mut SocketSet<'_>,
    (address, station): (IpAddr, MacAddress),
    now: Instant,
) {
    let its = IpAddress::from(address);
    let is_neighbour = |cidr: &&IpCidr| cidr.contains_addr(&its) && cidr.address() != its;
    let Some(own) = iface.ip_addrs().iter().find(is_neighbour).map(IpCidr::address) else { return };
    if iface.has_ip_addr(its) {
        return;
    }
    if let Some(made) = Made::neighbour(device.shared.mac.get(), own, EthernetAddress(station.0), its) {
        device.put_made(made);
        iface.poll_ingress_single(now, device, sockets);
    }
}

/// Makes an interface with one address that begins its first connection with this number.
fn beginner(device: &mut Device, own: IpAddress, number: u32, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(device.shared.mac.get().0)));
    config.random_seed = seed_for(number);
    let mut iface = Interface::new(config, device, now);
    let prefix_len = if matches!(own, IpAddress::Ipv4(_)) { 32 } else { 128 };
    iface.update_ip_addrs(|addresses| {
        // There is room for the first.
        let _ = addresses.push(IpCidr::new(own, prefix_len));
    });
    iface
}

/// Returns by how many binary digits a socket scales its window that can take `room` bytes, as smoltcp's `Socket::new` has it.
fn window_shift(room: usize) -> u8 {
    (usize::BITS - room.leading_zeros()).saturating_sub(16) as u8
}

fn empty(from: IpEndpoint, to: IpEndpoint) -> TcpRepr<'static> {
    TcpRepr {
        src_port: from.port,
        dst_port: to.port,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(0),
        ack_number: None,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

// The random numbers of smoltcp 0.14, `src/rand.rs`: sPCG32 (Melissa O'Neill, "PCG: A Family of Simple Fast Space-Efficient
// Statistically Good Algorithms for Random Number Generation", 2014) over a linear congruence, which can be computed
// backwards. If another version has others, the tests of this file fail.
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
/// The multiplier's inverse: Newton's iteration doubles the good digits, of which there are three at first.
const INVERSE: u64 = {
    let mut inverse = MULTIPLIER;
    let mut digits = 3;
    while digits < u64::BITS {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(MULTIPLIER.wrapping_mul(inverse)));
        digits *= 2;
    }
    inverse
};

/// Returns the seed with which a new interface begins its first connection with this number.
fn seed_for(number: u32) -> u64 {
    let before = |state: u64| state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE);
    // With three zeros in front a state is shifted by 29 digits. The last of these are free: the number before, which becomes
    // the identification of packets, must not be 0.
    let state = |free: u64| u64::from(number) << 29 | free;
    let is_good = |state: &u64| {
        let first = before(*state);
        let first = (first >> (29 - (first >> 61))) as u32;
        (first ^ first >> 16) & 0xFFFF != 0
    };
    let state = (0..4).map(state).find(is_good).unwrap_or(u64::from(number) << 29);
    before(before(state))
}

#[cfg(test)]
mod tests {
    use smoltcp::phy::{self, DeviceCapabilities, Medium};
    use smoltcp::socket::tcp;

    use super::*;
    use crate::cookie::Wish;

    const CLIENT: IpEndpoint = IpEndpoint { addr: IpAddress::v4(10, 0, 0, 9), port: 4000 };
    const OWN: IpEndpoint = IpEndpoint { addr: IpAddress::v4(10, 0, 0, 1), port: 80 };
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    /// One frame in, and the last one out.
    #[derive(Default)]
    struct Wire {
        next: Option<Vec<u8>>,
        sent: Vec<u8>,
    }

    struct Rx(Vec<u8>);
    struct Tx<'a>(&'a mut Vec<u8>);

    impl phy::Device for Wire {
        type RxToken<'a> = Rx;
        type TxToken<'a> = Tx<'a>;

        fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
            self.next.take().map(|frame| (Rx(frame), Tx(&mut self.sent)))
        }

        fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
            Some(Tx(&mut self.sent))
        }

        fn capabilities(&self) -> DeviceCapabilities {
            let mut capabilities = DeviceCapabilities::default();
            (capabilities.medium, capabilities.max_transmission_unit) = (Medium::Ethernet, 1514);
            capabilities.checksum = ChecksumCapabilities::ignored();
            capabilities
        }
    }

    impl phy::RxToken for Rx {
        fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
            f(&self.0)
        }
    }

    impl phy::TxToken for Tx<'_> {
        fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
            *self.0 = vec![0; len];
            f(self.0)
        }
    }

    /// Has smoltcp answer a SYN, on an interface with this seed.
    fn answer_of_smoltcp(seed: u64, room: usize, wish: Wish) -> Vec<u8> {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC.0)));
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut wire, Instant::ZERO);
        iface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(OWN.addr, 24)).unwrap());
        let mut sockets = SocketSet::new(vec![]);
        let buffer = || tcp::SocketBuffer::new(vec![0; room]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.listen(OWN.port).unwrap();
        sockets.add(socket);
        let station = EthernetAddress([2, 0, 0, 0, 0, 9]);
        let neighbour = Made::neighbour(MAC, OWN.addr, station, CLIENT.addr).unwrap();
        let syn = Made::segment(MAC, CLIENT, OWN, &syn_of(wish)).unwrap();
        for frame in [neighbour, syn] {
            wire.next = Some(frame.bytes().to_vec());
            iface.poll_ingress_single(Instant::ZERO, &mut wire, &mut sockets);
        }
        iface.poll_egress(Instant::ZERO, &mut wire, &mut sockets);
        wire.sent
    }

    fn syn_of(wish: Wish) -> TcpRepr<'static> {
        TcpRepr {
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(1000),
            window_len: 64000,
            window_scale: wish.window_scale,
            max_seg_size: Some(wish.segment_len),
            sack_permitted: wish.has_sack,
            ..empty(CLIENT, OWN)
        }
    }

    #[test]
    fn smoltcp_begins_with_the_number_that_it_is_to_begin_with() {
        let numbers = (0..1000u32).map(|number| number.wrapping_mul(0x9E37_79B9));
        for number in numbers.chain([1, u32::MAX, 1 << 31]) {
            let answer = answer_of_smoltcp(seed_for(number), 4096, Wish::new(Some(1460), None, false));
            assert_eq!(Segment::parse(&answer).unwrap().tcp.seq_number.0.cast_unsigned(), number);
        }
    }

    #[test]
    fn the_seed_is_right_whatever_comes_before() {
        // What smoltcp draws first must not be 0, or it draws again: one number of 65,536 has that once.
        let draw = |state: &mut u64| {
            *state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
            (*state >> (29 - (*state >> 61))) as u32
        };
        for number in (0..1_000_000u32).map(|number| number.wrapping_mul(0x9E37_79B9)) {
            let mut state = seed_for(number);
            let first = draw(&mut state);
            assert_ne!((first ^ first >> 16) as u16, 0, "{number}");
            assert_eq!(draw(&mut state), number);
        }
    }

    #[test]
    fn an_answer_is_the_one_that_smoltcp_would_give() {
        for room in [2048, 16 << 10, 65_535, 64 << 10, 256 << 10] {
            for wish in [Wish::new(Some(1460), Some(7), true), Wish::new(None, None, false)] {
                let number = 0x1234_5678;
                let theirs = answer_of_smoltcp(seed_for(number), room, wish);
                let request = Made::segment(MAC, CLIENT, OWN, &syn_of(wish)).unwrap();
                let request = Segment::parse(request.bytes()).unwrap();
                let tcp = answer_to(&request, number, room);
                let mut ours = vec![0; segment::len(OWN, &tcp).unwrap()];
                let station = EthernetAddress([2, 0, 0, 0, 0, 9]);
                let ignored = ChecksumCapabilities::ignored();
                segment::emit(&mut ours, EthernetAddress(MAC.0), station, OWN, CLIENT, &tcp, &ignored);
                assert_eq!(ours, theirs, "{room} bytes, {wish:?}");
            }
        }
    }
}
