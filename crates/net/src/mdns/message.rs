//! mDNS messages (RFC 6762): what to answer to which, without any I/O.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use core::net::{IpAddr, Ipv4Addr};

use edge_mdns::domain::base::iana::{Class, Opcode, Rcode};
use edge_mdns::domain::base::{Message, MessageBuilder, ParsedName, Record, Rtype, ToName, Ttl};
use edge_mdns::domain::rdata::AllRecordData;
use edge_mdns::{Buf, MdnsError, NameSlice, RecordDataChain, set_header};

use crate::mdns::records::{Entry, Zone, is_answer, to_ipv6};

/// Top bit of a question's class: the answer may come to the asker alone (RFC 6762, section 5.4).
const UNICAST_WANTED: u16 = 0x8000;
/// Life of records for a resolver that knows nothing of mDNS (RFC 6762, section 6.7).
const LEGACY_TTL_S: u32 = 10;

/// What a received message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing.
    None,
    /// The first `len` bytes of the buffer are an answer.
    Answer {
        len: usize,
        /// Only to the asker.
        is_unicast: bool,
        /// Others may answer too: wait a moment, so that not all speak at once.
        is_shared: bool,
    },
    /// Somebody else has our name.
    Conflict,
    /// Somebody else is about to take our name, at the same time as we are, and comes first.
    Yield,
}

/// Writes a message with every record; returns its length.
pub(super) fn announce(zone: &Zone<'_>, out: &mut [u8]) -> Result<usize, MdnsError> {
    let mut builder = MessageBuilder::from_target(Buf::new(out))?;
    set_header(&mut builder, 0, true);
    let mut answers = builder.answer();
    zone.visit(|entry| answers.push(entry.record).map_err(MdnsError::from))?;
    Ok(answers.finish().1)
}

/// Writes a message that asks whether somebody has the zone's name; returns its length.
pub(super) fn probe(zone: &Zone<'_>, out: &mut [u8]) -> Result<usize, MdnsError> {
    let mut builder = MessageBuilder::from_target(Buf::new(out))?;
    set_header(&mut builder, 0, false);
    let mut questions = builder.question();
    let host: &[&str] = &[&zone.name, "local"];
    questions.push((NameSlice::new(host), Rtype::ANY, Class::from_int(Class::IN.to_int() | UNICAST_WANTED)))?;
    // The records that we want go along, so that a rival can tell who comes first (section 8.2).
    let mut authority = questions.authority();
    zone.visit(|entry| {
        if entry.record.owner().name_eq(&NameSlice::new(host)) {
            let record = entry.record;
            authority.push(Record::new(record.owner().clone(), Class::IN, record.ttl(), record.data().clone()))?;
        }
        Ok::<_, MdnsError>(())
    })?;
    Ok(authority.finish().1)
}

/// Reads a message and says what to do about it.
///
/// `is_legacy`: it came from another port than 5353, so from a resolver that knows only plain DNS. `is_probing`: the name
/// is not ours yet.
pub(super) fn react(
    zone: &Zone<'_>,
    message: &[u8],
    is_legacy: bool,
    is_probing: bool,
    out: &mut [u8],
) -> Result<Reaction, MdnsError> {
    let message = Message::from_octets(message)?;
    let header = message.header();
    // Section 18: other opcodes and codes are to be ignored.
    if header.opcode() != Opcode::QUERY || header.rcode() != Rcode::NOERROR {
        return Ok(Reaction::None);
    }
    if header.qr() {
        return Ok(if claims(zone, &message)? { Reaction::Conflict } else { Reaction::None });
    }
    if is_probing {
        return Ok(if rival_comes_first(zone, &message)? { Reaction::Yield } else { Reaction::None });
    }
    answer(zone, &message, is_legacy, out)
}

type Parsed<'m> = Record<ParsedName<&'m [u8]>, AllRecordData<&'m [u8], ParsedName<&'m [u8]>>>;

/// Returns the address in a record under our name.
fn own_name_address(zone: &Zone<'_>, record: &Parsed<'_>) -> Option<IpAddr> {
    let host: &[&str] = &[&zone.name, "local"];
    if !record.owner().name_eq(&NameSlice::new(host)) {
        return None;
    }
    match record.data() {
        AllRecordData::A(data) => Some(IpAddr::V4(Ipv4Addr::from(data.addr().octets()))),
        AllRecordData::Aaaa(data) => Some(IpAddr::V6(to_ipv6(data))),
        _ => None,
    }
}

/// Whether a response gives our name to an address that is not ours.
fn claims(zone: &Zone<'_>, message: &Message<&[u8]>) -> Result<bool, MdnsError> {
    for record in message.answer()? {
        let Some(record) = record?.into_record::<AllRecordData<_, _>>()? else { continue };
        // Life 0 is a good-bye.
        if record.ttl().as_secs() > 0 && own_name_address(zone, &record).is_some_and(|address| !zone.has(address)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether somebody else probes for our name with records that come after ours in the order of section 8.2, and so win.
fn rival_comes_first(zone: &Zone<'_>, message: &Message<&[u8]>) -> Result<bool, MdnsError> {
    let mut theirs: Option<IpAddr> = None;
    for record in message.authority()? {
        let Some(record) = record?.into_record::<AllRecordData<_, _>>()? else { continue };
        if let Some(address) = own_name_address(zone, &record) {
            theirs = Some(theirs.map_or(address, |first| first.min(address)));
        }
    }
    let Some(theirs) = theirs else { return Ok(false) };
    // Ours, looped back.
    if zone.has(theirs) {
        return Ok(false);
    }
    // The order of records is that of their type, then of their data; A comes before AAAA, as IpAddr's order has it.
    Ok(zone.addresses.iter().min().is_none_or(|ours| theirs > *ours))
}

fn answer(zone: &Zone<'_>, message: &Message<&[u8]>, is_legacy: bool, out: &mut [u8]) -> Result<Reaction, MdnsError> {
    let mut wanted = 0u32;
    let mut is_shared = false;
    // A probe is answered to everybody, which takes no neighbour discovery, so the answer comes in time.
    let mut is_unicast = message.header_counts().nscount() == 0;
    for question in message.question() {
        let question = question?;
        let class = question.qclass().to_int();
        if class & !UNICAST_WANTED != Class::IN.to_int() && question.qclass() != Class::ANY {
            continue;
        }
        is_unicast &= class & UNICAST_WANTED != 0;
        zone.visit(|Entry { number, record, .. }| {
            if is_answer(question.qtype(), record.rtype()) && question.qname().name_eq(record.owner()) {
                wanted |= 1 << number;
                is_shared |= record.class() == Class::IN;
            }
            Ok::<_, MdnsError>(())
        })?;
    }
    wanted &= !known(zone, message)?;
    if wanted == 0 {
        return Ok(Reaction::None);
    }
    let mut builder = MessageBuilder::from_target(Buf::new(out))?;
    set_header(&mut builder, if is_legacy { message.header().id() } else { 0 }, true);
    let mut questions = builder.question();
    if is_legacy {
        for question in message.question() {
            questions.push(question?)?;
        }
    }
    let mut answers = questions.answer();
    let mut follow = 0;
    zone.visit(|entry| {
        if wanted & (1 << entry.number) != 0 {
            follow |= entry.follow;
            answers.push(fit(entry, is_legacy))?;
        }
        Ok::<_, MdnsError>(())
    })?;
    let mut additional = answers.additional();
    zone.visit(|entry| {
        if follow & !wanted & (1 << entry.number) != 0 {
            additional.push(fit(entry, is_legacy))?;
        }
        Ok::<_, MdnsError>(())
    })?;
    Ok(Reaction::Answer { len: additional.finish().1, is_unicast: is_legacy || is_unicast, is_shared })
}

/// Makes a record fit for who asked.
fn fit(entry: Entry<'_>, is_legacy: bool) -> edge_mdns::HostAnswer<'_> {
    if !is_legacy {
        return entry.record;
    }
    let ttl = entry.record.ttl().min(Ttl::from_secs(LEGACY_TTL_S));
    let (owner, data) = entry.record.into_owner_and_data();
    Record::new(owner, Class::IN, ttl, data)
}

/// Bits of the pointer records that the asker knows already, with half of their life ahead (section 7.1).
fn known(zone: &Zone<'_>, message: &Message<&[u8]>) -> Result<u32, MdnsError> {
    let mut known = 0;
    for record in message.answer()? {
        let Some(record) = record?.into_record::<AllRecordData<_, _>>()? else { continue };
        let record: Parsed<'_> = record;
        let AllRecordData::Ptr(theirs) = record.data() else { continue };
        zone.visit(|Entry { number, record: ours, .. }| {
            if let RecordDataChain::Next(AllRecordData::Ptr(target)) = ours.data()
                && record.owner().name_eq(ours.owner())
                && theirs.ptrdname().name_eq(target.ptrdname())
                && record.ttl().as_secs() >= ours.ttl().as_secs() / 2
            {
                known |= 1 << number;
            }
            Ok::<_, MdnsError>(())
        })?;
    }
    Ok(known)
}
