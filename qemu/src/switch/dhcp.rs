//! Gives the nodes at a switch their addresses (RFC 2131), and tells which node has which.
//!
//! It is a station at the switch like any other: frames in, frames out. Addresses are for as long as the switch lives, so a node
//! that restarts has its old one; they are given in the order in which nodes first ask, unless one was set aside.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame,
    EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::Switch;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Of a lease, in seconds. A node renews after half of it.
const LEASE_S: u32 = 86_400;
/// The server's address: of the range that is for local use (IEEE 802-2014, section 8.4).
const MAC: EthernetAddress = EthernetAddress([0x02, 0x4d, 0x50, 0x52, 0, 2]);

/// The network that addresses are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The server's own address.
    pub server: Ipv4Addr,
    /// The first address that is given to a node.
    pub first: Ipv4Addr,
    /// How many are.
    pub count: u32,
    /// Bits of an address that are the network's.
    pub prefix_len: u8,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
    /// Who is asked for names.
    pub dns: Option<Ipv4Addr>,
}

/// See the module. Ends with the switch.
#[derive(Clone, Debug)]
pub struct Leases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    subnet: Subnet,
    table: Mutex<Table>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    /// The address of each node, acknowledged or not.
    addresses: BTreeMap<[u8; 6], Ipv4Addr>,
    acknowledged: BTreeMap<[u8; 6], Ipv4Addr>,
}

impl Leases {
    /// Starts a server at a port of its own.
    ///
    /// # Errors
    /// When the system has no more sockets or threads.
    pub fn serve(switch: &Switch, subnet: Subnet) -> Result<Self> {
        let (_, mut link) = switch.connect()?;
        let shared = Arc::new(Shared { subnet, table: Mutex::default(), news: Condvar::new() });
        let server = shared.clone();
        let mut run = move || -> io::Result<()> {
            loop {
                let frame = link.receive()?;
                if let Some(answer) = server.answer(&frame) {
                    link.send(&answer)?;
                }
            }
        };
        // Ends when the switch does.
        thread::Builder::new().name("dhcp".into()).spawn(move || _ = run()).context("no thread")?;
        Ok(Self(shared))
    }

    /// Keeps an address for a node, before it asks.
    pub fn reserve(&self, mac: [u8; 6], address: Ipv4Addr) {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner).addresses.insert(mac, address);
    }

    /// Returns the address that a node has taken.
    #[must_use]
    pub fn address(&self, mac: [u8; 6]) -> Option<Ipv4Addr> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.get(&mac).copied()
    }

    /// Waits until a node has taken an address; `None` if it has not within `timeout`.
    #[must_use]
    pub fn wait(&self, mac: [u8; 6], timeout: Duration) -> Option<Ipv4Addr> {
        let deadline = Instant::now() + timeout;
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(address) = table.acknowledged.get(&mac) {
                return Some(*address);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            (table, _) = self.0.news.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    /// Returns the frame that answers another, if one does.
    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        match frame.ethertype() {
            EthernetProtocol::Arp => self.answer_arp(frame.payload()),
            EthernetProtocol::Ipv4 => self.answer_ipv4(frame.payload()),
            _ => None,
        }
    }

    /// Tells who asks that the server's address is here: a node renews its lease with it.
    fn answer_arp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let ArpRepr::EthernetIpv4 {
            operation, source_hardware_addr, source_protocol_addr, target_protocol_addr, ..
        } = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?
        else {
            return None;
        };
        if operation != ArpOperation::Request || target_protocol_addr != self.subnet.server {
            return None;
        }
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: MAC,
            source_protocol_addr: self.subnet.server,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        Some(ethernet(source_hardware_addr, EthernetProtocol::Arp, reply.buffer_len(), |payload| {
            reply.emit(&mut ArpPacket::new_unchecked(payload));
        }))
    }

    fn answer_ipv4(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let checksums = ChecksumCapabilities::default();
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        let ip = Ipv4Repr::parse(&packet, &checksums).ok()?;
        if ip.next_header != IpProtocol::Udp {
            return None;
        }
        let udp_packet = UdpPacket::new_checked(packet.payload()).ok()?;
        let udp = UdpRepr::parse(&udp_packet, &ip.src_addr.into(), &ip.dst_addr.into(), &checksums).ok()?;
        if udp.dst_port != SERVER_PORT {
            return None;
        }
        let message = DhcpPacket::new_checked(udp_packet.payload()).ok()?;
        let reply = self.answer_dhcp(&DhcpRepr::parse(&message).ok()?)?;
        Some(self.wrap(&reply))
    }

    fn answer_dhcp(&self, message: &DhcpRepr<'_>) -> Option<DhcpRepr<'static>> {
        let mac = message.client_hardware_address;
        let for_another = message.server_identifier.is_some_and(|server| server != self.subnet.server);
        if for_another {
            return None;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let address = table.address(mac.0, &self.subnet)?;
        let kind = match message.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => {
                let wanted = message.requested_ip.unwrap_or(message.client_ip);
                if wanted == address { DhcpMessageType::Ack } else { DhcpMessageType::Nak }
            }
            DhcpMessageType::Release => {
                table.acknowledged.remove(&mac.0);
                return None;
            }
            _ => return None,
        };
        let is_refused = kind == DhcpMessageType::Nak;
        if kind == DhcpMessageType::Ack {
            table.acknowledged.insert(mac.0, address);
            self.news.notify_all();
        }
        let given = |address: Ipv4Addr| (!is_refused).then_some(address);
        Some(DhcpRepr {
            message_type: kind,
            transaction_id: message.transaction_id,
            secs: 0,
            client_hardware_address: mac,
            client_ip: if is_refused { Ipv4Addr::UNSPECIFIED } else { message.client_ip },
            your_ip: given(address).unwrap_or(Ipv4Addr::UNSPECIFIED),
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: self.subnet.gateway.and_then(given),
            subnet_mask: given(Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.subnet.prefix_len))?)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: message.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(self.subnet.server),
            parameter_request_list: None,
            dns_servers: self.subnet.dns.and_then(given).map(|server| [server].into_iter().collect()),
            max_size: None,
            lease_duration: (!is_refused).then_some(LEASE_S),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        })
    }

    /// Puts an answer into a frame. A client without an address may not hear anything but a broadcast (RFC 2131, section 4.1).
    fn wrap(&self, dhcp: &DhcpRepr<'_>) -> Vec<u8> {
        let has_address = !dhcp.client_ip.is_unspecified() && dhcp.message_type != DhcpMessageType::Nak;
        let (to_mac, to) = if has_address {
            (dhcp.client_hardware_address, dhcp.client_ip)
        } else {
            (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST)
        };
        let checksums = ChecksumCapabilities::default();
        let udp = UdpRepr { src_port: SERVER_PORT, dst_port: CLIENT_PORT };
        let ip = Ipv4Repr {
            src_addr: self.subnet.server,
            dst_addr: to,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + dhcp.buffer_len(),
            hop_limit: 64,
        };
        let len = ip.buffer_len() + ip.payload_len;
        ethernet(to_mac, EthernetProtocol::Ipv4, len, |payload| {
            let mut packet = Ipv4Packet::new_unchecked(payload);
            ip.emit(&mut packet, &checksums);
            let (from, to) = (IpAddress::Ipv4(ip.src_addr), IpAddress::Ipv4(ip.dst_addr));
            let message = |bytes: &mut [u8]| {
                // Has as many bytes as the answer says that it needs.
                let _ = dhcp.emit(&mut DhcpPacket::new_unchecked(bytes));
            };
            udp.emit(
                &mut UdpPacket::new_unchecked(packet.payload_mut()),
                &from,
                &to,
                dhcp.buffer_len(),
                message,
                &checksums,
            );
        })
    }
}

impl Table {
    /// Returns the address for a node, the next one if it has none; `None` when there is none left.
    fn address(&mut self, mac: [u8; 6], subnet: &Subnet) -> Option<Ipv4Addr> {
        if let Some(address) = self.addresses.get(&mac) {
            return Some(*address);
        }
        let candidates = (0..subnet.count).map(|i| Ipv4Addr::from_bits(subnet.first.to_bits() + i));
        let free = candidates.into_iter().find(|address| !self.addresses.values().any(|taken| taken == address))?;
        self.addresses.insert(mac, free);
        Some(free)
    }
}

fn ethernet(to: EthernetAddress, ethertype: EthernetProtocol, len: usize, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = vec![0; EthernetFrame::<&[u8]>::buffer_len(len)];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    EthernetRepr { src_addr: MAC, dst_addr: to, ethertype }.emit(&mut frame);
    fill(frame.payload_mut());
    bytes
}

#[cfg(test)]
mod tests;
