//! Moves frames between the exchange and a pair of bulk pipes, for every driver.

use core::convert::Infallible;
use core::ops::Range;
use core::pin::pin;

use embassy_futures::join::join3;
use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use embassy_time::{Duration, Timer};
use hal::dma::DmaBuffer;
use usb::descriptor::Interface;
use usb::device::{Device, Pipe};
use usb::host::{Completion, Direction, Kind, TransferError};

use super::UsbNicError;
use crate::burst::Walk;
use crate::events::NicEvent;
use crate::exchange::{FrameExchange, TxFrame};

/// How long a device may take to accept a frame while its link is up: so many looks, this far apart. Generous: at full speed a
/// frame takes 2 ms. While the link is down a controller keeps what it has and takes no more.
const SEND_LOOK: Duration = Duration::from_millis(250);
const SEND_LOOKS: u32 = 4;
/// Failures of a pipe in a row after which the driver gives up.
const FAILURES_MAX: u32 = 3;
/// Receives in a row that were complete at once after which the other tasks get a turn. QEMU's usb-net holds two
/// frames at most; more in a row would be a device that outruns the core.
const BURST: u32 = 8;

/// What has to follow a transfer whose last packet is full, for the device to see its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// An empty packet.
    EmptyPacket,
    /// Nothing: the message tells its length.
    Nothing,
}

/// How a protocol wraps frames.
pub(crate) trait Framing {
    /// How a transfer ends.
    const ENDING: Ending;
    /// Whether what is sent is one stream to the device: after a transfer that failed it is out of step, and only a restart
    /// helps.
    const IS_STREAM: bool = false;
    /// Finds the frames in what was received.
    const WALK: Walk;

    /// Most bytes of one receive. A multiple of the packet size, and no more than a receive buffer has.
    fn receive_len(&self) -> usize;

    /// Writes the header of the frame in `buffer`, which lies behind the headroom that was asked for; returns how many bytes
    /// to send from the start of the buffer.
    fn wrap(&self, buffer: &mut [u8], frame: Range<usize>, max_packet: usize) -> usize;

    /// Most bytes of a transfer with several frames; 0 when each has one of its own.
    fn batch_len(&self) -> usize {
        0
    }

    /// Appends a frame to a batch of `end` bytes (0 for none); returns the new end, or `None` when there is no room. There is
    /// always room for the first.
    fn append(&self, _batch: &mut [u8], _end: usize, _frame: &[u8]) -> Option<usize> {
        None
    }
}

/// The bulk pipes of a data interface.
pub(crate) struct Pipes<'b> {
    receive: Pipe<'b>,
    send: Pipe<'b>,
}

impl<'b> Pipes<'b> {
    pub(crate) fn open(device: &Device<'b>, data: &Interface) -> Result<Self, UsbNicError> {
        let missing = UsbNicError::Missing { what: "a bulk endpoint in each direction" };
        let receive = data.endpoint(Kind::Bulk, Direction::In).ok_or(missing)?;
        let send = data.endpoint(Kind::Bulk, Direction::Out).ok_or(missing)?;
        Ok(Self { receive: device.pipe(receive), send: device.pipe(send) })
    }
}

/// Moves frames both ways, and runs `control` beside it, until one of the three fails; then ends the other two and returns
/// why. No buffer is lost: what is under way comes back before this returns.
pub(crate) async fn move_frames<F: Framing>(
    framing: &F,
    device: &Device<'_>,
    pipes: &Pipes<'_>,
    exchange: &FrameExchange,
    control: impl Future<Output = Result<Infallible, UsbNicError>>,
) -> Result<Infallible, UsbNicError> {
    // What the USB controller kept of earlier runs.
    let bus = device.bus();
    core::iter::from_fn(|| bus.take_returned(exchange.rx_buffer_len())).for_each(|b| exchange.return_rx_buffer(b));
    core::iter::from_fn(|| bus.take_returned(exchange.tx_buffer_len())).for_each(|b| exchange.return_copied(b));
    let first = core::cell::Cell::new(None);
    let end = |error| {
        if first.get().is_none() {
            first.set(Some(error));
        }
        device.close();
    };
    join3(
        async {
            let Err(error) = receive(framing, device, &pipes.receive, exchange).await;
            end(error);
        },
        async {
            let Err(error) = send(framing, device, &pipes.send, exchange, &end).await;
            end(error);
        },
        async {
            let Err(error) = control.await;
            end(error);
        },
    )
    .await;
    Err(first.get().unwrap_or(TransferError::Gone.into()))
}

async fn receive<F: Framing>(
    framing: &F,
    device: &Device<'_>,
    pipe: &Pipe<'_>,
    exchange: &FrameExchange,
) -> Result<Infallible, UsbNicError> {
    let mut failures = 0;
    let mut at_once = 0;
    let mut transfer = None;
    let start = |buffer: DmaBuffer| {
        let max_packet = pipe.max_packet();
        let len = framing.receive_len().min(buffer.len()) / max_packet * max_packet;
        pipe.start(buffer, len, None)
    };
    loop {
        let started = match transfer.take() {
            Some(transfer) => transfer,
            None => match select(exchange.take_rx_buffer(), device.gone()).await {
                Either::First(buffer) => start(buffer),
                Either::Second(()) => return Err(TransferError::Gone.into()),
            },
        };
        let done = started.await;
        if done.result.is_ok() {
            // The next one goes to the controller before this one goes to the stack.
            transfer = exchange.try_take_rx_buffer().map(start);
        }
        let Some(buffer) = done.buffer else {
            exchange.count(|counters| counters.rx_errors += 1);
            done.result?;
            continue;
        };
        match done.result {
            Ok(len) => {
                failures = 0;
                exchange.deliver_burst(buffer, len, F::WALK);
                at_once += 1;
                if at_once >= BURST {
                    at_once = 0;
                    yield_now().await;
                }
            }
            Err(error) => {
                exchange.return_rx_buffer(buffer);
                if error == TransferError::Gone {
                    return Err(error.into());
                }
                exchange.count(|counters| counters.rx_errors += 1);
                failures += 1;
                recover(device, pipe, error, failures).await?;
            }
        }
    }
}

/// Frames on their way to the device in one transfer, and what to do with the buffer afterwards.
struct Outgoing {
    buffer: DmaBuffer,
    len: usize,
    frames: u64,
    bytes: usize,
    is_batch: bool,
}

async fn send<F: Framing>(
    framing: &F,
    device: &Device<'_>,
    pipe: &Pipe<'_>,
    exchange: &FrameExchange,
    end: &impl Fn(UsbNicError),
) -> Result<Infallible, UsbNicError> {
    // Batches are put together in a receive buffer, which is longer than those for sending.
    let mut batch = if framing.batch_len() > 0 { exchange.try_take_rx_buffer() } else { None };
    let mut held = None;
    let mut failures = 0;
    let error = loop {
        let first = match held.take().or_else(|| exchange.try_take_tx_frame()) {
            Some(frame) => frame,
            None => match select(exchange.take_tx_frame(), device.gone()).await {
                Either::First(frame) => frame,
                Either::Second(()) => break TransferError::Gone.into(),
            },
        };
        let outgoing = pack(framing, exchange, first, &mut batch, &mut held, pipe.max_packet());
        let Outgoing { buffer, len, frames, bytes, is_batch } = outgoing;
        let mut transfer = pin!(async {
            let done = pipe.start(buffer, len, None).await;
            let needs_end = F::ENDING == Ending::EmptyPacket && len.is_multiple_of(pipe.max_packet());
            match done {
                Completion { buffer: Some(buffer), result: Ok(_), .. } if needs_end => {
                    pipe.start(buffer, 0, None).await
                }
                done => done,
            }
        });
        let done = match select(transfer.as_mut(), stall(exchange)).await {
            Either::First(done) => done,
            Either::Second(()) => {
                exchange.count_event(NicEvent::TxStall, 1);
                // Closes the device, which ends the transfer.
                end(UsbNicError::Stalled);
                transfer.await
            }
        };
        let is_sent = done.result.is_ok();
        match done.buffer {
            Some(buffer) if !is_batch => {
                exchange.return_tx_buffer(buffer, bytes, is_sent);
            }
            buffer => {
                exchange.count_tx(frames, bytes as u64, is_sent);
                batch = if is_batch { buffer } else { batch };
            }
        }
        match done.result {
            Ok(_) => failures = 0,
            Err(TransferError::Gone) => break TransferError::Gone.into(),
            Err(error) if F::IS_STREAM => break error.into(),
            Err(error) => {
                failures += 1;
                if let Err(error) = recover(device, pipe, error, failures).await {
                    break error;
                }
            }
        }
    };
    if let Some(buffer) = batch {
        exchange.return_rx_buffer(buffer);
    }
    if let Some(frame) = held {
        exchange.return_tx_buffer(frame.buffer, 0, false);
    }
    Err(error)
}

/// Ends when the link has been up for as long as a device may take to accept a frame.
async fn stall(exchange: &FrameExchange) {
    let mut looks = 0;
    while looks < SEND_LOOKS {
        Timer::after(SEND_LOOK).await;
        looks = if exchange.link().is_up() { looks + 1 } else { 0 };
    }
}

/// Makes a transfer of the first frame, in place, or of it and those that wait behind it, copied together. What no longer
/// fits is `held`.
fn pack<F: Framing>(
    framing: &F,
    exchange: &FrameExchange,
    first: TxFrame,
    batch: &mut Option<DmaBuffer>,
    held: &mut Option<TxFrame>,
    max_packet: usize,
) -> Outgoing {
    if exchange.has_tx_frame()
        && let Some(mut buffer) = batch.take()
    {
        let most = framing.batch_len().min(buffer.len());
        let room = buffer.bytes_mut().get_mut(..most).unwrap_or_default();
        let (mut len, mut frames, mut bytes) = (0, 0, 0);
        let mut next = Some(first);
        while let Some(TxFrame { buffer, frame }) = next.take() {
            let content = buffer.bytes().get(frame.clone()).unwrap_or_default();
            match framing.append(room, len, content) {
                Some(end) => {
                    (len, frames, bytes) = (end, frames + 1, bytes + content.len());
                    exchange.return_copied(buffer);
                    next = exchange.try_take_tx_frame();
                }
                None => *held = Some(TxFrame { buffer, frame }),
            }
        }
        return Outgoing { buffer, len, frames, bytes, is_batch: true };
    }
    let TxFrame { mut buffer, frame } = first;
    let bytes = frame.len();
    let len = framing.wrap(buffer.bytes_mut(), frame, max_packet);
    Outgoing { buffer, len, frames: 1, bytes, is_batch: false }
}

/// Gets a pipe going again after an error, or gives up.
async fn recover(device: &Device<'_>, pipe: &Pipe<'_>, error: TransferError, failures: u32) -> Result<(), UsbNicError> {
    if failures >= FAILURES_MAX {
        return Err(error.into());
    }
    if error == TransferError::Stall {
        pipe.clear_halt(device).await?;
    }
    Ok(())
}
