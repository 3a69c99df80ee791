//! The addresses behind names: asks the link by mDNS.
//!
//! As a resolver that knows nothing of mDNS would (RFC 6762, section 6.7): from a port of its own, so that answers come to
//! it alone.

mod cache;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use edge_mdns::domain::base::iana::{Class, Opcode, Rcode};
use edge_mdns::domain::base::{Message, MessageBuilder, Rtype, ToName};
use edge_mdns::domain::rdata::AllRecordData;
use edge_mdns::{Buf, MdnsError, NameSlice, set_header};
use embassy_time::{Duration, Instant, with_deadline};

pub(crate) use self::cache::Cache;
use crate::mdns::records::to_ipv6;
use crate::mdns::{GROUP_V4, GROUP_V6, HOP_LIMIT, PORT};
use crate::socket::udp::UdpSocket;
use crate::stack::Stack;

/// How long after each question to wait for an answer: a datagram may be lost, and a node may have just come up.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1000), Duration::from_millis(2000)];
const QUESTION_LEN: usize = 192;
const ANSWER_LEN: usize = 1452;
const PACKETS: usize = 4;

/// Returns the address of the node with this name; `None` when nobody answers.
pub(super) async fn find(stack: &'static Stack, label: &str) -> Option<IpAddr> {
    let status = stack.status();
    if !status.mdns_name.is_empty() && status.mdns_name.eq_ignore_ascii_case(label) {
        return status.addresses().next();
    }
    let link = stack.link_epoch.get();
    if let Some(address) = stack.names.borrow_mut().get(label, link, Instant::now()) {
        return Some(address);
    }
    let room = (PACKETS, PACKETS * ANSWER_LEN);
    let mut socket = UdpSocket::bind_with(stack, 0, room, (2, 2 * QUESTION_LEN)).ok()?;
    socket.set_hop_limit(HOP_LIMIT);
    let mut question = [0; QUESTION_LEN];
    // Not predictable from outside, so that only who has heard the question can answer it.
    let id = (Instant::now().as_ticks() ^ stack.settings.seed.rotate_left(u32::from(socket.port()))) as u16;
    let len = ask(label, id, &mut question).ok()?;
    let mut answer = [0; ANSWER_LEN];
    for (attempt, patience) in PATIENCE.into_iter().enumerate() {
        // The node may have been without an IPv4 address a moment ago. Without any there is nobody to ask yet.
        let has_ipv4 = stack.ipv4.borrow().is_some();
        let question = question.get(..len).unwrap_or_default();
        if has_ipv4 {
            let _ = socket.try_send(question, SocketAddr::new(IpAddr::V4(GROUP_V4), PORT), None);
        }
        // The other node may be without one.
        if !has_ipv4 || attempt > 0 {
            let _ = socket.try_send(question, SocketAddr::new(IpAddr::V6(GROUP_V6), PORT), None);
        }
        stack.kick();
        let deadline = Instant::now() + patience;
        while let Ok(datagram) = with_deadline(deadline, socket.recv_from(&mut answer)).await {
            let message = answer.get(..datagram.len).unwrap_or_default();
            // An answer from elsewhere is forged (section 11).
            if datagram.peer.port() == PORT
                && stack.is_on_link(datagram.peer.ip())
                && let Ok(Some((address, ttl_s))) = read(message, label, id, has_ipv4)
            {
                stack.names.borrow_mut().put(label, address, ttl_s, Instant::now());
                return Some(address);
            }
        }
    }
    None
}

/// Writes the questions for the addresses of `label`; returns their length.
fn ask(label: &str, id: u16, out: &mut [u8]) -> Result<usize, MdnsError> {
    let mut builder = MessageBuilder::from_target(Buf::new(out))?;
    set_header(&mut builder, id, false);
    let mut questions = builder.question();
    let host: &[&str] = &[label, "local"];
    for kind in [Rtype::A, Rtype::AAAA] {
        questions.push((NameSlice::new(host), kind, Class::IN))?;
    }
    Ok(questions.finish().1)
}

/// Reads the address of `label` from an answer, and for how many seconds it holds: of both kinds the one that the node has too.
fn read(message: &[u8], label: &str, id: u16, has_ipv4: bool) -> Result<Option<(IpAddr, u32)>, MdnsError> {
    let message = Message::from_octets(message)?;
    let header = message.header();
    if !header.qr() || header.id() != id || header.opcode() != Opcode::QUERY || header.rcode() != Rcode::NOERROR {
        return Ok(None);
    }
    let host: &[&str] = &[label, "local"];
    let mut found = None;
    for record in message.answer()? {
        let Some(record) = record?.into_record::<AllRecordData<_, _>>()? else { continue };
        if !record.owner().name_eq(&NameSlice::new(host)) {
            continue;
        }
        let address = match record.data() {
            AllRecordData::A(data) => IpAddr::V4(Ipv4Addr::from(data.addr().octets())),
            AllRecordData::Aaaa(data) => IpAddr::V6(to_ipv6(data)),
            _ => continue,
        };
        let answer = Some((address, record.ttl().as_secs()));
        if address.is_ipv4() == has_ipv4 {
            return Ok(answer);
        }
        found = found.or(answer);
    }
    Ok(found)
}
