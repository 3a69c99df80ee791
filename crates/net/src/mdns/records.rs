//! The records that a node owns: its addresses and its services.

use core::net::{IpAddr, Ipv6Addr};

use edge_mdns::domain::base::iana::Class;
use edge_mdns::domain::base::net::{Ipv4Addr as Ipv4, Ipv6Addr as Ipv6};
use edge_mdns::domain::base::{Record, Rtype, Ttl};
use edge_mdns::domain::rdata::{A, Aaaa, AllRecordData, Ptr, Srv};
use edge_mdns::{HostAnswer, NameSlice, RecordDataChain, Txt};
use heapless::Vec;

use crate::http::HTTP_PORT;
use crate::settings::NodeName;
use crate::status::IPV6_ADDRESSES;

/// Life of records with an address or a host name in them, and of the others (RFC 6762, section 10).
pub(super) const HOST_TTL_S: u32 = 120;
pub(super) const OTHER_TTL_S: u32 = 4500;
/// A record that nobody else may have: who hears it forgets what others said (RFC 6762, section 10.2).
const CACHE_FLUSH: u16 = 0x8000;

/// The service types; both are on the HTTP port.
const SERVICES: [&str; 2] = ["_minipirack", "_http"];

/// What the records are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone<'a> {
    pub(super) name: NodeName,
    pub(super) addresses: Vec<IpAddr, { IPV6_ADDRESSES + 1 }>,
    pub(super) txt: &'a [(&'a str, &'a str)],
}

/// A record, and what it is for.
pub(super) struct Entry<'r> {
    /// Its number, always the same for the same zone, below 32.
    pub(super) number: u32,
    pub(super) record: HostAnswer<'r>,
    /// Bits of the records that whoever asks for this one will ask for next.
    pub(super) follow: u32,
}

impl Zone<'_> {
    /// Whether an address in a record of the zone's name would be one of the zone's.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Calls `visit` with every record until it fails.
    pub(super) fn visit<E>(&self, mut visit: impl FnMut(Entry<'_>) -> Result<(), E>) -> Result<(), E> {
        let host: &[&str] = &[&self.name, "local"];
        let mut number = 0;
        let mut host_bits = 0;
        let mut out = |owner: &[&str], ttl_s: u32, is_shared: bool, data: Data<'_>, follow: u32| {
            let class = if is_shared { Class::IN } else { Class::from_int(Class::IN.to_int() | CACHE_FLUSH) };
            let record = Record::new(NameSlice::new(owner), class, Ttl::from_secs(ttl_s), data);
            let entry = Entry { number, record, follow };
            number += 1;
            visit(entry).map(|()| 1 << (number - 1))
        };
        for address in &self.addresses {
            let data = match *address {
                IpAddr::V4(address) => AllRecordData::A(A::new(Ipv4::from(address.octets()))),
                IpAddr::V6(address) => AllRecordData::Aaaa(Aaaa::new(Ipv6::from(address.octets()))),
            };
            host_bits |= out(host, HOST_TTL_S, false, RecordDataChain::Next(data), 0)?;
        }
        for service in SERVICES {
            let instance: &[&str] = &[&self.name, service, "_tcp", "local"];
            let kind: &[&str] = &[service, "_tcp", "local"];
            let srv = Srv::new(0, 0, HTTP_PORT, NameSlice::new(host));
            let srv = out(instance, HOST_TTL_S, false, RecordDataChain::Next(AllRecordData::Srv(srv)), host_bits)?;
            let txt = out(instance, OTHER_TTL_S, false, RecordDataChain::This(Txt::new(self.txt)), 0)?;
            let ptr = AllRecordData::Ptr(Ptr::new(NameSlice::new(instance)));
            out(kind, OTHER_TTL_S, true, RecordDataChain::Next(ptr), srv | txt | host_bits)?;
            let ptr = AllRecordData::Ptr(Ptr::new(NameSlice::new(kind)));
            out(SERVICE_TYPES, OTHER_TTL_S, true, RecordDataChain::Next(ptr), 0)?;
        }
        Ok(())
    }
}

type Data<'r> = RecordDataChain<Txt<'r>, AllRecordData<&'r [u8], NameSlice<'r>>>;

/// The name under which service types are listed (RFC 6763, section 9).
const SERVICE_TYPES: &[&str] = &["_services", "_dns-sd", "_udp", "local"];

/// Returns the IPv6 address in a record's data.
pub(crate) fn to_ipv6(data: &Aaaa) -> Ipv6Addr {
    Ipv6Addr::from(data.addr().octets())
}

/// Whether a question for `asked` is answered by a record of type `has`.
pub(super) fn is_answer(asked: Rtype, has: Rtype) -> bool {
    asked == has || asked == Rtype::ANY
}
