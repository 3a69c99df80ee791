//! Moves frames between the exchange and a pair of bulk pipes, for every driver.

use core::convert::Infallible;
use core::ops::Range;

use embassy_futures::join::join3;
use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use embassy_time::{Duration, Instant};
use hal::dma::DmaBuffer;
use usb::descriptor::Interface;
use usb::device::{Device, Pipe};
use usb::host::{Direction, Kind, TransferError};

use super::UsbNicError;
use crate::exchange::{FrameExchange, Spans, TxFrame};

/// Most bytes of one receive: a frame with the header of any of the protocols, in whole packets of any size.
///
/// A device that puts several frames in a transfer is told that this is all it may send.
pub(crate) const RECEIVE_LEN: usize = 2048;
/// How long a device may take to accept a frame. Generous: at full speed a frame takes 2 ms.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Failures of a pipe in a row after which the driver gives up.
const FAILURES_MAX: u32 = 3;
/// Receives in a row that were complete at once after which the other tasks get a turn. QEMU's usb-net holds two
/// frames at most; more in a row would be a device that outruns the core.
const BURST: u32 = 8;

/// How a protocol wraps frames.
pub(crate) trait Framing {
    /// Bytes in front of each frame sent.
    const HEADROOM: usize;
    /// Whether a message ends by the length in its header, so that no zero-length packet has to follow.
    const HAS_LENGTH: bool;

    /// Writes the header of a frame that lies at `HEADROOM..`; returns how many bytes to send from the start of the buffer.
    fn wrap(buffer: &mut [u8], frame: Range<usize>, max_packet: usize) -> usize;

    /// Finds the frames in what was received. Returns how many were damaged.
    fn unwrap(bytes: &[u8], frames: &mut Spans) -> u64;
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
    device: &Device<'_>,
    pipes: &Pipes<'_>,
    exchange: &FrameExchange,
    control: impl Future<Output = Result<Infallible, UsbNicError>>,
) -> Result<Infallible, UsbNicError> {
    let first = core::cell::Cell::new(None);
    let end = |error| {
        if first.get().is_none() {
            first.set(Some(error));
        }
        device.close();
    };
    join3(
        async {
            let Err(error) = receive::<F>(device, &pipes.receive, exchange).await;
            end(error);
        },
        async {
            let Err(error) = send::<F>(device, &pipes.send, exchange).await;
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
    device: &Device<'_>,
    pipe: &Pipe<'_>,
    exchange: &FrameExchange,
) -> Result<Infallible, UsbNicError> {
    let mut failures = 0;
    let mut at_once = 0;
    let mut transfer = None;
    loop {
        let started = match transfer.take() {
            Some(transfer) => transfer,
            None => match select(exchange.take_rx_buffer(), device.gone()).await {
                Either::First(buffer) => start(pipe, buffer),
                Either::Second(()) => return Err(TransferError::Gone.into()),
            },
        };
        let done = started.await;
        if done.result.is_ok() {
            // The next one goes to the controller before this one goes to the stack.
            transfer = exchange.try_take_rx_buffer().map(|buffer| start(pipe, buffer));
        }
        let Some(buffer) = done.buffer else {
            exchange.count(|counters| counters.rx_errors += 1);
            done.result?;
            continue;
        };
        match done.result {
            Ok(len) => {
                failures = 0;
                let mut frames = Spans::new();
                let damaged = F::unwrap(buffer.bytes().get(..len).unwrap_or_default(), &mut frames);
                if damaged > 0 {
                    exchange.count(|counters| counters.rx_errors += damaged);
                }
                exchange.deliver(buffer, frames);
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

fn start<'p, 'b>(pipe: &'p Pipe<'b>, buffer: DmaBuffer) -> usb::device::Transfer<'p, 'b> {
    let max_packet = pipe.max_packet();
    let len = RECEIVE_LEN.min(buffer.len()) / max_packet * max_packet;
    pipe.start(buffer, len, None)
}

async fn send<F: Framing>(
    device: &Device<'_>,
    pipe: &Pipe<'_>,
    exchange: &FrameExchange,
) -> Result<Infallible, UsbNicError> {
    let mut failures = 0;
    loop {
        let TxFrame { mut buffer, frame } = match exchange.try_take_tx_frame() {
            Some(frame) => frame,
            None => match select(exchange.take_tx_frame(), device.gone()).await {
                Either::First(frame) => frame,
                Either::Second(()) => return Err(TransferError::Gone.into()),
            },
        };
        let frame_len = frame.len();
        let len = F::wrap(buffer.bytes_mut(), frame, pipe.max_packet());
        let deadline = Some(Instant::now() + SEND_TIMEOUT);
        let mut done = pipe.start(buffer, len, deadline).await;
        let needs_end = !F::HAS_LENGTH && len.is_multiple_of(pipe.max_packet());
        if needs_end
            && done.result.is_ok()
            && let Some(buffer) = done.buffer.take()
        {
            // A packet that is not full ends the frame; here it is an empty one.
            done = pipe.start(buffer, 0, deadline).await;
        }
        match done.buffer {
            Some(buffer) => exchange.return_tx_buffer(buffer, frame_len, done.result.is_ok()),
            None => exchange.count(|counters| counters.tx_errors += 1),
        }
        match done.result {
            Ok(_) => failures = 0,
            Err(TransferError::Gone) => return Err(TransferError::Gone.into()),
            Err(error) => {
                failures += 1;
                recover(device, pipe, error, failures).await?;
            }
        }
    }
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
