//! An extra IPv4 address of the node, which a program has for a while: an address that moves from node to node.
//!
//! The program says until when it may be held, and says so again and again. Whoever provides the network takes the address away when
//! that time has come, whatever the program does: it may stand still, or its core may. Dropping the claim gives the address back.

use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Poll;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Instant;

use crate::Network;
use crate::bell::{Bell, watch};

/// What has become of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// It is being looked whether somebody else has the address.
    Asked,
    /// The node has it.
    Held,
    /// The node does not have it, and will not get it by this claim.
    Lost(AddressLoss),
}

/// Why the node does not have the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressLoss {
    /// The time that the program had named was over.
    #[error("its time was over")]
    Expired,
    /// Another station uses it.
    #[error("the station {0} uses it")]
    Conflict(Station),
    /// It is in another network than the node's own address.
    #[error("not in this node's network: give an address of the same subnet")]
    Elsewhere,
    /// The node has it anyway.
    #[error("it is the node's own address: give one that no node has")]
    Own,
    /// The network's router has it.
    #[error("it is the router's address: give one that nobody has")]
    Router,
    /// No station can have it.
    #[error("it means a network, or all its stations: give that of a station")]
    NoStation,
    /// The node's own address is gone, or another one.
    #[error("the node's own address is gone, or has changed")]
    NoNetwork,
}

impl AddressLoss {
    /// Returns whether the same claim would be refused again, whatever happens on the network. What depends on the node's own address is
    /// not: a lease may bring another.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        matches!(self, Self::NoStation)
    }
}

/// The Ethernet address of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station(pub [u8; 6]);

impl fmt::Display for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// Another program of the node has an extra address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another workload of this node has {0}: a node has one extra address at most")]
pub struct AddressTaken(pub Ipv4Addr);

/// What the provider is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressOrder {
    /// Which claim it is.
    pub number: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// When the node must not have it any more.
    pub until: Instant,
}

#[derive(Clone, Copy)]
struct Entry {
    order: AddressOrder,
    state: AddressState,
}

impl Entry {
    /// Returns the entry as it is at `now`.
    fn at(mut self, now: Instant) -> Self {
        if now >= self.order.until && !matches!(self.state, AddressState::Lost(_)) {
            self.state = AddressState::Lost(AddressLoss::Expired);
        }
        self
    }
}

/// The place where program and provider meet.
pub(crate) struct Desk {
    entry: Mutex<CriticalSectionRawMutex, Cell<Option<Entry>>>,
    numbers: AtomicU32,
    ordered: Bell,
    reported: Bell,
}

impl Desk {
    pub(crate) const fn new() -> Self {
        Self {
            entry: Mutex::new(Cell::new(None)),
            numbers: AtomicU32::new(0),
            ordered: Bell::new(),
            reported: Bell::new(),
        }
    }
}

impl Network {
    /// Claims an address until `until`. A moment later the claim's state tells whether the node has it.
    ///
    /// # Errors
    ///
    /// When another program of the node has a claim.
    pub fn claim_address(&'static self, address: Ipv4Addr, until: Instant) -> Result<AddressClaim, AddressTaken> {
        let number = self.desk.numbers.fetch_add(1, Ordering::Relaxed);
        self.desk.entry.lock(|cell| {
            if let Some(other) = cell.get() {
                return Err(AddressTaken(other.order.address));
            }
            cell.set(Some(Entry { order: AddressOrder { number, address, until }, state: AddressState::Asked }));
            Ok(())
        })?;
        self.desk.ordered.ring();
        Ok(AddressClaim { network: self, number })
    }

    /// Returns the claim that is to be served at `now`; `None` when there is none. One whose time is over ends here.
    ///
    /// For who provides the network.
    pub fn address_order(&self, now: Instant) -> Option<AddressOrder> {
        let (order, is_over) = self.desk.entry.lock(|cell| {
            let before = cell.get();
            let entry = before.map(|entry| entry.at(now));
            cell.set(entry);
            let is_over = before.map(|entry| entry.state) != entry.map(|entry| entry.state);
            (entry.filter(|entry| !matches!(entry.state, AddressState::Lost(_))).map(|entry| entry.order), is_over)
        });
        if is_over {
            self.desk.reported.ring();
        }
        order
    }

    /// Waits until another claim is to be served than that of number `last`, or until another moment than its. For who provides the
    /// network.
    pub async fn wait_address_order(&self, last: Option<AddressOrder>) {
        // Not by time: whoever waits has the end of the claim in mind.
        let look = || (self.address_order(Instant::MIN) != last).then_some(());
        watch(look, |cx| self.desk.ordered.listen(cx)).await;
    }

    /// Reports what has become of the claim with this number. For who provides the network.
    pub fn report_address(&self, number: u32, state: AddressState) {
        self.desk.entry.lock(|cell| {
            if let Some(entry) = cell.get().filter(|entry| entry.order.number == number)
                && !matches!(entry.state, AddressState::Lost(_))
            {
                cell.set(Some(Entry { state, ..entry }));
            }
        });
        self.desk.reported.ring();
    }
}

/// The claim of an address. Dropping it gives the address back.
pub struct AddressClaim {
    network: &'static Network,
    number: u32,
}

impl AddressClaim {
    /// Moves the time until which the address may be held, unless it is lost already.
    pub fn renew(&self, until: Instant) {
        let is_sooner = self.network.desk.entry.lock(|cell| {
            // What is over stays over.
            let entry = cell.get().map(|entry| entry.at(Instant::now()));
            let is_sooner = entry.is_some_and(|entry| until < entry.order.until);
            cell.set(entry.map(|entry| Entry { order: AddressOrder { until, ..entry.order }, ..entry }));
            is_sooner
        });
        // A later end is found when the earlier one comes: renewing wakes nobody.
        if is_sooner {
            self.network.desk.ordered.ring();
        }
    }

    /// Returns what has become of it.
    #[must_use]
    pub fn state(&self) -> AddressState {
        let entry = self.network.desk.entry.lock(Cell::get).filter(|entry| entry.order.number == self.number);
        entry.map_or(AddressState::Lost(AddressLoss::Expired), |entry| entry.at(Instant::now()).state)
    }

    /// Waits until it is another state than `last`, and returns it.
    pub async fn wait_state(&self, last: AddressState) -> AddressState {
        poll_fn(|cx| {
            self.network.desk.reported.listen(cx);
            let state = self.state();
            if state == last { Poll::Pending } else { Poll::Ready(state) }
        })
        .await
    }
}

impl Drop for AddressClaim {
    fn drop(&mut self) {
        self.network.desk.entry.lock(|cell| cell.set(None));
        self.network.desk.ordered.ring();
    }
}

#[cfg(test)]
mod tests {
    use embassy_time::Duration;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[test]
    fn a_claim_is_the_only_one_until_it_is_dropped() {
        let network: &'static Network = Box::leak(Box::new(Network::new()));
        let now = Instant::now();
        let until = now + Duration::from_secs(3600);
        let claim = network.claim_address(ADDRESS, until).unwrap();
        assert_eq!(network.claim_address(Ipv4Addr::new(10, 0, 0, 8), until).err(), Some(AddressTaken(ADDRESS)));
        let order = network.address_order(now).unwrap();
        assert_eq!((order.address, order.until, claim.state()), (ADDRESS, until, AddressState::Asked));
        network.report_address(order.number, AddressState::Held);
        assert_eq!(claim.state(), AddressState::Held);
        drop(claim);
        assert_eq!(network.address_order(now), None);
        let next = network.claim_address(ADDRESS, until).unwrap();
        // What was still to be said of the first claim does not concern the second.
        network.report_address(order.number, AddressState::Lost(AddressLoss::Own));
        assert_eq!(next.state(), AddressState::Asked);
    }

    #[test]
    fn what_is_over_stays_over_however_often_it_is_renewed() {
        let network: &'static Network = Box::leak(Box::new(Network::new()));
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let claim = network.claim_address(ADDRESS, now + hour).unwrap();
        claim.renew(now + hour * 2);
        assert_eq!(network.address_order(now + hour).unwrap().until, now + hour * 2);
        assert_eq!(network.address_order(now + hour * 2), None);
        claim.renew(now + hour * 9);
        assert_eq!(claim.state(), AddressState::Lost(AddressLoss::Expired));
        assert_eq!(network.address_order(now), None);
    }

    #[test]
    fn losses_say_what_to_do() {
        let loss = AddressLoss::Conflict(Station([0x52, 0x54, 0, 1, 2, 0xff]));
        assert_eq!(loss.to_string(), "the station 52:54:00:01:02:ff uses it");
        assert!(AddressLoss::NoStation.is_for_good());
        for loss in [AddressLoss::Elsewhere, AddressLoss::Own, AddressLoss::Router, loss] {
            assert!(!loss.is_for_good(), "{loss}");
        }
    }
}
