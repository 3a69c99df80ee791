//! The channels: each moves one transfer, from its start to its completion.

use core::task::{Context, Poll};

use embassy_sync::waitqueue::WakerRegistration;
use embassy_time::{Duration, Instant};
use hal::dma::{DeviceBuffer, Direction as DmaDirection, DmaBuffer};
use rpi_pac::dwc2::{Hcchar, Hcint, Hprt0};

use super::registers::{Channel as ChannelRegister, Register, RegisterAccess};
use super::state::State;
use super::transfer::{Next, Progress};
use crate::host::{Completion, Direction, Pid, Rejected, Request, TransferError, TransferId};

/// How long a channel may take to halt after it was told to: it finishes the packet at hand, at most a few frames.
const HALT_TIMEOUT: Duration = Duration::from_millis(10);

enum Phase {
    /// Enabled; `HALTED` or `AHB_ERROR` will be seen in HCINT.
    Running,
    /// Halted with these bits, not yet looked at.
    Halted(Hcint),
    /// Rests until then.
    Resting(Instant),
    /// Told to halt; ends with this error when it did, and gives up at the instant.
    Stopping(TransferError, Instant),
    /// Over.
    Done(Result<usize, TransferError>),
}

struct Active {
    progress: Progress,
    /// `None` once taken back by a completion.
    buffer: Option<DeviceBuffer>,
    deadline: Option<Instant>,
    phase: Phase,
    waker: WakerRegistration,
}

enum Use {
    Free,
    Active(Active),
    /// Nobody waits any more, but the channel has not halted; if it has a buffer, the controller may still write to it.
    Abandoned {
        buffer: Option<DeviceBuffer>,
    },
    /// The emulator may still have something in flight here.
    Tainted,
}

/// A channel.
pub(super) struct Channel {
    r#use: Use,
    serial: u32,
    /// What was last written to HCSPLT and HCINTMSK: they rarely change, and each access is a way out of the emulator.
    hcsplt: u32,
    hcintmsk: u32,
    is_tainted: bool,
}

impl Channel {
    pub(super) const NEW: Self = Self { r#use: Use::Free, serial: 0, hcsplt: 0, hcintmsk: 0, is_tainted: false };

    fn when_over(&mut self) -> Use {
        if core::mem::take(&mut self.is_tainted) { Use::Tainted } else { Use::Free }
    }
}

impl<R: RegisterAccess> State<R> {
    pub(super) fn on_channel_interrupt(&mut self, index: usize) {
        let hcint = Hcint::from_bits_retain(self.read_channel(index, ChannelRegister::Hcint));
        if hcint.is_empty() {
            return;
        }
        self.write_channel(index, ChannelRegister::Hcint, hcint.bits());
        self.mask_channel(index, Hcint::empty());
        let Some(channel) = self.channels.get_mut(index) else { return };
        match &mut channel.r#use {
            // The channel may still be enabled and move data after it could not reach memory: it must halt before anybody
            // else has the buffer (Linux `dwc2_hc_ahberr_intr` forces a halt too).
            Use::Active(Active { phase: Phase::Running, .. }) if !hcint.contains(Hcint::HALTED) => {
                self.stop(index, TransferError::Dma { hcint: hcint.bits() });
            }
            Use::Active(active) => {
                match active.phase {
                    Phase::Running => active.phase = Phase::Halted(hcint),
                    Phase::Stopping(error, _) => active.phase = Phase::Done(Err(error)),
                    _ => {}
                }
                active.waker.wake();
            }
            Use::Abandoned { .. } => self.recover(index),
            Use::Free | Use::Tainted => {}
        }
    }

    pub(super) fn start_transfer(&mut self, request: Request, cx: &mut Context<'_>) -> Result<TransferId, Rejected> {
        let Some(index) = self.find_free() else { return Err(self.reject(request, cx)) };
        let Request { endpoint, pid, buffer, len, deadline } = request;
        let direction = match endpoint.direction {
            Direction::Out => DmaDirection::ToDevice,
            Direction::In => DmaDirection::FromDevice,
        };
        let progress = Progress::new(endpoint, pid, len, self.identity);
        let room = progress.buffer_len();
        let fits = room <= buffer.len();
        let buffer = if fits { buffer.share_first(room, direction) } else { buffer.share_first(0, direction) };
        let Some(channel) = self.channels.get_mut(index) else {
            return Err(Rejected::Busy(Request { endpoint, pid, buffer: buffer.unshare_first(0), len, deadline }));
        };
        channel.serial = channel.serial.wrapping_add(1);
        let id = TransferId { index, serial: channel.serial };
        let phase = match (fits, self.is_enabled) {
            (false, _) => Phase::Done(Err(TransferError::TooLong { len })),
            (true, false) => Phase::Done(Err(TransferError::Gone)),
            (true, true) => Phase::Running,
        };
        let is_running = matches!(phase, Phase::Running);
        channel.r#use =
            Use::Active(Active { progress, buffer: Some(buffer), deadline, phase, waker: WakerRegistration::new() });
        if is_running {
            self.enable(index);
            self.advance(index);
        }
        Ok(id)
    }

    /// Has a request wait for a channel, unless there is nothing to wait for.
    fn reject(&mut self, request: Request, cx: &Context<'_>) -> Rejected {
        let is_late = request.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let error = match (self.is_enabled, is_late) {
            (false, _) => TransferError::Gone,
            (true, true) => TransferError::Timeout,
            (true, false) => {
                self.free_wakers.register(cx.waker());
                return Rejected::Busy(request);
            }
        };
        self.counters.failed += 1;
        Rejected::Over(Completion { buffer: Some(request.buffer), result: Err(error), next_pid: request.pid })
    }

    fn find_free(&mut self) -> Option<usize> {
        let count = self.identity.channels;
        for step in 0..count {
            let index = (self.next_channel + step) % count;
            if matches!(self.channels.get(index)?.r#use, Use::Free) {
                // The next transfer takes the next channel: one that was just told to stop gets the longest rest.
                self.next_channel = (index + 1) % count;
                return Some(index);
            }
        }
        self.reclaim_abandoned().or_else(|| self.reclaim_tainted())
    }

    /// Finds a channel that was given up and has halted since without an interrupt.
    fn reclaim_abandoned(&mut self) -> Option<usize> {
        for index in 0..self.identity.channels {
            if matches!(self.channels.get(index)?.r#use, Use::Abandoned { .. }) && !self.is_channel_enabled(index) {
                self.quiet(index);
                self.recover(index);
                return Some(index);
            }
        }
        None
    }

    /// Finds a channel where the emulator is through with what it had in flight, or, when there is no other channel at all,
    /// one where it may be not.
    fn reclaim_tainted(&mut self) -> Option<usize> {
        let is_tainted = |channel: &Channel| matches!(channel.r#use, Use::Tainted);
        let mut found = None;
        for index in (0..self.identity.channels).filter(|i| self.channels.get(*i).is_some_and(is_tainted)) {
            found = Some(index);
            if self.read_channel(index, ChannelRegister::Hcint) & Hcint::HALTED.bits() != 0 {
                break;
            }
        }
        let index = found?;
        self.write_channel(index, ChannelRegister::Hcint, u32::MAX);
        self.channels.get_mut(index)?.r#use = Use::Free;
        Some(index)
    }

    /// Programs the channel for the next part of its transfer, starts it, and looks once whether it is over already.
    fn enable(&mut self, index: usize) {
        let Some(Channel { r#use: Use::Active(active), hcsplt, .. }) = self.channels.get_mut(index) else { return };
        let Some(buffer) = &active.buffer else { return };
        let program = active.progress.program();
        let is_emulator = self.identity.is_emulator;
        let address = buffer.bus_addr().0 + program.offset as u64;
        active.phase = Phase::Running;
        let old_hcsplt = core::mem::replace(hcsplt, program.hcsplt);
        let mut hcchar = program.hcchar;
        if program.is_periodic && !is_emulator {
            // A periodic transfer is for the next frame: odd if this one is even.
            let frame = self.registers.read(Register::Hfnum);
            hcchar.set(Hcchar::ODD_FRAME, frame & 1 == 0);
        }
        if !is_emulator {
            // What came after the last halt, or late after a disable, must not be taken for news of this transfer
            // (Linux `dwc2_hc_init`, U-Boot `transfer_chunk`, FreeBSD `dwc_otg_host_channel_alloc`).
            self.write_channel(index, ChannelRegister::Hcint, u32::MAX);
        }
        if old_hcsplt != program.hcsplt {
            self.write_channel(index, ChannelRegister::Hcsplt, program.hcsplt);
        }
        self.write_channel(index, ChannelRegister::Hctsiz, program.hctsiz);
        // The controller's window is the low 4 GiB of bus addresses; DMA memory is taken from there.
        #[expect(clippy::cast_possible_truncation, reason = "see the line above")]
        self.write_channel(index, ChannelRegister::Hcdma, address as u32);
        self.start_channel(index, hcchar);
    }

    /// Sets a programmed channel going.
    fn start_channel(&mut self, index: usize, hcchar: Hcchar) {
        self.write_channel(index, ChannelRegister::Hcchar, (hcchar | Hcchar::ENABLE).bits());
        let hcint = Hcint::from_bits_retain(self.read_channel(index, ChannelRegister::Hcint));
        if hcint.contains(Hcint::HALTED) {
            self.write_channel(index, ChannelRegister::Hcint, hcint.bits());
            if let Some(Channel { r#use: Use::Active(active), .. }) = self.channels.get_mut(index) {
                active.phase = Phase::Halted(hcint);
            }
        } else {
            // In DMA mode everything that needs software halts the channel. If it halted since the read above, the interrupt
            // comes at once.
            self.mask_channel(index, Hcint::HALTED | Hcint::AHB_ERROR);
        }
    }

    /// Takes a transfer as far as it goes without waiting.
    fn advance(&mut self, index: usize) {
        // Each turn is one halt of the channel; what does not halt at once or must rest ends the loop.
        loop {
            let Some(Channel { r#use: Use::Active(active), .. }) = self.channels.get_mut(index) else { return };
            let Phase::Halted(hcint) = active.phase else { return };
            let needs_hctsiz = active.progress.needs_hctsiz(hcint);
            let hctsiz = if needs_hctsiz { self.read_channel(index, ChannelRegister::Hctsiz) } else { 0 };
            let Some(Channel { r#use: Use::Active(active), .. }) = self.channels.get_mut(index) else { return };
            let next = active.progress.on_halt(hcint, hctsiz);
            if hcint.contains(Hcint::NAK) {
                self.counters.naks += 1;
            }
            if hcint.intersects(Hcint::TRANSACTION_ERROR | Hcint::TOGGLE_ERROR) {
                self.counters.transaction_errors += 1;
            }
            match next {
                Next::Done(result) => {
                    if let (Some(direction), Ok(1..)) = (active.progress.bulk_direction(), result) {
                        self.pace.note_traffic(direction, Instant::now());
                    }
                    active.phase = Phase::Done(result);
                    return;
                }
                Next::Again => self.enable(index),
                Next::AgainAfter(rest) => {
                    active.phase = Phase::Resting(Instant::now() + rest);
                    return;
                }
                Next::AgainWhenDue => {
                    active.phase = Phase::Resting(self.pace.next(Instant::now()));
                    return;
                }
            }
        }
    }

    /// Returns the outcome and, while there is none, when to poll again.
    pub(super) fn poll_transfer(&mut self, id: TransferId, cx: &Context<'_>) -> (Poll<Completion>, Option<Instant>) {
        let TransferId { index, serial } = id;
        let now = Instant::now();
        // Ends: a phase that lies in the future of `now` is waited for, and no other one leads to itself.
        loop {
            self.advance(index);
            let Some(Channel { r#use: Use::Active(active), .. }) =
                self.channels.get_mut(index).filter(|channel| channel.serial == serial)
            else {
                return (Poll::Pending, None);
            };
            let is_late = active.deadline.is_some_and(|deadline| now >= deadline);
            let wake_at = match active.phase {
                Phase::Done(_) => return (Poll::Ready(self.complete(index)), None),
                Phase::Resting(_) if is_late => {
                    active.phase = Phase::Done(Err(TransferError::Timeout));
                    continue;
                }
                Phase::Resting(at) if now < at => Some(active.deadline.map_or(at, |deadline| deadline.min(at))),
                Phase::Resting(_) => {
                    self.enable(index);
                    continue;
                }
                Phase::Running if is_late => {
                    self.stop(index, TransferError::Timeout);
                    continue;
                }
                Phase::Running => active.deadline,
                Phase::Stopping(error, give_up) if now >= give_up => {
                    if !self.is_channel_enabled(index) {
                        // It has halted, and the interrupt got lost.
                        self.quiet(index);
                        self.finish(index, error);
                        continue;
                    }
                    return (Poll::Ready(self.abandon(index, error)), None);
                }
                Phase::Stopping(_, give_up) => Some(give_up),
                Phase::Halted(_) => None,
            };
            active.waker.register(cx.waker());
            return (Poll::Pending, wake_at);
        }
    }

    /// Tells a running channel to halt.
    fn stop(&mut self, index: usize, error: TransferError) {
        if self.disable(index) {
            return self.finish(index, error);
        }
        let Some(Channel { r#use: Use::Active(active), .. }) = self.channels.get_mut(index) else { return };
        active.phase = Phase::Stopping(error, Instant::now() + HALT_TIMEOUT);
        active.waker.wake();
    }

    fn finish(&mut self, index: usize, error: TransferError) {
        let Some(Channel { r#use: Use::Active(active), .. }) = self.channels.get_mut(index) else { return };
        active.phase = Phase::Done(Err(error));
        active.waker.wake();
    }

    /// Tells a channel to halt; returns whether there is nothing to wait for.
    fn disable(&mut self, index: usize) -> bool {
        let hcchar = Hcchar::from_bits_retain(self.read_channel(index, ChannelRegister::Hcchar));
        if !self.identity.is_emulator {
            if !hcchar.contains(Hcchar::ENABLE) {
                // It halted by itself just now. To disable it once more might start it (Linux `dwc2_hc_halt`: "The channel
                // is either already halted or it hasn't started yet").
                self.quiet(index);
                return true;
            }
            self.mask_channel(index, Hcint::HALTED);
            self.write_channel(index, ChannelRegister::Hcchar, (hcchar | Hcchar::ENABLE | Hcchar::DISABLE).bits());
            return false;
        }
        // See `Identity::is_emulator` for why the channel must rest.
        // Also when the device is gone: then the emulator has dropped it from its list, but not from the channel.
        let was_running = hcchar.contains(Hcchar::ENABLE);
        self.mask_channel(index, Hcint::empty());
        self.write_channel(index, ChannelRegister::Hcchar, (hcchar | Hcchar::DISABLE).bits());
        self.write_channel(index, ChannelRegister::Hcint, u32::MAX);
        if let Some(channel) = self.channels.get_mut(index) {
            channel.is_tainted = was_running;
        }
        true
    }

    /// Takes back the interrupts of a channel that has halted.
    fn quiet(&mut self, index: usize) {
        self.mask_channel(index, Hcint::empty());
        self.write_channel(index, ChannelRegister::Hcint, u32::MAX);
    }

    /// Returns whether a channel has been enabled and has not halted since.
    fn is_channel_enabled(&self, index: usize) -> bool {
        self.read_channel(index, ChannelRegister::Hcchar) & Hcchar::ENABLE.bits() != 0
    }

    fn complete(&mut self, index: usize) -> Completion {
        let Some(channel) = self.channels.get_mut(index) else { return Self::nothing() };
        let over = channel.when_over();
        let Use::Active(active) = core::mem::replace(&mut channel.r#use, over) else { return Self::nothing() };
        let Active { progress, buffer, phase, .. } = active;
        let result = match phase {
            Phase::Done(result) => result,
            _ => Err(TransferError::Timeout),
        };
        match result {
            Ok(_) => self.counters.completed += 1,
            Err(TransferError::Nak) => {}
            Err(_) => self.counters.failed += 1,
        }
        self.free_wakers.wake();
        let len = if progress.is_in() { result.unwrap_or(0) } else { 0 };
        Completion { buffer: buffer.map(|buffer| buffer.unshare_first(len)), result, next_pid: progress.next_pid() }
    }

    /// Ends a transfer whose channel would not halt. The channel keeps the buffer, unless the root port is disabled: then it
    /// had the time of a halt to write out what had arrived, nothing more arrives, and a channel that was told to halt asks for
    /// nothing more when the port is enabled again.
    fn abandon(&mut self, index: usize, error: TransferError) -> Completion {
        self.counters.stuck_channels += 1;
        let hcchar = self.read_channel(index, ChannelRegister::Hcchar);
        let port = self.port();
        log::error!("dwc2: channel {index} does not halt (HCCHAR {hcchar:#010x}, HPRT0 {:#010x})", port.bits());
        let has_let_go = !port.contains(Hprt0::ENABLED);
        let Some(channel) = self.channels.get_mut(index) else { return Self::nothing() };
        let Use::Active(active) = core::mem::replace(&mut channel.r#use, Use::Free) else { return Self::nothing() };
        let next_pid = active.progress.next_pid();
        let (given_back, kept) = if has_let_go { (active.buffer, None) } else { (None, active.buffer) };
        channel.r#use = Use::Abandoned { buffer: kept };
        self.counters.failed += 1;
        Completion { buffer: given_back.map(|buffer| buffer.unshare_first(0)), result: Err(error), next_pid }
    }

    fn nothing() -> Completion {
        Completion { buffer: None, result: Err(TransferError::Gone), next_pid: Pid::Data0 }
    }

    pub(super) fn forget(&mut self, id: TransferId) {
        let Some(channel) = self.channels.get_mut(id.index).filter(|channel| channel.serial == id.serial) else {
            return;
        };
        let Use::Active(active) = &mut channel.r#use else { return };
        let buffer = active.buffer.take();
        if matches!(active.phase, Phase::Running | Phase::Stopping(..)) {
            channel.r#use = Use::Abandoned { buffer };
            if self.disable(id.index) {
                self.recover(id.index);
            }
        } else {
            self.set_free(id.index);
            self.keep_returned(buffer);
        }
    }

    /// Takes back a channel that was given up and has halted, and its buffer.
    fn recover(&mut self, index: usize) {
        let Some(channel) = self.channels.get_mut(index) else { return };
        // The emulator may still have a device that writes to it.
        let has_let_go = !channel.is_tainted;
        let buffer = match &mut channel.r#use {
            Use::Abandoned { buffer } if has_let_go => buffer.take(),
            _ => None,
        };
        self.keep_returned(buffer);
        self.set_free(index);
    }

    fn keep_returned(&mut self, buffer: Option<DeviceBuffer>) {
        let Some(buffer) = buffer else { return };
        if self.returned.is_full() {
            // Nobody asked for the oldest one.
            let _ = self.returned.remove(0);
        }
        let _ = self.returned.push(buffer);
    }

    /// Returns a buffer of this length of which the controller has let go after its transfer was given up.
    pub(super) fn take_returned(&mut self, len: usize) -> Option<DmaBuffer> {
        while self.reclaim_abandoned().is_some() {}
        let place = self.returned.iter().position(|buffer| buffer.len() == len)?;
        Some(self.returned.swap_remove(place).unshare_first(0))
    }

    fn set_free(&mut self, index: usize) {
        if let Some(channel) = self.channels.get_mut(index) {
            channel.r#use = channel.when_over();
        }
        self.free_wakers.wake();
    }

    pub(super) fn abort(&mut self, is_meant: impl Fn(u8) -> bool) {
        for index in 0..self.identity.channels {
            let Some(Channel { r#use: Use::Active(active), .. }) = self.channels.get_mut(index) else { continue };
            if !is_meant(active.progress.address()) {
                continue;
            }
            match active.phase {
                Phase::Running => self.stop(index, TransferError::Gone),
                Phase::Halted(_) | Phase::Resting(_) => {
                    active.phase = Phase::Done(Err(TransferError::Gone));
                    active.waker.wake();
                }
                Phase::Stopping(..) | Phase::Done(_) => {}
            }
        }
        // Those that wait for a channel look whether their device is still there.
        self.free_wakers.wake();
    }

    fn read_channel(&self, index: usize, register: ChannelRegister) -> u32 {
        self.registers.read(Register::Channel(index, register))
    }

    pub(super) fn write_channel(&mut self, index: usize, register: ChannelRegister, value: u32) {
        self.registers.write(Register::Channel(index, register), value);
    }

    fn mask_channel(&mut self, index: usize, mask: Hcint) {
        let Some(channel) = self.channels.get_mut(index) else { return };
        if core::mem::replace(&mut channel.hcintmsk, mask.bits()) != mask.bits() {
            self.write_channel(index, ChannelRegister::Hcintmsk, mask.bits());
        }
    }
}
