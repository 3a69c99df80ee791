//! Any bytes as the options of a DHCP server's offer and acknowledgement.

use alloc::vec;
use alloc::vec::Vec;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::dhcpv4::{Event, Socket};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress};

use super::{MESSAGE_LEN, SERVERS, WANTED, bound};

/// From an Ethernet header to the options of a message: IPv4, UDP, and the fixed part (RFC 2131, section 2).
const UDP_AT: usize = 14 + 20;
const MESSAGE_AT: usize = UDP_AT + 8;
const XID_AT: usize = MESSAGE_AT + 4;
const OPTIONS_AT: usize = MESSAGE_AT + 240;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OFFER: u8 = 2;
const ACK: u8 = 5;

/// Has a client take a lease whose options begin with what makes them one and go on with `data`; and reads `data` as a whole
/// message.
pub fn run(data: &[u8]) {
    crate::filter::fuzz::dhcp(data);
    let mut wire = Wire::default();
    let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC)));
    config.random_seed = 1;
    let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
    let mut socket = Socket::new();
    socket.set_parameter_request_list(WANTED);
    let mut kept = vec![0; MESSAGE_LEN];
    socket.set_receive_packet_buffer(&mut kept);
    let mut sockets = SocketSet::new(Vec::new());
    let handle = sockets.add(socket);
    for kind in [OFFER, ACK] {
        interface.poll(Instant::ZERO, &mut wire, &mut sockets);
        let Some(xid) = wire.sent.get(XID_AT..XID_AT + 4).and_then(|xid| xid.first_chunk::<4>()) else { return };
        wire.waiting = Some(message(kind, *xid, data));
        interface.poll(Instant::ZERO, &mut wire, &mut sockets);
    }
    let Some(Event::Configured(lease)) = sockets.get_mut::<Socket<'_>>(handle).poll() else { return };
    let bound = bound(&lease);
    assert!(bound.prefix_len <= 32 && bound.dns.len() <= SERVERS && bound.ntp.len() <= SERVERS);
    assert!(!bound.address.is_multicast() && !bound.address.is_unspecified(), "{}", bound.address);
    assert!(bound.ntp.iter().all(|server| !server.is_unspecified() && !server.is_multicast()));
}

/// Makes a server's message, in a frame.
fn message(kind: u8, xid: [u8; 4], options: &[u8]) -> Vec<u8> {
    let options = options.get(..1000).unwrap_or(options);
    // Message type, server, subnet mask (RFC 2132, sections 9.6, 9.7, 3.3): without those there is no lease.
    let begin = [53, 1, kind, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 255, 0];
    let mut frame = vec![0; OPTIONS_AT];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(to) = frame.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    let len = (OPTIONS_AT - 14 + begin.len() + options.len()) as u16;
    put(0, &MAC);
    put(6, &[2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0]);
    put(16, &len.to_be_bytes());
    put(22, &[64, 17]);
    put(26, &[10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = !crate::checksum::fold(crate::checksum::add(0, frame.get(14..UDP_AT).unwrap_or_default()));
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(to) = frame.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    put(24, &sum.to_be_bytes());
    // Without a checksum, which UDP over IPv4 allows.
    put(UDP_AT, &[0, 67, 0, 68]);
    put(UDP_AT + 4, &(len - 20).to_be_bytes());
    put(MESSAGE_AT, &[2, 1, 6, 0]);
    put(XID_AT, &xid);
    put(MESSAGE_AT + 16, &[10, 0, 0, 2]);
    put(MESSAGE_AT + 28, &MAC);
    put(MESSAGE_AT + 236, &[99, 130, 83, 99]);
    frame.extend_from_slice(&begin);
    frame.extend_from_slice(options);
    frame
}

/// A wire with room for one frame each way.
#[derive(Default)]
struct Wire {
    waiting: Option<Vec<u8>>,
    sent: Vec<u8>,
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Room<'w>(&'w mut Vec<u8>);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.clear();
        self.0.resize(len, 0);
        f(self.0)
    }
}

impl Device for Wire {
    type RxToken<'w> = Received;
    type TxToken<'w> = Room<'w>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Room<'_>)> {
        Some((Received(self.waiting.take()?), Room(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        Some(Room(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::DhcpPacket;

    use super::*;

    #[test]
    fn it_holds_for_usual_and_unusual_options() {
        run(&[3, 4, 10, 0, 0, 1, 42, 8, 10, 0, 0, 1, 224, 0, 0, 1, 51, 4, 0, 0, 0, 60, 255]);
        run(&[51, 200, 1]);
        run(&[]);
    }

    #[test]
    fn what_it_makes_is_a_message() {
        let frame = message(ACK, [1, 2, 3, 4], &[255]);
        let packet = DhcpPacket::new_checked(frame.get(MESSAGE_AT..).unwrap()).unwrap();
        assert_eq!((packet.transaction_id(), packet.options().count()), (0x0102_0304, 3));
    }
}
