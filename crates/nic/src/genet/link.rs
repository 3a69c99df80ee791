//! Follows the link: no line of the board interrupts for it (Linux bcm2711-rpi-4-b.dts: "No PHY interrupt"), so it is
//! looked at.

use core::cell::RefCell;
use core::convert::Infallible;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use safe_mmio::field;

use super::GenetError;
use super::engine::Engine;
use super::mac::Mac;
use super::mdio::{MdioBus, MdioError};
use super::phy::{Phy, PhyError};
use crate::events::NicEvent;
use crate::exchange::FrameExchange;
use crate::mii::Negotiated;
use crate::{Link, MacAddress};

/// Rest between two looks while the link is down. From link up to the first DHCP packet 100 ms may pass.
const LOOK_DOWN: Duration = Duration::from_millis(20);
/// Rest between two looks while it is up. Nothing is lost by being late: a link that was down in between shows.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How often the MAC's counters are read.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Looks in a row without an answer after which the PHY is given up.
const SILENT_MAX: u32 = 5;

/// What is needed to follow the link.
pub(crate) struct Watcher<'r, 'a, 'e> {
    pub(crate) mac: &'r mut Mac<'a>,
    pub(crate) bus: &'r mut MdioBus<'a>,
    pub(crate) phy: Phy,
    pub(crate) address: MacAddress,
    pub(crate) engine: &'r RefCell<Engine<'e>>,
    pub(crate) exchange: &'r FrameExchange,
    pub(crate) losses: Losses,
}

/// Frames that were lost in the MAC, as last read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    overflows: u32,
    fifo_errors: u32,
    runts: u32,
    late: u32,
    excessive: u32,
    tx_fcs: u32,
}

impl Losses {
    /// Reads them all. Some outlive a reset of the MAC, so only differences count.
    pub(crate) fn read(mac: &mut Mac<'_>) -> Self {
        let overflows = field!(mac.rbuf, overflows).read();
        if overflows == u32::MAX {
            field!(mac.rbuf, overflows).write(0);
        }
        let fifo_errors = field!(mac.rbuf, errors).read();
        if fifo_errors == u32::MAX {
            field!(mac.rbuf, errors).write(0);
        }
        let mut mib = field!(mac.umac, mib);
        Self {
            overflows,
            fifo_errors,
            runts: field!(mib, rx_runts).read(),
            late: field!(mib, tx_late_collisions).read(),
            excessive: field!(mib, tx_excessive_collisions).read(),
            tx_fcs: field!(mib, tx_fcs).read(),
        }
    }
}

impl Watcher<'_, '_, '_> {
    /// Runs until something has failed for good.
    pub(crate) async fn run(&mut self) -> Result<Infallible, GenetError> {
        let mut mode = None;
        let mut silent = 0;
        let mut overflows = 0;
        let mut count_at = Instant::now();
        let (groups, mut epoch) = self.exchange.groups();
        self.mac.set_filter(self.address, &groups);
        loop {
            match self.phy.look(self.bus, mode).await {
                Ok(look) => {
                    silent = 0;
                    if mode.is_some() && look.mode.is_some() && look.was_down {
                        self.exchange.count_event(NicEvent::LinkFlap, 1);
                        self.follow(None);
                    }
                    if mode != look.mode || look.was_down {
                        self.follow(look.mode);
                    }
                    mode = look.mode;
                }
                Err(error) => {
                    count_failure(error, self.exchange);
                    silent += 1;
                    if silent >= SILENT_MAX {
                        return Err(PhyError::from(error).into());
                    }
                }
            }
            if Instant::now() >= count_at {
                count_at = Instant::now() + COUNT_INTERVAL;
                overflows += self.count_losses();
            }
            self.engine.borrow_mut().tick(self.exchange, mode.is_some(), overflows)?;
            let rest = if mode.is_some() { LOOK_UP } else { LOOK_DOWN };
            if let Either::Second(()) = select(Timer::after(rest), self.exchange.groups_changed(epoch)).await {
                let (groups, new) = self.exchange.groups();
                self.mac.set_filter(self.address, &groups);
                epoch = new;
            }
        }
    }

    fn follow(&mut self, mode: Option<Negotiated>) {
        match mode {
            Some(mode) => {
                self.mac.link_up(mode);
                let Negotiated { speed_mbps, is_full_duplex, .. } = mode;
                self.exchange.set_link(Link::Up { speed_mbps, is_full_duplex });
            }
            None => {
                self.mac.link_down();
                self.exchange.set_link(Link::Down);
            }
        }
    }

    /// Reads what the MAC counts of frames that no descriptor tells of. Returns how many found the FIFO full.
    fn count_losses(&mut self) -> u64 {
        let now = Losses::read(self.mac);
        let before = core::mem::replace(&mut self.losses, now);
        let new = |read: fn(&Losses) -> u32| u64::from(read(&now).wrapping_sub(read(&before)));
        let overflows = new(|losses| losses.overflows);
        let fifo_errors = new(|losses| losses.fifo_errors);
        let runts = new(|losses| losses.runts);
        let tx = new(|losses| losses.late) + new(|losses| losses.excessive) + new(|losses| losses.tx_fcs);
        self.exchange.count_event(NicEvent::RxOverrun, overflows);
        self.exchange.count_event(NicEvent::RxStatus, fifo_errors);
        self.exchange.count_event(NicEvent::RxLength, runts);
        self.exchange.count_event(NicEvent::TxFailed, tx);
        self.exchange.count(|counters| {
            counters.rx_dropped += overflows;
            counters.rx_errors += fifo_errors + runts;
            counters.tx_errors += tx;
        });
        overflows
    }
}

/// Counts why the PHY could not be asked.
pub(crate) fn count_failure(error: MdioError, exchange: &FrameExchange) {
    let event = match error {
        MdioError::Silent { .. } => NicEvent::PhySilent,
        MdioError::Busy { .. } => NicEvent::Timeout,
    };
    exchange.count_event(event, 1);
}
