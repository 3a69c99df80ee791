//! The DMA engine: buffers to the controller and back.
//!
//! Who owns a buffer: the exchange hands it over as the CPU's. [`Slot`]s keep what was shared with the controller, each at
//! the descriptor that has its address; the controller owns it until its index has passed that descriptor, or until its
//! DMA was seen to stand still. Descriptors are registers, so there is no cache to care about for them; the barrier that
//! ends `DmaBuffer::share` comes before the descriptor's registers are written, and those before the index, in the order
//! of the program because all of them are device memory of one peripheral.

use core::ops::Range;

use embassy_time::{Duration, Instant, Timer};
use hal::dma::{DeviceBuffer, Direction, DmaBuffer};
use rpi_pac::genet::{
    DEFAULT_RING, DESC_LEN_MASK, DESC_LEN_SHIFT, DESCRIPTOR_WORDS, DESCRIPTORS, DISCARD_SHIFT, DMA_CTRL_MASK, DMA_EN,
    DMA_RING_EN_SHIFT, Descriptor, Dma, Interrupts, Intrl2, SCB_BURST_BCM2711, Status, TX_NO_TAG,
};
use safe_mmio::{UniqueMmioPointer, field};
use thiserror::Error;

use super::ring::{Garbage, Place, RxRing, SIZE, TxRing};
use crate::events::NicEvent;
use crate::exchange::{FRAME_LEN_MAX, FrameExchange, RX_BUFFERS, TxFrame};

/// Bytes of a receive buffer that the controller may use (Linux and U-Boot RX_BUF_LENGTH; OpenBSD MCLBYTES).
pub(crate) const RX_LEN: usize = 2048;
// Every free buffer finds a descriptor without one.
const _: () = assert!(RX_BUFFERS <= SIZE as usize);
/// Bytes in front of each received frame (`RbufCtrl::ALIGN_2B`).
const RX_PAD: usize = 2;
/// Shortest frame without FCS. The controller has been seen to send shorter ones as they are.
const FRAME_LEN_MIN: usize = 60;
/// Bytes of an Ethernet header: a shorter frame is none.
const HEADER_LEN: usize = 14;
/// How long a DMA may take to stop: a burst, or a frame that waits for its end at 10 Mbit/s (Linux DMA_TIMEOUT_VAL: 5 ms).
const STOP_TIMEOUT: Duration = Duration::from_millis(5);
/// How long the last frames take from the receive FIFO to memory once nothing more comes in (Linux bcmgenet_dma_teardown).
const DRAIN: Duration = Duration::from_millis(10);
/// Most frames received and sent in a turn, so that a flood does not keep the stack from running.
const TURN: u16 = 64;
/// Receive: frames per interrupt, and 8.192 µs to wait for more. One and none: the interrupt is masked from its handler
/// until the rings are empty, so that under load there is one per turn anyway, and with little load latency counts.
const RX_PER_INTERRUPT: u32 = 1;
const RX_WAIT: u32 = 0;
/// Transmit: frames per interrupt. A quarter of the buffers, since nobody waits for a single one: the stack is only
/// stopped when all are gone, and what is left over is taken back with the next frame or the next look at the link.
const TX_PER_INTERRUPT: u32 = 16;
/// Free receive descriptors below which the partner is asked to pause, and above which no more (Linux DMA_FC_THRESH_LO,
/// DMA_FC_THRESH_HI; U-Boot the same).
const PAUSE_BELOW: u32 = 5;
const PAUSE_ABOVE: u32 = SIZE as u32 >> 4;
/// `Ring::flow` that limits no rate.
const NO_LIMIT: u32 = 0;
/// The count of discarded frames is set back beyond this (Linux bcmgenet_desc_rx: at three quarters).
const DISCARDS_MAX: u16 = 0xc000;
/// How long nothing may be sent while frames wait and the link is up. A partner that asks to pause can do so for 0.34 s
/// at 100 Mbit/s, again and again; Linux waits as long (bcmgenet_probe, watchdog_timeo).
const TX_STALL: Duration = Duration::from_secs(2);
/// How long frames may get lost in a full FIFO while there are buffers and none is filled.
const RX_STALL: Duration = Duration::from_secs(2);

/// What the engine can't go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// A DMA does not stop.
    #[error("its {direction} DMA does not stop (status {status:#x})")]
    NotStopping {
        /// Which one.
        direction: &'static str,
        /// Its status register.
        status: u32,
    },
    /// The controller's index is impossible.
    #[error(transparent)]
    Garbage(#[from] Garbage),
    /// The controller's pointer is impossible.
    #[error("its {direction} DMA is at word {word:#x}, where no descriptor is")]
    Pointer {
        /// Which one.
        direction: &'static str,
        /// Its pointer.
        word: u32,
    },
    /// Nothing is sent any more.
    #[error("it has sent nothing for {} s, with {in_flight} frames waiting", TX_STALL.as_secs())]
    TxStall {
        /// Frames that wait.
        in_flight: u16,
    },
    /// Nothing is received any more.
    #[error("it loses frames for {} s, though it has buffers", RX_STALL.as_secs())]
    RxStall,
}

/// A descriptor's buffer, and its upper address half as the register has it.
struct Slot {
    buffer: Option<DeviceBuffer>,
    /// Bytes of the frame, for the counters. Transmit only.
    len: usize,
    /// `None` when it is not known.
    address_hi: Option<u32>,
}

/// The descriptors' buffers. They outlive a restart: a DMA that can't be stopped keeps its memory.
pub(crate) struct Slots {
    rx: [Slot; DESCRIPTORS],
    tx: [Slot; DESCRIPTORS],
}

impl Slots {
    pub(crate) fn new() -> Self {
        let empty = || core::array::from_fn(|_| Slot { buffer: None, len: 0, address_hi: None });
        Self { rx: empty(), tx: empty() }
    }

    /// Gives all buffers back. Both DMAs must stand still.
    fn give_back(&mut self, exchange: &FrameExchange) {
        for buffer in self.rx.iter_mut().filter_map(|slot| slot.buffer.take()) {
            // Nothing in it is of use.
            exchange.return_rx_buffer(buffer.unshare_first(0));
        }
        for slot in &mut self.tx {
            if let Some(buffer) = slot.buffer.take() {
                exchange.return_tx_buffer(buffer.unshare(), slot.len, false);
            }
        }
    }
}

/// Whether a turn left work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There may be more.
    More,
    /// Nothing is left to do.
    Done,
}

/// Both DMAs with their rings, and the interrupt that tells of them.
pub(crate) struct Engine<'e> {
    rdma: UniqueMmioPointer<'e, Dma>,
    tdma: UniqueMmioPointer<'e, Dma>,
    intrl2: UniqueMmioPointer<'e, Intrl2>,
    slots: &'e mut Slots,
    rx: RxRing,
    tx: TxRing,
    discards: u16,
    /// Counts turns, so that `tick` can tell whether there was one.
    turns: u32,
    watch: Watch,
}

/// What `tick` remembers from one time to the next.
struct Watch {
    turns: u32,
    /// Frames that waited to be taken.
    received: u16,
    /// When the transmit ring moved last, or was empty.
    tx_moved: Instant,
    tx_index: u16,
    /// When the receive ring moved last, had no buffers, or nothing was lost.
    rx_fine: Instant,
    rx_index: u16,
    overflows: u64,
}

impl<'e> Engine<'e> {
    /// Takes over. Neither DMA runs; call [`stop`](Self::stop) first, whatever the state is.
    pub(crate) fn new(
        rdma: UniqueMmioPointer<'e, Dma>,
        tdma: UniqueMmioPointer<'e, Dma>,
        intrl2: UniqueMmioPointer<'e, Intrl2>,
        slots: &'e mut Slots,
    ) -> Self {
        let place = Place::START;
        let watch = Watch::new(Instant::now(), 0, 0);
        let (rx, tx) = (RxRing::new(0, place), TxRing::new(0, place));
        Self { rdma, tdma, intrl2, slots, rx, tx, discards: 0, turns: 0, watch }
    }

    /// Stops the transmit DMA. Frames that were not sent yet stay in their descriptors.
    pub(crate) async fn stop_sending(&mut self, exchange: &FrameExchange) -> Result<(), EngineError> {
        stop(&mut self.tdma, "transmit", exchange).await
    }

    /// Stops the receive DMA. The MAC must not receive any more.
    pub(crate) async fn stop_receiving(&mut self, exchange: &FrameExchange) -> Result<(), EngineError> {
        if field!(self.rdma, ctrl).read() & DMA_EN != 0 {
            Timer::after(DRAIN).await;
        }
        stop(&mut self.rdma, "receive", exchange).await
    }

    /// Gives all buffers back to the exchange. Both DMAs must have been stopped.
    pub(crate) fn give_back(&mut self, exchange: &FrameExchange) {
        // What was sent until the end was sent. An index that makes no sense says nothing about the others.
        let _ = self.reclaim(exchange);
        self.slots.give_back(exchange);
    }

    /// Starts both DMAs, which must stand still, with as many buffers as there are.
    pub(crate) fn start(&mut self, exchange: &FrameExchange) -> Result<(), EngineError> {
        let (index, place) = set_up(&mut self.tdma, TX_PER_INTERRUPT, NO_LIMIT, "transmit")?;
        self.tx = TxRing::new(index as u16, place);
        self.tell_tx();
        let flow = PAUSE_BELOW << 16 | PAUSE_ABOVE;
        let (index, place) = set_up(&mut self.rdma, RX_PER_INTERRUPT, flow, "receive")?;
        self.rx = RxRing::new(index as u16, place);
        self.discards = (index >> DISCARD_SHIFT) as u16;
        field!(self.rdma, default_wait).write(RX_WAIT);
        self.tell_rx();
        self.refill(exchange);
        for dma in [&mut self.tdma, &mut self.rdma] {
            const RING: u32 = 1 << (DEFAULT_RING as u32 + DMA_RING_EN_SHIFT);
            field!(*dma, ctrl).write(RING);
            field!(*dma, ctrl).write(RING | DMA_EN);
        }
        self.watch = Watch::new(Instant::now(), self.tx.index(), index as u16);
        Ok(())
    }

    /// Lets the two interrupts of the rings through. What happened before is forgotten.
    pub(crate) fn unmask(&mut self) {
        let ours = Interrupts::RX_DONE | Interrupts::TX_DONE;
        field!(self.intrl2, clear).write(u32::MAX);
        field!(self.intrl2, mask_clear).write(ours.bits());
    }

    /// Masks and forgets all interrupts.
    pub(crate) fn mask(&mut self) {
        field!(self.intrl2, mask_set).write(u32::MAX);
        field!(self.intrl2, clear).write(u32::MAX);
    }

    /// Does what there is to do, in both directions.
    pub(crate) fn turn(&mut self, exchange: &FrameExchange) -> Result<Turn, EngineError> {
        self.turns = self.turns.wrapping_add(1);
        // Before the indices are read: what happens from here on raises the interrupt again.
        field!(self.intrl2, clear).write((Interrupts::RX_DONE | Interrupts::TX_DONE).bits());
        self.reclaim(exchange)?;
        let received = self.receive(exchange)?;
        let sent = self.send(exchange);
        Ok(if received == TURN || sent == TURN { Turn::More } else { Turn::Done })
    }

    /// Puts a buffer that has become free into a descriptor, and the others that are free.
    pub(crate) fn add_buffer(&mut self, buffer: DmaBuffer, exchange: &FrameExchange) {
        match self.rx.hole() {
            Some(slot) => self.put_rx(slot, buffer),
            None => exchange.return_rx_buffer(buffer),
        }
        self.refill(exchange);
    }

    /// Sends a frame that was taken from the exchange, and those that wait behind it.
    pub(crate) fn send_first(&mut self, frame: TxFrame, exchange: &FrameExchange) {
        self.put_tx(frame, exchange);
        self.send(exchange);
        self.tell_tx();
    }

    /// Looks whether everything moves. `overflows` counts frames that found the receive FIFO full. Call it some times a
    /// second.
    pub(crate) fn tick(&mut self, exchange: &FrameExchange, is_up: bool, overflows: u64) -> Result<(), EngineError> {
        let now = Instant::now();
        let received = self.rx.received(read_index(&mut self.rdma) as u16).inspect_err(|_| count_garbage(exchange))?;
        if received > 0 && self.watch.received > 0 && self.turns == self.watch.turns {
            exchange.count_event(NicEvent::InterruptLost, 1);
        }
        // Whatever did not wake the driver, this does; and it takes back what was sent since the last interrupt.
        self.turn(exchange)?;
        self.watch.turns = self.turns;

        let tx_index = read_index(&mut self.tdma) as u16;
        if self.tx.in_flight() == 0 || tx_index != self.watch.tx_index || !is_up {
            (self.watch.tx_moved, self.watch.tx_index) = (now, tx_index);
        } else if now - self.watch.tx_moved >= TX_STALL {
            exchange.count_event(NicEvent::TxStall, 1);
            return Err(EngineError::TxStall { in_flight: self.tx.in_flight() });
        }

        let rx_index = read_index(&mut self.rdma) as u16;
        self.watch.received = self.rx.received(rx_index).inspect_err(|_| count_garbage(exchange))?;
        let is_full = self.rx.with_buffers() == self.watch.received;
        if rx_index != self.watch.rx_index || is_full {
            (self.watch.rx_fine, self.watch.rx_index, self.watch.overflows) = (now, rx_index, overflows);
        } else if overflows == self.watch.overflows {
            // It does not move because nothing comes.
            self.watch.rx_fine = now;
        } else if now - self.watch.rx_fine >= RX_STALL {
            exchange.count_event(NicEvent::RxStall, 1);
            return Err(EngineError::RxStall);
        }
        Ok(())
    }

    /// Takes received frames, a turn's at most, and gives their descriptors new buffers. Returns how many.
    fn receive(&mut self, exchange: &FrameExchange) -> Result<u16, EngineError> {
        let index = read_index(&mut self.rdma);
        self.count_discards((index >> DISCARD_SHIFT) as u16, exchange);
        let received = self.rx.received(index as u16).inspect_err(|_| count_garbage(exchange))?.min(TURN);
        for _ in 0..received {
            let slot = self.rx.take();
            let status = descriptor(&mut self.rdma, slot).map_or(0, |mut one| field!(one, length_status).read());
            let Some(buffer) = self.slots.rx.get_mut(slot).and_then(|slot| slot.buffer.take()) else { continue };
            match frame(status) {
                Ok(frame) => exchange.deliver(buffer.unshare_first(frame.end), frame),
                Err(event) => {
                    exchange.count_event(event, 1);
                    exchange.count(|counters| counters.rx_errors += 1);
                    exchange.return_rx_buffer(buffer.unshare_first(0));
                }
            }
        }
        self.refill(exchange);
        Ok(received)
    }

    /// Counts the frames for which there was no buffer.
    fn count_discards(&mut self, discards: u16, exchange: &FrameExchange) {
        let new = discards.wrapping_sub(self.discards);
        if new == 0 {
            return;
        }
        self.discards = discards;
        exchange.count_event(NicEvent::RxMissed, new.into());
        exchange.count(|counters| counters.rx_dropped += u64::from(new));
        if discards >= DISCARDS_MAX {
            // Only this count takes the value; the index is the controller's own while the ring runs.
            self.discards = 0;
            let mut ring = field!(self.rdma, default_ring);
            field!(ring, hw_index).write(0);
        }
    }

    /// Gives free buffers to descriptors that have none.
    fn refill(&mut self, exchange: &FrameExchange) {
        let before = self.rx.index();
        while let Some(slot) = self.rx.hole() {
            let Some(buffer) = exchange.try_take_rx_buffer() else { break };
            self.put_rx(slot, buffer);
        }
        if self.rx.index() != before {
            self.tell_rx();
        }
    }

    fn put_rx(&mut self, slot: usize, buffer: DmaBuffer) {
        let buffer = buffer.share_first(RX_LEN, Direction::FromDevice);
        let (Some(place), Some(one)) = (self.slots.rx.get_mut(slot), descriptor(&mut self.rdma, slot)) else { return };
        place.put(buffer, 0, one);
        self.rx.fill();
    }

    fn tell_rx(&mut self) {
        let mut ring = field!(self.rdma, default_ring);
        field!(ring, sw_index).write(self.rx.index().into());
    }

    /// Hands frames that wait over, a turn's at most. Returns how many.
    fn send(&mut self, exchange: &FrameExchange) -> u16 {
        let mut sent = 0;
        while sent < TURN && self.tx.in_flight() < SIZE {
            let Some(frame) = exchange.try_take_tx_frame() else { break };
            self.put_tx(frame, exchange);
            sent += 1;
        }
        if sent > 0 {
            self.tell_tx();
        }
        sent
    }

    fn put_tx(&mut self, frame: TxFrame, exchange: &FrameExchange) {
        let TxFrame { mut buffer, frame } = frame;
        let len = frame.len();
        let end = frame.start + len.max(FRAME_LEN_MIN);
        let pad = buffer.bytes_mut().get_mut(frame.end..end);
        if let Some(pad) = pad {
            pad.fill(0);
        }
        let Some(slot) = self.tx.push() else { return exchange.return_tx_buffer(buffer, len, false) };
        let buffer = buffer.share_first(end, Direction::ToDevice);
        let (Some(place), Some(mut one)) = (self.slots.tx.get_mut(slot), descriptor(&mut self.tdma, slot)) else {
            return;
        };
        let flags = (Status::SOP | Status::EOP | Status::TX_APPEND_CRC).bits() | TX_NO_TAG;
        let len_status = ((end - frame.start) as u32) << DESC_LEN_SHIFT | flags;
        field!(one, length_status).write(len_status);
        place.put(buffer, len, one);
    }

    fn tell_tx(&mut self) {
        let mut ring = field!(self.tdma, default_ring);
        field!(ring, sw_index).write(self.tx.index().into());
    }

    /// Takes back the buffers of frames that were sent.
    fn reclaim(&mut self, exchange: &FrameExchange) -> Result<(), EngineError> {
        if self.tx.in_flight() == 0 {
            return Ok(());
        }
        let index = read_index(&mut self.tdma) as u16;
        let completed = self.tx.completed(index).inspect_err(|_| count_garbage(exchange))?;
        for _ in 0..completed {
            let slot = self.tx.pop();
            let Some(place) = self.slots.tx.get_mut(slot) else { continue };
            if let Some(buffer) = place.buffer.take() {
                exchange.return_tx_buffer(buffer.unshare(), place.len, true);
            }
        }
        Ok(())
    }
}

impl Slot {
    fn put(&mut self, buffer: DeviceBuffer, len: usize, mut descriptor: UniqueMmioPointer<'_, Descriptor>) {
        let address = buffer.phys_addr().0;
        field!(descriptor, address_lo).write(address as u32);
        // A write takes some 100 ns, and the upper half hardly ever changes.
        let high = (address >> 32) as u32;
        if self.address_hi != Some(high) {
            self.address_hi = Some(high);
            field!(descriptor, address_hi).write(high);
        }
        self.len = len;
        self.buffer = Some(buffer);
    }
}

impl Watch {
    fn new(now: Instant, tx_index: u16, rx_index: u16) -> Self {
        Self { turns: 0, received: 0, tx_moved: now, tx_index, rx_fine: now, rx_index, overflows: 0 }
    }
}

/// Stops a DMA, then its rings. Only of the whole is it known that it says when it stands still (Linux 6.12
/// bcmgenet_dma_teardown waits for no more; others not at all).
async fn stop(
    dma: &mut UniqueMmioPointer<'_, Dma>,
    direction: &'static str,
    exchange: &FrameExchange,
) -> Result<(), EngineError> {
    let ctrl = field!(*dma, ctrl).read() & DMA_CTRL_MASK;
    field!(*dma, ctrl).write(ctrl & !DMA_EN);
    let deadline = Instant::now() + STOP_TIMEOUT;
    loop {
        let is_late = Instant::now() >= deadline;
        let status = field!(*dma, status).read();
        if status & DMA_EN != 0 {
            field!(*dma, ctrl).write(0);
            return Ok(());
        }
        if is_late {
            exchange.count_event(NicEvent::Timeout, 1);
            return Err(EngineError::NotStopping { direction, status });
        }
        Timer::after_micros(10).await;
    }
}

/// Makes the default ring one of all descriptors. Returns the controller's index and where it is.
fn set_up(
    dma: &mut UniqueMmioPointer<'_, Dma>,
    per_interrupt: u32,
    flow: u32,
    direction: &'static str,
) -> Result<(u32, Place), EngineError> {
    field!(*dma, scb_burst_size).write(SCB_BURST_BCM2711);
    let mut ring = field!(*dma, default_ring);
    field!(ring, start).write(0);
    field!(ring, start_hi).write(0);
    field!(ring, end).write(u32::from(SIZE) * DESCRIPTOR_WORDS - 1);
    field!(ring, end_hi).write(0);
    field!(ring, buf_size).write(u32::from(SIZE) << 16 | RX_LEN as u32);
    field!(ring, done_threshold).write(per_interrupt);
    field!(ring, flow).write(flow);
    field!(ring, hw_ptr).write(0);
    field!(ring, hw_ptr_hi).write(0);
    field!(ring, hw_index).write(0);
    // Not every one takes the zeros (U-Boot): what counts is what it says.
    let index = field!(ring, hw_index).read();
    let word = field!(ring, hw_ptr).read();
    let place = Place::new(index as u16, word).ok_or(EngineError::Pointer { direction, word })?;
    field!(ring, sw_ptr).write(word);
    field!(ring, sw_ptr_hi).write(0);
    field!(*dma, ring_cfg).write(1 << DEFAULT_RING);
    Ok((index, place))
}

/// Reads the controller's index, with the discards above it.
fn read_index(dma: &mut UniqueMmioPointer<'_, Dma>) -> u32 {
    let mut ring = field!(*dma, default_ring);
    field!(ring, hw_index).read()
}

fn descriptor<'d>(dma: &'d mut UniqueMmioPointer<'_, Dma>, slot: usize) -> Option<UniqueMmioPointer<'d, Descriptor>> {
    field!(*dma, descriptors).take(slot)
}

fn count_garbage(exchange: &FrameExchange) {
    exchange.count_event(NicEvent::IndexGarbage, 1);
}

/// Finds the frame in a buffer by what the controller says about it, or why there is none.
fn frame(length_status: u32) -> Result<Range<usize>, NicEvent> {
    let status = Status::from_bits_retain(length_status);
    let len = (length_status >> DESC_LEN_SHIFT & DESC_LEN_MASK) as usize;
    // The order of importance: an overrun frame's checksum is wrong too.
    for (flag, event) in [
        (Status::RX_OVERRUN, NicEvent::RxOverrun),
        (Status::RX_SYMBOL, NicEvent::RxSymbol),
        (Status::RX_LENGTH, NicEvent::RxLength),
        (Status::RX_ALIGNMENT | Status::RX_CRC, NicEvent::RxCrc),
    ] {
        if status.intersects(flag) {
            return Err(event);
        }
    }
    if !status.contains(Status::SOP | Status::EOP) {
        return Err(NicEvent::RxFragment);
    }
    let is_right = (RX_PAD + HEADER_LEN..=RX_PAD + FRAME_LEN_MAX).contains(&len);
    if is_right { Ok(RX_PAD..len) } else { Err(NicEvent::RxLength) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Status = Status::SOP.union(Status::EOP);

    fn check(len: u32, status: Status) -> Result<usize, NicEvent> {
        frame(len << DESC_LEN_SHIFT | status.bits()).map(|frame| frame.end)
    }

    #[test]
    fn a_frame_lies_behind_two_bytes() {
        assert_eq!(check(62, WHOLE), Ok(62));
        assert_eq!(check(1516, WHOLE | Status::RX_BROADCAST), Ok(1516));
    }

    #[test]
    fn damaged_frames_are_told_apart() {
        for (status, event) in [
            (WHOLE | Status::RX_CRC, NicEvent::RxCrc),
            (WHOLE | Status::RX_ALIGNMENT, NicEvent::RxCrc),
            (WHOLE | Status::RX_SYMBOL | Status::RX_CRC, NicEvent::RxSymbol),
            (WHOLE | Status::RX_OVERRUN | Status::RX_CRC, NicEvent::RxOverrun),
            (WHOLE | Status::RX_LENGTH, NicEvent::RxLength),
            (Status::SOP, NicEvent::RxFragment),
            (Status::EOP, NicEvent::RxFragment),
            (Status::empty(), NicEvent::RxFragment),
        ] {
            assert_eq!(check(100, status), Err(event), "{status:?}");
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for len in [0, 1, 2, 3, 15, 1517, 2048, 4095] {
            assert_eq!(check(len, WHOLE), Err(NicEvent::RxLength), "{len}");
        }
        assert_eq!(check(16, WHOLE), Ok(16));
    }
}
