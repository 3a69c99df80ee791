//! A client of multicast DNS (RFC 6762) and DNS-SD (RFC 6763).

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lab::HOST;

/// Where multicast DNS lives (RFC 6762, section 3).
pub const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name, for instance of an instance of a service.
    Ptr(String),
    /// Port and host of a service.
    Srv(u16, String),
    /// A service's `key=value` strings.
    Txt(Vec<String>),
    /// A record of another type.
    Other(u16),
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whom it is about, without the last dot.
    pub name: String,
    /// What it says.
    pub data: Data,
}

/// Type of an address record (RFC 1035, section 3.2.2).
pub const A: u16 = 1;
/// Type of a pointer record.
pub const PTR: u16 = 12;
/// Type of a text record.
pub const TXT: u16 = 16;
/// Type of an IPv6 address record (RFC 3596).
pub const AAAA: u16 = 28;
/// Type of a service record (RFC 2782).
pub const SRV: u16 = 33;

/// A socket in the group.
pub struct Querier {
    socket: UdpSocket,
}

impl Querier {
    /// Opens port 5353 and joins the group, as a fully compliant querier does (RFC 6762, section 5.2).
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn join() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GROUP.1)).context("opening the mDNS port")?;
        socket.join_multicast_v4(&GROUP.0, &HOST).context("joining the mDNS group")?;
        socket.set_multicast_loop_v4(false)?;
        // RFC 6762, section 11.
        socket.set_multicast_ttl_v4(255)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket })
    }

    /// Opens another port: a one-shot query from there is answered to it directly (RFC 6762, section 6.7).
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn one_shot() -> Result<Self> {
        let socket = UdpSocket::bind((HOST, 0)).context("opening a port")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket })
    }

    /// Asks for records, again every second, until `pick` finds a value among all records of an answer.
    ///
    /// # Errors
    /// After `deadline`, with what came instead.
    pub fn ask<T>(
        &self,
        name: &str,
        kind: u16,
        deadline: Duration,
        pick: impl Fn(&[Record]) -> Option<T>,
    ) -> Result<T> {
        let (start, mut asked) = (Instant::now(), None::<Instant>);
        let mut others = Vec::new();
        let mut buffer = [0; 9000];
        while start.elapsed() < deadline {
            if asked.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                self.socket.send_to(&query(name, kind), GROUP).context("sending a query")?;
                asked = Some(Instant::now());
            }
            let Ok((len, _)) = self.socket.recv_from(&mut buffer) else { continue };
            let Some(records) = answers(&buffer[..len]) else { continue };
            if let Some(found) = pick(&records) {
                return Ok(found);
            }
            others.extend(records);
        }
        bail!("no fitting answer to an mDNS query for {name} (type {kind}) in {deadline:?}; received: {others:#?}")
    }
}

/// Returns a query for one name.
#[must_use]
pub fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// Returns all records of a response, or `None` for a query or for bytes that are not DNS.
#[must_use]
pub fn answers(message: &[u8]) -> Option<Vec<Record>> {
    if message.get(2)? & 0x80 == 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..word(message, 4)? {
        name(message, &mut at)?;
        at += 4;
    }
    let count = (6..12).step_by(2).map(|offset| word(message, offset)).sum::<Option<u16>>()?;
    let mut records = Vec::new();
    for _ in 0..count {
        let about = name(message, &mut at)?;
        let kind = word(message, at)?;
        let len = usize::from(word(message, at + 8)?);
        at += 10;
        let value = message.get(at..at + len)?;
        let mut inner = at;
        let data = match kind {
            A => Data::A(<[u8; 4]>::try_from(value).ok()?.into()),
            AAAA => Data::Aaaa(<[u8; 16]>::try_from(value).ok()?.into()),
            PTR => Data::Ptr(name(message, &mut inner)?),
            SRV => {
                inner += 6;
                Data::Srv(word(message, at + 4)?, name(message, &mut inner)?)
            }
            TXT => Data::Txt(strings(value)?),
            other => Data::Other(other),
        };
        at += len;
        records.push(Record { name: about, data });
    }
    Some(records)
}

fn strings(mut value: &[u8]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    while let [len, rest @ ..] = value {
        let len = usize::from(*len);
        all.push(String::from_utf8_lossy(rest.get(..len)?).into_owned());
        value = &rest[len..];
    }
    Some(all)
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a name, following compression (RFC 1035, section 4.1.4), and moves `at` behind it.
fn name(message: &[u8], at: &mut usize) -> Option<String> {
    let mut labels: Vec<String> = Vec::new();
    let (mut from, mut has_jumped) = (*at, false);
    // A name has at most 127 labels; a loop of pointers ends here as well.
    for _ in 0..128 {
        let len = *message.get(from)?;
        match len >> 6 {
            0 if len == 0 => {
                if !has_jumped {
                    *at = from + 1;
                }
                return Some(labels.join("."));
            }
            0 => {
                let end = from + 1 + usize::from(len);
                labels.push(String::from_utf8_lossy(message.get(from + 1..end)?).into_owned());
                from = end;
            }
            3 => {
                if !has_jumped {
                    *at = from + 2;
                    has_jumped = true;
                }
                from = usize::from(word(message, from)? & 0x3fff);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_compressed_names_is_read() {
        let mut message = query("a.local", A);
        message[2] = 0x84;
        message[7] = 2;
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 120, 0, 4, 10, 0, 0, 7]);
        message.extend([0xc0, 14, 0, 12, 0, 1, 0, 0, 0, 120, 0, 4, 1, b'b', 0xc0, 14]);
        let expected = [
            Record { name: "a.local".to_owned(), data: Data::A(Ipv4Addr::new(10, 0, 0, 7)) },
            Record { name: "local".to_owned(), data: Data::Ptr("b.local".to_owned()) },
        ];
        assert_eq!(answers(&message).as_deref(), Some(&expected[..]));
        for len in 0..message.len() {
            assert_eq!(answers(&message[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_name_that_points_to_itself_is_refused() {
        let message = [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(answers(&message), None);
    }
}
