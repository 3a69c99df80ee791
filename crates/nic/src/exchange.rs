//! Where a NIC's driver and the network stack hand frames to each other, without copying.
//!
//! Buffers go round: the driver fills a receive buffer with one burst (one or more frames), the stack reads the frames in
//! place, and the emptied buffer returns to the driver. The stack writes a frame into a free transmit buffer behind the
//! headroom that the driver asked for, and the driver returns the buffer when the controller is done with it.
//! Both sides run on the same core; this type is neither `Send` nor `Sync`.
//!
//! A frame is an Ethernet frame from the destination address to the end of the payload, without the FCS.

use core::cell::RefCell;
use core::future::poll_fn;
use core::ops::Range;
use core::task::{Context, Poll};

use embassy_sync::waitqueue::WakerRegistration;
use hal::dma::DmaBuffer;
use heapless::{Deque, Vec};

use crate::burst::{Burst, Walk};
use crate::events::NicEvent;
use crate::{Link, MacAddress};

/// Most receive buffers. A controller with a ring keeps all of them in it but those that the stack has not read yet.
pub const RX_BUFFERS: usize = 256;
/// Most transmit buffers.
pub const TX_BUFFERS: usize = 64;
/// Most multicast groups that are told apart.
pub const GROUPS: usize = 32;
/// Longest frame in bytes: 1,500 of payload and the header.
pub const FRAME_LEN_MAX: usize = 1514;

/// What a driver brings to the exchange when it takes charge of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicInfo {
    /// Name of the driver, as shown to people.
    pub driver: &'static str,
    /// The controller's address.
    pub mac: MacAddress,
    /// Bytes that the driver needs in front of each frame it sends.
    pub tx_headroom: usize,
}

/// Frames and bytes since boot, and what went wrong. Bytes are without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicCounters {
    /// Frames handed to the stack.
    pub rx_frames: u64,
    /// Bytes of these frames.
    pub rx_bytes: u64,
    /// Frames that the controller has sent.
    pub tx_frames: u64,
    /// Bytes of these frames.
    pub tx_bytes: u64,
    /// Received frames that were damaged or could not be parsed.
    pub rx_errors: u64,
    /// Received frames for which there was no room.
    pub rx_dropped: u64,
    /// Frames that the controller failed to send.
    pub tx_errors: u64,
    /// Frames that the stack could not queue or that a detached controller left behind.
    pub tx_dropped: u64,
    /// Times the link came up.
    pub link_ups: u64,
    /// Times a controller was attached.
    pub attaches: u64,
    /// Times the driver had to start its controller anew.
    pub restarts: u64,
}

/// A frame that waits to be sent: `frame` is its place in `buffer`.
#[derive(Debug)]
pub struct TxFrame {
    /// The buffer; bytes in front of `frame` are the driver's headroom.
    pub buffer: DmaBuffer,
    /// Where the frame is.
    pub frame: Range<usize>,
}

/// What is counted.
#[derive(Default)]
pub(crate) struct Counts {
    counters: NicCounters,
    events: [u64; NicEvent::COUNT],
}

impl Counts {
    pub(crate) fn frame(&mut self, len: usize) {
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += len as u64;
    }

    pub(crate) fn damaged(&mut self, why: NicEvent) {
        self.counters.rx_errors += 1;
        self.event(why, 1);
    }

    fn event(&mut self, event: NicEvent, times: u64) {
        if let Some(count) = self.events.get_mut(event as usize) {
            *count += times;
        }
    }
}

/// The multicast groups that the stack listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// These, as Ethernet addresses.
    Some(Vec<MacAddress, GROUPS>),
    /// More than fit, or it is not known: a controller should bring every group's frames.
    All,
}

struct State {
    nic: Option<NicInfo>,
    link: Link,
    rx_ready: Deque<Burst, RX_BUFFERS>,
    rx_free: Deque<DmaBuffer, RX_BUFFERS>,
    tx_ready: Deque<TxFrame, TX_BUFFERS>,
    tx_free: Deque<DmaBuffer, TX_BUFFERS>,
    counts: Counts,
    groups: Groups,
    groups_epoch: u32,
    groups_waker: WakerRegistration,
    stack_waker: WakerRegistration,
    rx_waker: WakerRegistration,
    tx_waker: WakerRegistration,
}

/// The meeting place of one driver and one stack.
pub struct FrameExchange {
    rx_buffer_len: usize,
    tx_buffer_len: usize,
    state: RefCell<State>,
}

impl FrameExchange {
    /// Makes an exchange that owns the given buffers: [`RX_BUFFERS`] and [`TX_BUFFERS`] of them at most, the others are
    /// not taken. A receive buffer must hold a frame with what controllers put around it; in longer ones they put bursts.
    #[must_use]
    pub fn new(rx: impl IntoIterator<Item = DmaBuffer>, tx: impl IntoIterator<Item = DmaBuffer>) -> Self {
        let rx_free: Deque<DmaBuffer, RX_BUFFERS> = deque(rx);
        let tx_free: Deque<DmaBuffer, TX_BUFFERS> = deque(tx);
        Self {
            rx_buffer_len: rx_free.iter().map(DmaBuffer::len).min().unwrap_or(0),
            tx_buffer_len: tx_free.iter().map(DmaBuffer::len).min().unwrap_or(0),
            state: RefCell::new(State {
                nic: None,
                link: Link::Absent,
                rx_ready: Deque::new(),
                rx_free,
                tx_ready: Deque::new(),
                tx_free,
                counts: Counts::default(),
                groups: Groups::All,
                groups_epoch: 0,
                groups_waker: WakerRegistration::new(),
                stack_waker: WakerRegistration::new(),
                rx_waker: WakerRegistration::new(),
                tx_waker: WakerRegistration::new(),
            }),
        }
    }

    /// Returns the length in bytes of the shortest receive buffer.
    #[must_use]
    pub fn rx_buffer_len(&self) -> usize {
        self.rx_buffer_len
    }

    /// Returns the length of the shortest transmit buffer.
    #[must_use]
    pub fn tx_buffer_len(&self) -> usize {
        self.tx_buffer_len
    }

    /// Returns what is known of the controller, if there is one.
    #[must_use]
    pub fn nic(&self) -> Option<NicInfo> {
        self.state.borrow().nic
    }

    /// Returns the state of the link.
    #[must_use]
    pub fn link(&self) -> Link {
        self.state.borrow().link
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> NicCounters {
        self.state.borrow().counts.counters
    }

    /// Returns how often each kind of event happened, by name.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.state.borrow().counts.events;
        NicEvent::ALL.into_iter().zip(counts).map(|((_, name), count)| (name, count))
    }

    // ---- The stack's side ----

    /// Tells which multicast groups the stack listens to.
    pub fn set_groups(&self, groups: Groups) {
        let mut state = self.state.borrow_mut();
        if state.groups != groups {
            state.groups = groups;
            state.groups_epoch = state.groups_epoch.wrapping_add(1);
            state.groups_waker.wake();
        }
    }

    /// Registers the stack's task: woken by a received frame, a returned transmit buffer, and a change of link or NIC.
    pub fn register_stack(&self, cx: &Context<'_>) {
        self.state.borrow_mut().stack_waker.register(cx.waker());
    }

    /// Returns whether a received frame waits.
    #[must_use]
    pub fn has_rx(&self) -> bool {
        !self.state.borrow().rx_ready.is_empty()
    }

    /// Takes the next received frame; it is read in place.
    ///
    /// Take one at a time: frames of a burst share a buffer, and the next one is available once this one is dropped.
    #[must_use]
    pub fn take_rx(&self) -> Option<RxFrame<'_>> {
        let burst = self.state.borrow_mut().rx_ready.pop_front()?;
        Some(RxFrame { exchange: self, burst: Some(burst) })
    }

    /// Returns whether [`take_tx`](Self::take_tx) would give a buffer.
    #[must_use]
    pub fn has_tx(&self) -> bool {
        let state = self.state.borrow();
        state.link.is_up() && !state.tx_free.is_empty()
    }

    /// Takes a free transmit buffer. `None` while the link is down or all are in use.
    #[must_use]
    pub fn take_tx(&self) -> Option<TxBuffer<'_>> {
        let mut state = self.state.borrow_mut();
        if !state.link.is_up() {
            return None;
        }
        let headroom = state.nic.map_or(0, |nic| nic.tx_headroom);
        let buffer = state.tx_free.pop_front()?;
        Some(TxBuffer { exchange: self, headroom, buffer: Some(buffer) })
    }

    // ---- The driver's side ----

    /// Announces a controller. Its link counts as down until [`set_link`](Self::set_link).
    pub fn attach(&self, nic: NicInfo) {
        let mut state = self.state.borrow_mut();
        state.nic = Some(nic);
        state.link = Link::Down;
        state.counts.counters.attaches += 1;
        state.stack_waker.wake();
    }

    /// Announces that the controller is gone. Frames that wait to be sent are dropped and counted.
    pub fn detach(&self) {
        let mut state = self.state.borrow_mut();
        state.nic = None;
        state.link = Link::Absent;
        state.drop_tx_ready();
        state.stack_waker.wake();
    }

    /// Tells the state of the link. While it is down, frames to be sent are dropped and counted.
    pub fn set_link(&self, link: Link) {
        let mut state = self.state.borrow_mut();
        if state.link == link {
            return;
        }
        if link.is_up() {
            state.counts.counters.link_ups += 1;
        } else {
            state.drop_tx_ready();
        }
        state.link = link;
        state.stack_waker.wake();
    }

    /// Changes the counters: for events that only the driver sees (errors, restarts).
    pub fn count(&self, change: impl FnOnce(&mut NicCounters)) {
        change(&mut self.state.borrow_mut().counts.counters);
    }

    /// Counts an event that happened `times`.
    pub fn count_event(&self, event: NicEvent, times: u64) {
        self.state.borrow_mut().counts.event(event, times);
    }

    /// Returns the groups that the stack listens to, and a number that changes with them.
    #[must_use]
    pub fn groups(&self) -> (Groups, u32) {
        let state = self.state.borrow();
        (state.groups.clone(), state.groups_epoch)
    }

    /// Waits until the groups are others than those that came with the number `epoch`.
    pub async fn groups_changed(&self, epoch: u32) {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.groups_epoch != epoch {
                return Poll::Ready(());
            }
            state.groups_waker.register(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Takes an empty receive buffer if there is one now.
    #[must_use]
    pub fn try_take_rx_buffer(&self) -> Option<DmaBuffer> {
        self.state.borrow_mut().rx_free.pop_front()
    }

    /// Waits for an empty receive buffer.
    pub async fn take_rx_buffer(&self) -> DmaBuffer {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            match state.rx_free.pop_front() {
                Some(buffer) => Poll::Ready(buffer),
                None => {
                    state.rx_waker.register(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Hands a received frame to the stack. One that is not inside the buffer is counted as an error.
    pub fn deliver(&self, buffer: DmaBuffer, frame: Range<usize>) {
        let mut state = self.state.borrow_mut();
        if frame.is_empty() || frame.end > buffer.len() {
            state.counts.damaged(NicEvent::RxLength);
            state.return_rx(buffer);
            return;
        }
        state.counts.frame(frame.len());
        state.queue(Burst::of_one(buffer, frame));
    }

    /// Hands a received burst of `len` bytes to the stack. What is damaged or not inside it is counted as an error.
    pub fn deliver_burst(&self, buffer: DmaBuffer, len: usize, walk: Walk) {
        let mut state = self.state.borrow_mut();
        let mut burst = Burst::new(buffer, len, walk);
        if burst.advance(&mut state.counts) {
            state.queue(burst);
        } else {
            state.return_rx(burst.into_buffer());
        }
    }

    /// Gives an unused receive buffer back.
    pub fn return_rx_buffer(&self, buffer: DmaBuffer) {
        self.state.borrow_mut().return_rx(buffer);
    }

    /// Takes the next frame to send if one waits now.
    #[must_use]
    pub fn try_take_tx_frame(&self) -> Option<TxFrame> {
        self.state.borrow_mut().tx_ready.pop_front()
    }

    /// Waits for a frame to send.
    pub async fn take_tx_frame(&self) -> TxFrame {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            match state.tx_ready.pop_front() {
                Some(frame) => Poll::Ready(frame),
                None => {
                    state.tx_waker.register(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Returns whether a frame waits to be sent.
    #[must_use]
    pub fn has_tx_frame(&self) -> bool {
        !self.state.borrow().tx_ready.is_empty()
    }

    /// Returns a transmit buffer and says whether its frame of `len` bytes was sent.
    pub fn return_tx_buffer(&self, buffer: DmaBuffer, len: usize, is_sent: bool) {
        let mut state = self.state.borrow_mut();
        state.count_tx(1, len as u64, is_sent);
        state.return_tx(buffer);
    }

    /// Returns a transmit buffer whose frame was copied elsewhere; [`count_tx`](Self::count_tx) tells what became of it.
    pub fn return_copied(&self, buffer: DmaBuffer) {
        self.state.borrow_mut().return_tx(buffer);
    }

    /// Says whether copied frames of so many bytes in all were sent.
    pub fn count_tx(&self, frames: u64, bytes: u64, is_sent: bool) {
        self.state.borrow_mut().count_tx(frames, bytes, is_sent);
    }
}

impl State {
    fn queue(&mut self, burst: Burst) {
        // There are at most RX_BUFFERS receive buffers, so there is always room.
        if let Err(burst) = self.rx_ready.push_back(burst) {
            self.counts.counters.rx_dropped += 1;
            self.return_rx(burst.into_buffer());
        }
        self.stack_waker.wake();
    }

    fn return_rx(&mut self, buffer: DmaBuffer) {
        // Never full: the exchange was made with at most RX_BUFFERS of them.
        let _ = self.rx_free.push_back(buffer);
        self.rx_waker.wake();
    }

    fn return_tx(&mut self, buffer: DmaBuffer) {
        // Never full, as above. The stack is only waiting for it if there was none.
        let was_empty = self.tx_free.is_empty();
        let _ = self.tx_free.push_back(buffer);
        if was_empty {
            self.stack_waker.wake();
        }
    }

    fn count_tx(&mut self, frames: u64, bytes: u64, is_sent: bool) {
        if is_sent {
            self.counts.counters.tx_frames += frames;
            self.counts.counters.tx_bytes += bytes;
        } else {
            self.counts.counters.tx_errors += frames;
        }
    }

    fn drop_tx_ready(&mut self) {
        while let Some(frame) = self.tx_ready.pop_front() {
            self.counts.counters.tx_dropped += 1;
            self.return_tx(frame.buffer);
        }
    }
}

fn deque<const N: usize>(buffers: impl IntoIterator<Item = DmaBuffer>) -> Deque<DmaBuffer, N> {
    let mut deque = Deque::new();
    for buffer in buffers.into_iter().take(N) {
        // Never full: no more than fit.
        let _ = deque.push_back(buffer);
    }
    deque
}

/// A received frame in its buffer.
pub struct RxFrame<'a> {
    exchange: &'a FrameExchange,
    burst: Option<Burst>,
}

impl RxFrame<'_> {
    /// Returns the frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.burst.as_ref().map(Burst::frame).unwrap_or_default()
    }
}

impl Drop for RxFrame<'_> {
    fn drop(&mut self) {
        let Some(mut burst) = self.burst.take() else { return };
        let mut state = self.exchange.state.borrow_mut();
        if burst.advance(&mut state.counts) {
            // Never full: it came from there.
            let _ = state.rx_ready.push_front(burst);
        } else {
            state.return_rx(burst.into_buffer());
        }
    }
}

/// A free transmit buffer.
pub struct TxBuffer<'a> {
    exchange: &'a FrameExchange,
    headroom: usize,
    buffer: Option<DmaBuffer>,
}

impl TxBuffer<'_> {
    /// Has `write` fill in a frame of `len` bytes, and queues it for the driver.
    ///
    /// A frame that does not fit in the buffer is written to nowhere, dropped and counted.
    pub fn send<R>(self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        self.send_if(len, |frame| (write(frame), true))
    }

    /// As [`send`](Self::send), but `write` says, too, whether the frame is to be sent at all.
    pub fn send_if<R>(mut self, len: usize, write: impl FnOnce(&mut [u8]) -> (R, bool)) -> R {
        let frame = self.headroom..self.headroom + len;
        let exchange = self.exchange;
        let Some(mut buffer) = self.buffer.take() else { return write(&mut []).0 };
        let Some(bytes) = buffer.bytes_mut().get_mut(frame.clone()) else {
            let mut nowhere = [0; FRAME_LEN_MAX];
            let len = len.min(FRAME_LEN_MAX);
            let (result, _) = write(nowhere.get_mut(..len).unwrap_or_default());
            let mut state = exchange.state.borrow_mut();
            state.counts.counters.tx_dropped += 1;
            state.return_tx(buffer);
            return result;
        };
        let (result, is_to_be_sent) = write(bytes);
        let mut state = exchange.state.borrow_mut();
        if !is_to_be_sent {
            // Put back where it came from, without waking the stack: it was not short of buffers.
            let _ = state.tx_free.push_front(buffer);
            return result;
        }
        if let Err(frame) = state.tx_ready.push_back(TxFrame { buffer, frame }) {
            state.counts.counters.tx_dropped += 1;
            state.return_tx(frame.buffer);
        }
        state.tx_waker.wake();
        result
    }
}

impl Drop for TxBuffer<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // Put back where it came from, without waking the stack: it was not short of buffers.
            let _ = self.exchange.state.borrow_mut().tx_free.push_front(buffer);
        }
    }
}
