//! The network as programs on other cores have it: places for sockets, and for questions about names.

use core::cell::Cell;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Poll;

use alloc::sync::Arc;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;

use crate::SocketError;
use crate::address::Desk;
use crate::bell::Bell;
use crate::name::Names;
use crate::portal::{Guest, TcpEnd, UdpEnd};
use crate::tcp::Tcp;
use crate::udp::Udp;

/// Sockets that can be open at once.
pub const PLACES: usize = 96;

/// The network. One per node, in a static; any core may use it.
pub struct Network {
    places: [Place; PLACES],
    pub(crate) names: Names,
    pub(crate) desk: Desk,
    opened: AtomicU64,
    refused: AtomicU64,
    pub(crate) dropped_datagrams: AtomicU64,
    pub(crate) unsendable_datagrams: AtomicU64,
}

/// What has happened to the sockets of a [`Network`] since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sockets that are open now.
    pub open: u64,
    /// Sockets that were opened.
    pub opened: u64,
    /// Sockets that were not, for want of a place.
    pub refused: u64,
    /// Datagrams that came and were dropped, because the program was too slow to take them.
    pub dropped_datagrams: u64,
    /// Datagrams that could not be sent: no way leads to their receivers.
    pub unsendable_datagrams: u64,
}

impl Network {
    /// Makes a network without sockets.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            places: [const { Place::new() }; PLACES],
            names: Names::new(),
            desk: Desk::new(),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped_datagrams: AtomicU64::new(0),
            unsendable_datagrams: AtomicU64::new(0),
        }
    }

    /// Returns what has happened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let open = self.places.iter().filter(|place| place.is_taken.load(Ordering::Relaxed)).count();
        Counts {
            open: open as u64,
            opened: read(&self.opened),
            refused: read(&self.refused),
            dropped_datagrams: read(&self.dropped_datagrams),
            unsendable_datagrams: read(&self.unsendable_datagrams),
        }
    }

    /// Waits for the next socket in the place with this number and returns the other side of it.
    ///
    /// For who provides the network: one task per place, numbers below [`PLACES`]; others wait for ever.
    pub async fn next_guest(&'static self, place: usize) -> Guest {
        let Some(place) = self.places.get(place) else { return core::future::pending().await };
        poll_fn(|cx| {
            place.bell.listen(cx);
            place.opening.lock(Cell::take).map_or(Poll::Pending, |opening| {
                let hold = PlaceHold(place);
                Poll::Ready(match opening {
                    Opening::Tcp(tcp) => Guest::Tcp(TcpEnd::new(tcp, hold)),
                    Opening::Udp(udp) => Guest::Udp(UdpEnd::new(udp, hold, self)),
                })
            })
        })
        .await
    }

    pub(crate) fn open(&self, opening: Opening) -> Result<(), SocketError> {
        let is_free = |place: &&Place| !place.is_taken.swap(true, Ordering::Acquire);
        let Some(place) = self.places.iter().find(is_free) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(SocketError::NoPlace);
        };
        self.opened.fetch_add(1, Ordering::Relaxed);
        place.opening.lock(|waiting| waiting.set(Some(opening)));
        place.bell.ring();
        Ok(())
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

/// A socket that core 0 has not seen yet.
pub(crate) enum Opening {
    Tcp(Arc<Tcp>),
    Udp(Arc<Udp>),
}

struct Place {
    is_taken: AtomicBool,
    opening: Mutex<CriticalSectionRawMutex, Cell<Option<Opening>>>,
    bell: Bell,
}

impl Place {
    const fn new() -> Self {
        Self { is_taken: AtomicBool::new(false), opening: Mutex::new(Cell::new(None)), bell: Bell::new() }
    }
}

/// Frees the place when core 0 is done with the socket.
pub(crate) struct PlaceHold(&'static Place);

impl Drop for PlaceHold {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}
