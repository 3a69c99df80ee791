//! Control requests: setup, data and status stage (USB 2.0, 8.5.3), one request at a time on the whole bus.

use core::future::poll_fn;
use core::task::Poll;

use embassy_time::{Duration, Instant};
use hal::dma::{CACHE_LINE, DmaBuffer, DmaPool};

use super::{Bus, NoDmaMemory};
use crate::descriptor::CONFIGURATION_LEN_MAX;
use crate::host::{Completion, Direction, Endpoint, Pid, Rejected, Request, TransferError};
use crate::setup::Setup;

/// Most bytes of a data stage: the largest message of RNDIS's control channel is 1,025 bytes (RNDIS 1.0, section 2.2.2),
/// and what is received is rounded up to whole packets.
const DATA_LEN: usize = 1088;
const _: () = assert!(DATA_LEN >= CONFIGURATION_LEN_MAX);
/// DMA memory of the buffers.
pub(super) const DMA_BYTES: usize = CACHE_LINE + 2 * DATA_LEN;
/// How long each stage may take. USB 2.0, 9.2.6.4 has 500 ms for the data stage; a device behind a hub that just vanished
/// must not hold up the others for longer.
const STAGE_TIMEOUT: Duration = Duration::from_millis(500);

/// The buffers of the request that is under way.
///
/// Either is missing after a transfer that would not stop: the controller kept it. Requests must go on nevertheless.
pub(super) struct ControlBuffers {
    setup: Option<DmaBuffer>,
    data: Option<DmaBuffer>,
    /// Takes the place of `data`; that of `setup` can be taken by a small buffer, of which there are more.
    spare: Option<DmaBuffer>,
}

impl ControlBuffers {
    pub(super) fn new(pool: &mut DmaPool) -> Result<Self, NoDmaMemory> {
        let setup = pool.take(CACHE_LINE).ok_or(NoDmaMemory)?;
        let data = pool.take(DATA_LEN).ok_or(NoDmaMemory)?;
        let spare = pool.take(DATA_LEN).ok_or(NoDmaMemory)?;
        Ok(Self { setup: Some(setup), data: Some(data), spare: Some(spare) })
    }

    /// Replaces what the controller kept, by the same when it was returned or by another.
    fn replace_missing(&mut self, bus: &Bus<'_>) {
        if self.setup.is_none() {
            self.setup = bus.take_small_buffer();
        }
        if self.data.is_none() {
            self.data = bus.host.take_returned(DATA_LEN).or_else(|| self.spare.take());
        } else if self.spare.is_none() {
            self.spare = bus.host.take_returned(DATA_LEN);
        }
    }
}

impl Bus<'_> {
    pub(crate) async fn control_in(
        &self,
        endpoint: &Endpoint,
        setup: Setup,
        data: &mut [u8],
    ) -> Result<usize, TransferError> {
        let mut buffers = self.control.lock().await;
        buffers.replace_missing(self);
        let len = wire_len(data.len())?;
        self.setup_stage(&mut buffers.setup, endpoint, setup, len).await?;
        let mut got = 0;
        if len > 0 {
            got = self.stage(&mut buffers.data, endpoint, Direction::In, Pid::Data1, data.len()).await?;
            let bytes = buffers.data.as_ref().and_then(|buffer| buffer.bytes().get(..got));
            let (Some(from), Some(to)) = (bytes, data.get_mut(..got)) else { return Err(TransferError::Babble) };
            to.copy_from_slice(from);
        }
        // The status stage runs the other way; that of a request without data runs IN.
        let direction = if len > 0 { Direction::Out } else { Direction::In };
        self.stage(&mut buffers.setup, endpoint, direction, Pid::Data1, 0).await?;
        Ok(got)
    }

    pub(crate) async fn control_out(
        &self,
        endpoint: &Endpoint,
        setup: Setup,
        data: &[u8],
    ) -> Result<(), TransferError> {
        let mut buffers = self.control.lock().await;
        buffers.replace_missing(self);
        let len = wire_len(data.len())?;
        if let Some(to) = buffers.data.as_mut().and_then(|buffer| buffer.bytes_mut().get_mut(..data.len())) {
            to.copy_from_slice(data);
        }
        self.setup_stage(&mut buffers.setup, endpoint, setup, len).await?;
        if len > 0 {
            let sent = self.stage(&mut buffers.data, endpoint, Direction::Out, Pid::Data1, data.len()).await?;
            if sent < data.len() {
                return Err(TransferError::TooLong { len: data.len() });
            }
        }
        self.stage(&mut buffers.setup, endpoint, Direction::In, Pid::Data1, 0).await?;
        Ok(())
    }

    async fn setup_stage(
        &self,
        buffer: &mut Option<DmaBuffer>,
        endpoint: &Endpoint,
        setup: Setup,
        len: u16,
    ) -> Result<(), TransferError> {
        let packet = setup.to_bytes(len);
        if let Some(to) = buffer.as_mut().and_then(|buffer| buffer.bytes_mut().first_chunk_mut()) {
            *to = packet;
        }
        self.stage(buffer, endpoint, Direction::Out, Pid::Setup, packet.len()).await?;
        Ok(())
    }

    /// One stage; puts the buffer back where it was.
    async fn stage(
        &self,
        place: &mut Option<DmaBuffer>,
        endpoint: &Endpoint,
        direction: Direction,
        pid: Pid,
        len: usize,
    ) -> Result<usize, TransferError> {
        // It is only missing when the controller kept several of them.
        let buffer = place.take().ok_or(TransferError::Timeout)?;
        let endpoint = Endpoint { direction, ..*endpoint };
        let deadline = Some(Instant::now() + STAGE_TIMEOUT);
        let done = self.transfer(Request { endpoint, pid, buffer, len, deadline }).await;
        *place = done.buffer;
        done.result
    }

    async fn transfer(&self, request: Request) -> Completion {
        let mut request = Some(request);
        let mut id = None;
        poll_fn(|cx| {
            if let Some(waiting) = request.take() {
                match self.host.start(waiting, cx) {
                    Ok(started) => id = Some(started),
                    Err(Rejected::Busy(waiting)) => {
                        request = Some(waiting);
                        return Poll::Pending;
                    }
                    Err(Rejected::Over(completion)) => return Poll::Ready(completion),
                }
            }
            id.map_or(Poll::Pending, |id| self.host.poll(id, cx))
        })
        .await
    }
}

/// Checks the length of a data stage.
fn wire_len(len: usize) -> Result<u16, TransferError> {
    // Whole packets of 64 bytes must fit.
    if len.next_multiple_of(64) > DATA_LEN {
        return Err(TransferError::TooLong { len });
    }
    u16::try_from(len).map_err(|_| TransferError::TooLong { len })
}
