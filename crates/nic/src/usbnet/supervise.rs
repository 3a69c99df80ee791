//! What goes on beside the frames of a controller with registers: its link is watched, its counters are read, and it is noticed
//! when it no longer sends.

use core::convert::Infallible;

use embassy_time::{Duration, Instant, Timer};
use usb::descriptor::Interface;
use usb::device::{Device, Pipe};
use usb::dwc2::pace::next_poll;
use usb::host::{Direction, Kind, TransferError};

use super::frames::{Framing, Pipes, move_frames};
use super::registers::{Bursts, Phy, Registers, Started};
use super::{BoardInfo, UsbNicError};
use crate::Link;
use crate::events::NicEvent;
use crate::exchange::{FrameExchange, NicInfo};
use crate::mii::Negotiated;

/// How often the PHY is asked while the link is down. With what reading and setting up takes, some 10 ms, the stack knows of a
/// link well within 100 ms.
const DOWN_INTERVAL: Duration = Duration::from_millis(32);
/// How often the interrupt endpoint is asked while it is up. Its own interval is a millisecond, but it has to tell
/// only of the link: asked together with the other slow endpoints (`next_poll`), it costs an idle core no waking.
const UP_INTERVAL: Duration = Duration::from_millis(20);
/// How often the PHY is asked while the link is up, in case an interrupt got lost; and how often the counters are read.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How many times in a row bytes must wait to be sent, while nothing is, for the controller to count as stalled. A pause
/// frame stops a sender for 0.34 s at 100 Mbit/s (65,535 units of 512 bits: 802.3, annex 31B.2).
const STALLED_LOOKS: u32 = 3;
/// How many looks in a row must find that the controller lost frames for want of room, while none was delivered, for it to count
/// as deaf. Its memory is full then, and all that time a transfer was there to take what is in it: the driver keeps one
/// under way as long as the stack gives buffers back.
const DEAF_LOOKS: u32 = 3;
/// Longest block of statistics: 47 words of the LAN7800.
const BLOCK_LEN_MAX: usize = 188;
/// Most counters of a controller that are looked at.
const COUNTERS_MAX: usize = 20;

/// What a counter of the controller counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Received frames that were damaged.
    RxError(NicEvent),
    /// Received frames for which the controller had no room.
    RxDropped,
    /// Frames that could not be sent.
    TxError,
    /// Frames that were sent.
    Sent,
}

/// A block of counters, each a word.
pub(crate) struct Block {
    /// Which block.
    pub(crate) index: u16,
    /// Its length in bytes.
    pub(crate) len: usize,
    /// Offsets in it, and what is counted there.
    pub(crate) counters: &'static [(usize, Counted)],
}

/// A controller with registers.
pub(crate) trait Chip {
    /// How it wraps frames.
    type Framing: Framing;
    /// Its driver's name.
    const NAME: &'static str;
    /// Bytes that the framing needs in front of a frame to be sent.
    const TX_HEADROOM: usize;
    /// Bit of the interrupt endpoint's word: the PHY has something to tell.
    const PHY_EVENT: u32;
    /// Bits of the interrupt endpoint's word: the controller lost track of what it was sent.
    const TX_ERRORS: u32;
    /// The register of the PHY that says why it interrupts, and forgets when it is read.
    const PHY_INTERRUPT_SOURCE: u8;
    /// Whether it can do 1,000 Mbit/s.
    const HAS_1000: bool;
    /// Its counters.
    const STATISTICS: &'static [Block];

    /// Returns its framing for receives of this length.
    fn framing(receive_len: usize) -> Self::Framing;

    /// Resets the controller and its PHY, sets both up and starts them.
    async fn start(&mut self, board: &BoardInfo, bursts: Bursts) -> Result<Started, UsbNicError>;

    /// Returns the registers.
    fn registers(&self) -> Registers<'_, '_>;

    /// Returns the way to the PHY.
    fn phy(&self) -> Phy<'_, '_>;

    /// Sets the controller up for a link that has come up.
    async fn set_link(&mut self, link: Negotiated) -> Result<(), UsbNicError>;

    /// Returns how many bytes wait in the controller to be sent.
    async fn read_unsent(&self) -> Result<u32, UsbNicError>;
}

/// Drives a controller until it is gone or fails.
pub(crate) async fn run_chip<C: Chip>(
    mut chip: C,
    device: &Device<'_>,
    exchange: &FrameExchange,
    board: &BoardInfo,
) -> Result<Infallible, UsbNicError> {
    let missing = UsbNicError::Missing { what: "an interface with bulk endpoints" };
    let mut interfaces = device.configuration().interfaces.iter();
    let interface = interfaces.find(|i| i.endpoint(Kind::Bulk, Direction::In).is_some()).ok_or(missing)?;
    let pipes = Pipes::open(device, interface)?;
    let bursts = Bursts::new(exchange.rx_buffer_len());
    let Started { mac, chip_id, phy_id } = chip.start(board, bursts).await?;
    exchange.attach(NicInfo { driver: C::NAME, mac, tx_headroom: C::TX_HEADROOM });
    log::info!("nic: {} {mac}, chip {chip_id:08x}, PHY {phy_id:08x}", C::NAME);
    let framing = C::framing(bursts.receive_len);
    move_frames(&framing, device, &pipes, exchange, supervise(&mut chip, device, interface, exchange)).await
}

/// Supervises a controller until it fails.
async fn supervise<C: Chip>(
    chip: &mut C,
    device: &Device<'_>,
    interface: &Interface,
    exchange: &FrameExchange,
) -> Result<Infallible, UsbNicError> {
    let bus = device.bus();
    let mut buffer = bus.take_small_buffer();
    let pipe = device.report_pipe(interface);
    let mut bookkeeper = Bookkeeper::new();
    let mut next_housekeeping = Instant::now();
    let error = loop {
        let mut is_due = !exchange.link().is_up();
        if let Some(pipe) = &pipe {
            match ask(pipe, device, &mut buffer).await {
                Ok(status) if status & C::TX_ERRORS != 0 => {
                    exchange.count_event(NicEvent::TxStall, 1);
                    break UsbNicError::OutOfStep { status };
                }
                Ok(status) => is_due |= status & C::PHY_EVENT != 0,
                Err(error) => break error,
            }
        }
        let now = Instant::now();
        let is_housekeeping = now >= next_housekeeping;
        if (is_due || is_housekeeping)
            && let Err(error) = follow_link(chip, exchange).await
        {
            break error;
        }
        if is_housekeeping {
            next_housekeeping = now + HOUSEKEEPING;
            if let Err(error) = bookkeeper.read(chip, exchange).await {
                break error;
            }
        }
        let is_up = exchange.link().is_up();
        Timer::at(if is_up { next_poll(Instant::now(), UP_INTERVAL) } else { Instant::now() + DOWN_INTERVAL }).await;
    };
    bus.return_small_buffer(buffer);
    Err(error)
}

/// Asks the interrupt endpoint once; 0 when it has nothing to say.
async fn ask(
    pipe: &Pipe<'_>,
    device: &Device<'_>,
    buffer: &mut Option<hal::dma::DmaBuffer>,
) -> Result<u32, UsbNicError> {
    match pipe.interrupt_once(buffer).await {
        Ok(4..) => {
            let word = buffer.as_ref().and_then(|buffer| buffer.bytes().first_chunk());
            Ok(word.map_or(0, |word| u32::from_le_bytes(*word)))
        }
        Ok(_) | Err(TransferError::Nak) => Ok(0),
        Err(TransferError::Stall) => {
            pipe.clear_halt(device).await?;
            Ok(0)
        }
        Err(error) => Err(error.into()),
    }
}

/// Brings the exchange's and the controller's idea of the link in line with the PHY's.
async fn follow_link<C: Chip>(chip: &mut C, exchange: &FrameExchange) -> Result<(), UsbNicError> {
    // Before the status is read: what changes afterwards interrupts again.
    chip.phy().read(C::PHY_INTERRUPT_SOURCE).await?;
    let (is_up, was_steady) = chip.phy().read_link().await?;
    let was_up = exchange.link().is_up();
    if was_up && (!is_up || !was_steady) {
        exchange.set_link(Link::Down);
        if is_up {
            exchange.count_event(NicEvent::LinkFlap, 1);
        }
    }
    if is_up && !exchange.link().is_up() {
        let link = chip.phy().read_offers(C::HAS_1000).await?.resolve();
        chip.set_link(link).await?;
        exchange.set_link(Link::Up { speed_mbps: link.speed_mbps, is_full_duplex: link.is_full_duplex });
    }
    Ok(())
}

/// Adds what the controller has counted to the exchange's counters, and sees whether it still sends.
struct Bookkeeper {
    /// The last values; `None` before the first reading, which counts what was before this driver.
    last: Option<[u32; COUNTERS_MAX]>,
    is_supported: bool,
    /// Bytes that waited to be sent at the last look, and the fewest that ever did: some controllers never say 0.
    unsent: u32,
    fewest_unsent: u32,
    /// Frames and bytes that had been handed to the controller by the last look.
    handed: (u64, u64),
    looks: u32,
    /// Frames that had been delivered by the last look.
    delivered: u64,
    deaf_looks: u32,
}

/// What the controller's counters tell.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// A frame was sent.
    has_sent: bool,
    /// A frame was lost because there was no room for it.
    has_dropped: bool,
}

impl Bookkeeper {
    fn new() -> Self {
        Self {
            last: None,
            is_supported: true,
            unsent: 0,
            fewest_unsent: u32::MAX,
            handed: (0, 0),
            looks: 0,
            delivered: 0,
            deaf_looks: 0,
        }
    }

    async fn read<C: Chip>(&mut self, chip: &C, exchange: &FrameExchange) -> Result<(), UsbNicError> {
        let Progress { has_sent, has_dropped } = self.read_statistics(chip, exchange).await?;
        self.see_deafness(has_dropped, exchange)?;
        let unsent = chip.read_unsent().await?;
        let before = core::mem::replace(&mut self.unsent, unsent);
        self.fewest_unsent = self.fewest_unsent.min(unsent);
        let counters = exchange.counters();
        let (frames, bytes) = core::mem::replace(&mut self.handed, (counters.tx_frames, counters.tx_bytes));
        let has_more = counters.tx_frames != frames;
        // More may be added to what waits; but nothing has left. Without counters only so much is certain: what was handed over
        // since the last look is all still there.
        let has_kept_all = u64::from(unsent.saturating_sub(before)) >= counters.tx_bytes.saturating_sub(bytes);
        let is_waiting = unsent > self.fewest_unsent && unsent >= before && exchange.link().is_up();
        if !is_waiting || has_sent || (!self.is_supported && !has_kept_all) {
            self.looks = 0;
        } else if has_more {
            // What lies there while nobody sends says nothing: it may be the controller's way of counting.
            self.looks += 1;
        }
        if self.looks >= STALLED_LOOKS {
            exchange.count_event(NicEvent::TxStall, 1);
            return Err(UsbNicError::Stalled);
        }
        Ok(())
    }

    fn see_deafness(&mut self, has_dropped: bool, exchange: &FrameExchange) -> Result<(), UsbNicError> {
        let delivered = exchange.counters().rx_frames;
        if core::mem::replace(&mut self.delivered, delivered) != delivered {
            self.deaf_looks = 0;
        } else if has_dropped {
            self.deaf_looks += 1;
        }
        if self.deaf_looks >= DEAF_LOOKS {
            exchange.count_event(NicEvent::RxStall, 1);
            return Err(UsbNicError::Deaf);
        }
        Ok(())
    }

    /// Returns what happened since the last call, as far as the controller tells.
    async fn read_statistics<C: Chip>(&mut self, chip: &C, exchange: &FrameExchange) -> Result<Progress, UsbNicError> {
        if !self.is_supported {
            return Ok(Progress::default());
        }
        let mut values = [0; COUNTERS_MAX];
        let mut slots = values.iter_mut();
        for block in C::STATISTICS {
            let mut bytes = [0; BLOCK_LEN_MAX];
            let bytes = bytes.get_mut(..block.len).unwrap_or_default();
            match chip.registers().read_statistics(block.index, bytes).await {
                Ok(_) => {}
                Err(error @ UsbNicError::Transfer(TransferError::Gone)) => return Err(error),
                Err(error) => {
                    log::warn!("nic: the controller does not tell its counters: {error}; they are not asked for again");
                    self.is_supported = false;
                    return Ok(Progress::default());
                }
            }
            for (offset, _) in block.counters {
                let word = bytes.get(*offset..).and_then(<[u8]>::first_chunk);
                if let (Some(slot), Some(word)) = (slots.next(), word) {
                    *slot = u32::from_le_bytes(*word);
                }
            }
        }
        let last = self.last.replace(values);
        let mut progress = Progress::default();
        let counters = C::STATISTICS.iter().flat_map(|block| block.counters);
        for ((value, before), (_, what)) in values.into_iter().zip(last.unwrap_or(values)).zip(counters) {
            let more = u64::from(difference(before, value));
            progress.has_sent |= *what == Counted::Sent && value != before;
            progress.has_dropped |= *what == Counted::RxDropped && more > 0;
            if more > 0 {
                count(exchange, *what, more);
            }
        }
        Ok(progress)
    }
}

/// Returns by how much a counter has grown.
///
/// Some controllers clear their counters when they are read, some let them roll over (LAN950x data sheet, table 5-14, for the
/// LAN9500 and the LAN9500A); of the LAN9514 it is not told. A value that is smaller than the last is what was
/// counted since; a larger one may be, too, and then a part of it is missed: these are errors, of which there are few.
fn difference(before: u32, value: u32) -> u32 {
    if value >= before { value - before } else { value }
}

fn count(exchange: &FrameExchange, what: Counted, more: u64) {
    match what {
        Counted::RxError(event) => {
            exchange.count(|counters| counters.rx_errors += more);
            exchange.count_event(event, more);
        }
        Counted::RxDropped => {
            exchange.count(|counters| counters.rx_dropped += more);
            exchange.count_event(NicEvent::RxOverrun, more);
        }
        Counted::TxError => {
            exchange.count(|counters| counters.tx_errors += more);
            exchange.count_event(NicEvent::TxFailed, more);
        }
        // Counted when the controller took them.
        Counted::Sent => {}
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn counters_grow_roll_over_or_are_cleared() {
        assert_eq!(difference(5, 5), 0);
        assert_eq!(difference(5, 8), 3);
        assert_eq!(difference(8, 3), 3, "cleared, or rolled over");
    }
}
