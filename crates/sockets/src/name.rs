//! Names of nodes, and the addresses behind them.

use core::cell::Cell;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::{Duration, Timer};
use heapless::String;

use crate::bell::Bell;
use crate::{Network, SocketError};

/// Longest label of a name in characters (RFC 1035, section 2.3.4).
pub const NAME_LEN_MAX: usize = 63;
/// Questions that can be asked at once. More wait.
pub const QUESTIONS: usize = 4;
/// How often one that waits looks for a free place.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// What mDNS names end in (RFC 6762, section 3).
const DOMAIN: &str = ".local";

impl Network {
    /// Returns the address of a peer: an IP address as text, the name of a node, or that name with `.local`.
    ///
    /// # Errors
    ///
    /// [`SocketError::BadName`] or [`SocketError::UnknownName`]; the latter takes a few seconds.
    pub async fn resolve(&self, name: &str) -> Result<IpAddr, SocketError> {
        if let Ok(address) = name.parse() {
            return Ok(address);
        }
        let label = to_label(name)?;
        let (place, _hold) = loop {
            let is_free = |place: &&NamePlace| !place.is_taken.swap(true, Ordering::Acquire);
            match self.names.0.iter().find(is_free) {
                Some(place) => break (place, NameHold(place)),
                None => Timer::after(RETRY_INTERVAL).await,
            }
        };
        let number = place.ask(label);
        poll_fn(|cx| {
            place.answered.listen(cx);
            match place.answer.lock(Cell::get) {
                (answered, answer) if answered == number => Poll::Ready(answer.ok_or(SocketError::UnknownName)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for the next question in the place with this number.
    ///
    /// For who provides the network: one task per place, numbers below [`QUESTIONS`]; others wait for ever.
    pub async fn next_question(&self, place: usize) -> Question<'_> {
        let Some(place) = self.names.0.get(place) else { return core::future::pending().await };
        poll_fn(|cx| {
            place.asked.listen(cx);
            match place.question.lock(|cell| {
                let (number, label) = cell.take();
                cell.set((number, None));
                (number, label)
            }) {
                (number, Some(label)) => Poll::Ready(Question { place, number, label }),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Returns the address and port of a peer: `HOST`, `HOST:PORT` or `[IPV6]:PORT`, with `port` if none is given.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn resolve_peer(&self, peer: &str, port: u16) -> Result<SocketAddr, SocketError> {
        if let Ok(address) = peer.parse() {
            return Ok(address);
        }
        match peer.rsplit_once(':') {
            Some((host, given)) if !host.contains(':') => {
                let port = given.parse().map_err(|_| SocketError::BadName)?;
                Ok(SocketAddr::new(self.resolve(host).await?, port))
            }
            _ => Ok(SocketAddr::new(self.resolve(peer).await?, port)),
        }
    }
}

/// A name whose address somebody wants to know.
pub struct Question<'a> {
    place: &'a NamePlace,
    number: u32,
    label: String<NAME_LEN_MAX>,
}

impl Question<'_> {
    /// Returns the node's name, without `.local`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Answers the question; `None` when nobody has the name.
    pub fn answer(self, address: Option<IpAddr>) {
        self.place.answer.lock(|cell| cell.set((self.number, address)));
        self.place.answered.ring();
    }
}

/// Returns the first label of a name, if it is one of mDNS.
fn to_label(name: &str) -> Result<String<NAME_LEN_MAX>, SocketError> {
    let label = match name.len().checked_sub(DOMAIN.len()).and_then(|at| name.split_at_checked(at)) {
        Some((label, domain)) if domain.eq_ignore_ascii_case(DOMAIN) => label,
        _ => name,
    };
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if label.is_empty() || !label.bytes().all(is_fit) {
        return Err(SocketError::BadName);
    }
    String::try_from(label).map_err(|_| SocketError::BadName)
}

pub(crate) struct Names([NamePlace; QUESTIONS]);

impl Names {
    pub(crate) const fn new() -> Self {
        Self([const { NamePlace::new() }; QUESTIONS])
    }
}

type Asked = (u32, Option<String<NAME_LEN_MAX>>);

struct NamePlace {
    is_taken: AtomicBool,
    question: Mutex<CriticalSectionRawMutex, Cell<Asked>>,
    asked: Bell,
    answer: Mutex<CriticalSectionRawMutex, Cell<(u32, Option<IpAddr>)>>,
    answered: Bell,
}

impl NamePlace {
    const fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            question: Mutex::new(Cell::new((0, None))),
            asked: Bell::new(),
            answer: Mutex::new(Cell::new((0, None))),
            answered: Bell::new(),
        }
    }

    fn ask(&self, label: String<NAME_LEN_MAX>) -> u32 {
        let number = self.question.lock(|cell| {
            let number = cell.take().0.wrapping_add(1).max(1);
            cell.set((number, Some(label)));
            number
        });
        self.asked.ring();
        number
    }
}

/// Frees the place when nobody waits for the answer any more. One that comes late has a number that nobody expects.
struct NameHold<'a>(&'a NamePlace);

impl Drop for NameHold<'_> {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}
