//! A DHCP server (RFC 2131) whose every answer the test decides and which remembers whatever it received.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lab::{HOST, NODE};
use crate::node::PATIENCE;
use crate::packet::Mac;
use crate::wait;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Length of a message up to the magic cookie (RFC 2131, section 2).
const FIXED_LEN: usize = 236;

/// What a client sent, by option 53 (RFC 2132, section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Looks for servers.
    Discover,
    /// Takes an offer, or renews.
    Request,
    /// Refuses an address that is in use.
    Decline,
    /// Gives the address back.
    Release,
    /// Any other message.
    Other(u8),
}

/// One received message.
#[derive(Clone, Debug)]
pub struct Received {
    /// When it came.
    pub at: Instant,
    /// What it was.
    pub kind: Kind,
    /// The client's Ethernet address.
    pub mac: Mac,
    /// Address that the client has (`ciaddr`): not zero in a renewal.
    pub has: Ipv4Addr,
    /// Address that the client asks for (option 50).
    pub wants: Option<Ipv4Addr>,
    /// Name that the client gives itself (option 12).
    pub host_name: Option<String>,
    /// Where the datagram came from; a renewal comes from the client's own address.
    pub from: SocketAddr,
}

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As it should.
    Serve,
    /// Not at all, as if the server were gone.
    Silence,
    /// DHCPNAK to every request.
    Refuse,
}

/// What the server does with the next message.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How it answers.
    pub answer: Answer,
    /// The address it gives.
    pub address: Ipv4Addr,
    /// For how long.
    pub lease: Duration,
    /// When the client shall renew with this server (T1) and with any (T2); by the RFC's half and seven eighths if absent.
    pub renew: Option<(Duration, Duration)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { answer: Answer::Serve, address: NODE, lease: Duration::from_secs(3600), renew: None }
    }
}

#[derive(Default)]
struct State {
    policy: Policy,
    received: Vec<Received>,
    is_stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running server.
pub struct DhcpServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl DhcpServer {
    /// Starts to serve the lab's network.
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn start(policy: Policy) -> Result<Self> {
        // A program that another thread starts meanwhile has the socket of the server before, too, until it runs (fork, then exec).
        let socket =
            wait::until("the DHCP server's port", PATIENCE, || match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
                result => Ok(Some(result.context("opening the DHCP server's port")?)),
            })?;
        socket.set_broadcast(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let shared = Arc::new(Shared::default());
        shared.lock().policy = policy;
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&socket, &shared)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes how the next messages are answered.
    pub fn change(&self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.shared.lock().policy);
    }

    /// Returns everything received so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// Returns how many messages of a kind came so far.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.shared.lock().received.iter().filter(|message| message.kind == kind).count()
    }

    /// Waits until a message has come that is later than the first `skip` and for which `is` holds.
    ///
    /// # Errors
    /// After `deadline`, with the list of what came instead.
    pub fn wait_for(
        &self,
        what: &str,
        skip: usize,
        deadline: Duration,
        is: impl Fn(&Received) -> bool,
    ) -> Result<Received> {
        let start = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = state.received.iter().skip(skip).find(|message| is(message)) {
                return Ok(found.clone());
            }
            let Some(left) = deadline.checked_sub(start.elapsed()) else {
                bail!("the DHCP server waited {deadline:?} in vain for {what}; received: {:#?}", state.received);
            };
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        self.shared.lock().is_stopping = true;
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 1500];
    while !shared.lock().is_stopping {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let message = &buffer[..len];
        let Some(received) = parse(message, from) else { continue };
        let policy = shared.lock().policy;
        if let Some(reply) = reply(message, &received, &policy) {
            // RFC 2131, section 4.1: to the client's address if it has one, else to everybody.
            let to = if received.has.is_unspecified() { Ipv4Addr::BROADCAST } else { received.has };
            // A reply that can't be sent is seen by the test as a client that got none.
            let _ = socket.send_to(&reply, (to, 68));
        }
        shared.lock().received.push(received);
        shared.changed.notify_all();
    }
}

fn parse(message: &[u8], from: SocketAddr) -> Option<Received> {
    if message.first() != Some(&1) || message.get(FIXED_LEN..FIXED_LEN + 4) != Some(&COOKIE) {
        return None;
    }
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from);
    let kind = match option(message, 53)?.first()? {
        1 => Kind::Discover,
        3 => Kind::Request,
        4 => Kind::Decline,
        7 => Kind::Release,
        other => Kind::Other(*other),
    };
    Some(Received {
        at: Instant::now(),
        kind,
        mac: message.get(28..34)?.try_into().ok()?,
        has: address(message.get(12..16)?)?,
        wants: option(message, 50).and_then(address),
        host_name: option(message, 12).map(|name| String::from_utf8_lossy(name).into_owned()),
        from,
    })
}

fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = message.get(FIXED_LEN + 4..)?;
    loop {
        match *rest {
            [0, ..] => rest = &rest[1..],
            [255, ..] | [] | [_] => return None,
            [code, len, ..] => {
                let value = rest.get(2..2 + usize::from(len))?;
                if code == wanted {
                    return Some(value);
                }
                rest = &rest[2 + usize::from(len)..];
            }
        }
    }
}

fn reply(message: &[u8], received: &Received, policy: &Policy) -> Option<Vec<u8>> {
    let kind = match (policy.answer, received.kind) {
        (Answer::Silence, _) => return None,
        (_, Kind::Discover) => 2,
        (Answer::Refuse, Kind::Request) => 6,
        (Answer::Serve, Kind::Request) => {
            let asked = received.wants.unwrap_or(received.has);
            if asked == policy.address { 5 } else { 6 }
        }
        _ => return None,
    };
    let mut reply = message.get(..FIXED_LEN)?.to_vec();
    reply[0] = 2;
    reply[3] = 0;
    if kind == 6 {
        reply[12..16].fill(0);
    } else {
        reply[16..20].copy_from_slice(&policy.address.octets());
    }
    reply[20..24].copy_from_slice(&HOST.octets());
    reply.extend(COOKIE);
    reply.extend([53, 1, kind, 54, 4]);
    reply.extend(HOST.octets());
    if kind != 6 {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
        reply.extend([51, 4]);
        reply.extend(seconds(policy.lease));
        if let Some((t1, t2)) = policy.renew {
            reply.extend([58, 4]);
            reply.extend(seconds(t1));
            reply.extend([59, 4]);
            reply.extend(seconds(t2));
        }
        reply.extend([1, 4, 255, 255, 255, 0, 3, 4]);
        reply.extend(HOST.octets());
        reply.extend([6, 4]);
        reply.extend(HOST.octets());
    }
    reply.push(255);
    reply.resize(reply.len().max(300), 0);
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discover() -> Vec<u8> {
        let mut message = vec![0; FIXED_LEN];
        message[..4].copy_from_slice(&[1, 1, 6, 0]);
        message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        message.extend(COOKIE);
        message.extend([0, 53, 1, 1, 12, 2, b'p', b'i', 255]);
        message
    }

    #[test]
    fn a_discover_is_read_and_answered_with_an_offer() -> Result<(), &'static str> {
        let message = discover();
        let received = parse(&message, SocketAddr::from(([0, 0, 0, 0], 68))).ok_or("not parsed")?;
        assert_eq!((received.kind, received.mac), (Kind::Discover, [2, 0, 0, 0, 0, 9]));
        assert_eq!(received.host_name.as_deref(), Some("pi"));
        let offer = reply(&message, &received, &Policy::default()).unwrap_or_default();
        assert_eq!(option(&offer, 53), Some(&[2][..]));
        assert_eq!(&offer[16..20], &NODE.octets());
        assert_eq!(option(&offer, 51), Some(&3600_u32.to_be_bytes()[..]));
        Ok(())
    }

    #[test]
    fn a_silent_server_gives_no_reply() -> Result<(), &'static str> {
        let message = discover();
        let received = parse(&message, SocketAddr::from(([0, 0, 0, 0], 68))).ok_or("not parsed")?;
        assert_eq!(reply(&message, &received, &Policy { answer: Answer::Silence, ..Policy::default() }), None);
        Ok(())
    }

    #[test]
    fn a_cut_message_is_not_read() {
        let message = discover();
        for len in 0..FIXED_LEN + 7 {
            assert!(parse(&message[..len], SocketAddr::from(([0, 0, 0, 0], 68))).is_none(), "{len} bytes");
        }
    }
}
