//! Driver for the DesignWare Hi-Speed USB 2.0 OTG controller (DWC2) as a host, in buffer DMA mode.
//!
//! A transfer takes a channel, which is programmed, enabled and then halts by itself, done or not. What a halt means and
//! what comes next is decided by [`transfer::Progress`], which touches no register; this file moves registers, buffers and
//! wakers. Right after enabling a channel its interrupt register is read once: on QEMU nearly every transfer is over by
//! then and costs neither an interrupt nor a trip through the executor.
//!
//! Two kinds of controller are told apart, once, by their ID registers, see [`identity`].
//!
//! Tested over a model of the registers (`tests/dwc2.rs`) and with QEMU's usb-net and usb-hub. Never on a board yet: core
//! initialisation, split transactions and high-speed flow control follow Linux and the specification, but have only
//! met the model.

pub mod identity;
pub mod pace;
pub mod registers;
pub mod split;
pub mod transfer;

use core::cell::RefCell;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::waitqueue::{MultiWakerRegistration, WakerRegistration};
use embassy_time::{Duration, Instant, Timer};
use hal::dma::{DeviceBuffer, Direction as DmaDirection};
use rpi_pac::dwc2::{CHANNELS_MAX, Gahbcfg, Gint, Grstctl, Gusbcfg, Hcchar, Hcint, Hprt0};
use thiserror::Error;

use self::identity::Identity;
use self::pace::Pace;
use self::registers::{Channel as ChannelRegister, Register, RegisterAccess};
use self::transfer::{Next, Progress};
use crate::host::{Completion, Direction, HostController, Request, Speed, TransferError, TransferId};

/// How long the AHB master may take to become idle, a core reset to end and a FIFO to be flushed. Linux waits 10 to 50 ms
/// (`dwc2_core_reset`, `dwc2_flush_rx_fifo`).
const CORE_TIMEOUT: Duration = Duration::from_millis(50);
/// How long the core may take from FORCE_HOST to host mode: 25 ms in Linux (`dwc2_force_mode`).
const FORCE_MODE_TIME: Duration = Duration::from_millis(25);
/// How long a channel may take to halt after it was told to: it finishes the packet at hand, at most a few frames.
const HALT_TIMEOUT: Duration = Duration::from_millis(10);

/// How long a connection must be stable (USB 2.0, 7.1.7.3: TATTDB).
const DEBOUNCE: Duration = Duration::from_millis(100);

/// FIFO sizes in words: receive, non-periodic and periodic transmit. Those of Linux for the BCM2835
/// (`dwc2_set_bcm_params` for the receive FIFO; the rest of its 4,080 words shared as there).
const RX_FIFO: u32 = 774;
const NON_PERIODIC_FIFO: u32 = 256;
const PERIODIC_FIFO: u32 = 512;

/// Frame intervals in PHY clocks of 60 MHz (8-bit UTMI+): 1 ms, and 125 µs at high speed, less one
/// (Linux `dwc2_calc_frame_interval`).
const FRAME_CLOCKS: u32 = 60_000 - 1;
const MICROFRAME_CLOCKS: u32 = 7_500 - 1;

/// Why the controller could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InitError {
    /// There is no DWC2 at the given address, or it has no power.
    #[error("no DWC2 answers (GSNPSID {gsnpsid:#010x}); is the USB power domain on?")]
    NotThere {
        /// What was read as its ID.
        gsnpsid: u32,
    },
    /// It has no DMA.
    #[error("this DWC2 has no internal DMA (GHWCFG2 {ghwcfg2:#010x})")]
    NoDma {
        /// How it was configured.
        ghwcfg2: u32,
    },
    /// It does not come out of reset.
    #[error("the DWC2 does not come out of reset (GRSTCTL {grstctl:#010x})")]
    Reset {
        /// The register at the end of the wait.
        grstctl: u32,
    },
}

/// What went by, for telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transfers that moved all they could.
    pub completed: u64,
    /// Transfers that ended with an error other than NAK.
    pub failed: u64,
    /// Times the device had nothing, or no room.
    pub naks: u64,
    /// Attempts without a valid answer.
    pub transaction_errors: u64,
    /// Interrupts.
    pub interrupts: u64,
    /// Channels that did not halt when told to.
    pub stuck_channels: u64,
}

enum Phase {
    /// Enabled; `HALTED` will be seen in HCINT.
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
    /// Nobody waits any more, but the controller may still write to this buffer.
    Abandoned {
        _buffer: Option<DeviceBuffer>,
    },
    /// The emulator may still have something in flight here.
    Tainted,
}

struct Channel {
    r#use: Use,
    serial: u32,
    /// What was last written to HCSPLT and HCINTMSK: they rarely change, and each access is a way out of the emulator.
    hcsplt: u32,
    hcintmsk: u32,
    is_tainted: bool,
}

impl Channel {
    const NEW: Self = Self { r#use: Use::Free, serial: 0, hcsplt: 0, hcintmsk: 0, is_tainted: false };

    fn when_over(&mut self) -> Use {
        if core::mem::take(&mut self.is_tainted) { Use::Tainted } else { Use::Free }
    }
}

struct State<R> {
    registers: R,
    identity: Identity,
    channels: [Channel; CHANNELS_MAX],
    next_channel: usize,
    free_wakers: MultiWakerRegistration<8>,
    port_waker: WakerRegistration,
    has_port_changed: bool,
    is_connected: bool,
    is_started: bool,
    pace: Pace,
    counters: Counters,
}

/// A DWC2 as a host.
///
/// Shared between the tasks of one core and that core's interrupt handler.
pub struct Controller<R> {
    state: Mutex<CriticalSectionRawMutex, RefCell<State<R>>>,
}

impl<R: RegisterAccess> Controller<R> {
    /// Takes the registers. Nothing is touched before [`init`](Self::init).
    #[must_use]
    pub fn new(registers: R) -> Self {
        Self {
            state: Mutex::new(RefCell::new(State {
                registers,
                identity: Identity::default(),
                channels: [const { Channel::NEW }; CHANNELS_MAX],
                next_channel: 0,
                free_wakers: MultiWakerRegistration::new(),
                port_waker: WakerRegistration::new(),
                has_port_changed: false,
                is_connected: false,
                is_started: false,
                pace: Pace::default(),
                counters: Counters::default(),
            })),
        }
    }

    /// Resets the core, makes it a host with its root port powered, and unmasks its interrupts.
    ///
    /// # Errors
    ///
    /// See [`InitError`].
    pub async fn init(&self) -> Result<(), InitError> {
        let gsnpsid = self.read(Register::Gsnpsid);
        // "OT2": Linux `dwc2_check_core_version`.
        if gsnpsid >> 12 != 0x4F542 {
            return Err(InitError::NotThere { gsnpsid });
        }
        let ghwcfg2 = self.read(Register::Ghwcfg2);
        let identity = Identity::new(gsnpsid, self.read(Register::Ghwcfg1), ghwcfg2, self.read(Register::Ghwcfg4));
        if !identity.has_dma {
            return Err(InitError::NoDma { ghwcfg2 });
        }
        self.write(Register::Gahbcfg, 0);
        self.modify(Register::Gusbcfg, |usbcfg| {
            // VBUS is switched by the board, not by an ULPI PHY.
            usbcfg & !(Gusbcfg::ULPI_EXTERNAL_VBUS | Gusbcfg::TERM_SELECT_PULSE).bits()
        });
        self.wait(|grstctl| grstctl.contains(Grstctl::AHB_IDLE)).await?;
        self.write(Register::Grstctl, Grstctl::CORE_RESET.bits());
        self.wait(|grstctl| !grstctl.contains(Grstctl::CORE_RESET) && grstctl.contains(Grstctl::AHB_IDLE)).await?;
        // The PHY on the chip is UTMI+ with 8 bits; the core of the emulator has none and starts as a host.
        self.modify(Register::Gusbcfg, |usbcfg| {
            let cleared = Gusbcfg::ULPI | Gusbcfg::PHY_16_BIT | Gusbcfg::FORCE_DEVICE | Gusbcfg::SRP | Gusbcfg::HNP;
            usbcfg & !cleared.bits() | Gusbcfg::FORCE_HOST.bits()
        });
        if !identity.is_emulator {
            Timer::after(FORCE_MODE_TIME).await;
        }
        self.write(Register::Pcgcctl, 0);
        // FSLSPclkSel 0: the PHY clock runs at 30/60 MHz at every speed (Linux `dwc2_init_fs_ls_pclk_sel`).
        self.modify(Register::Hcfg, |hcfg| hcfg & !3);
        self.write(Register::Grxfsiz, RX_FIFO);
        self.write(Register::Gnptxfsiz, NON_PERIODIC_FIFO << 16 | RX_FIFO);
        self.write(Register::Hptxfsiz, PERIODIC_FIFO << 16 | (RX_FIFO + NON_PERIODIC_FIFO));
        if !identity.is_emulator {
            self.write(Register::Grstctl, (Grstctl::TX_FLUSH | Grstctl::TX_ALL).bits());
            self.wait(|grstctl| !grstctl.contains(Grstctl::TX_FLUSH)).await?;
            self.write(Register::Grstctl, Grstctl::RX_FLUSH.bits());
            self.wait(|grstctl| !grstctl.contains(Grstctl::RX_FLUSH)).await?;
        }
        self.with(|state| state.start(identity));
        log::debug!("dwc2: release {:x}, {} channels, {}", gsnpsid & 0xFFFF, identity.channels, identity.kind_name());
        Ok(())
    }

    /// Handles the controller's interrupt: acknowledges, notes what happened, wakes who waits for it.
    pub fn on_interrupt(&self) {
        self.with(State::on_interrupt);
    }

    /// Returns what went by.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.with(|state| state.counters)
    }

    /// Returns what kind of controller this is; meaningful after [`init`](Self::init).
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.with(|state| state.identity)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State<R>) -> T) -> T {
        self.state.lock(|state| f(&mut state.borrow_mut()))
    }

    fn read(&self, register: Register) -> u32 {
        self.with(|state| state.registers.read(register))
    }

    fn write(&self, register: Register, value: u32) {
        self.with(|state| state.registers.write(register, value));
    }

    fn modify(&self, register: Register, f: impl FnOnce(u32) -> u32) {
        self.with(|state| {
            let value = state.registers.read(register);
            state.registers.write(register, f(value));
        });
    }

    async fn wait(&self, is_done: impl Fn(Grstctl) -> bool) -> Result<(), InitError> {
        let deadline = Instant::now() + CORE_TIMEOUT;
        loop {
            let grstctl = self.read(Register::Grstctl);
            if is_done(Grstctl::from_bits_retain(grstctl)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(InitError::Reset { grstctl });
            }
            Timer::after_micros(100).await;
        }
    }
}

impl<R: RegisterAccess> HostController for Controller<R> {
    fn is_connected(&self) -> bool {
        self.with(|state| state.is_started && state.port().contains(Hprt0::CONNECTED))
    }

    fn poll_port_change(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|state| {
            if core::mem::take(&mut state.has_port_changed) {
                return Poll::Ready(());
            }
            state.port_waker.register(cx.waker());
            Poll::Pending
        })
    }

    fn debounce(&self) -> Duration {
        // Nothing bounces in an emulator, and a node that starts there shall be quick.
        if self.identity().is_emulator { Duration::from_millis(0) } else { DEBOUNCE }
    }

    fn set_port_reset(&self, is_on: bool) {
        self.with(|state| {
            let port = state.port();
            state.write_port(if is_on { port | Hprt0::RESET } else { port - Hprt0::RESET });
        });
    }

    fn enabled_speed(&self) -> Option<Speed> {
        self.with(State::enabled_speed)
    }

    fn start(&self, request: Request, cx: &mut Context<'_>) -> Result<TransferId, Request> {
        self.with(|state| state.start_transfer(request, cx))
    }

    fn poll(&self, id: TransferId, cx: &mut Context<'_>) -> Poll<Completion> {
        let (outcome, wake_at) = self.with(|state| state.poll_transfer(id, cx));
        if outcome.is_pending()
            && let Some(at) = wake_at
        {
            // Has the time driver wake this task; a timer that is dropped still does.
            let _ = pin!(Timer::at(at)).poll(cx);
        }
        outcome
    }

    fn forget(&self, id: TransferId) {
        self.with(|state| state.forget(id));
    }

    fn abort(&self, address: u8) {
        self.with(|state| state.abort(|endpoint| endpoint == address));
    }
}

impl<R: RegisterAccess> State<R> {
    /// The last steps of the initialisation: from here on interrupts come.
    fn start(&mut self, identity: Identity) {
        self.identity = identity;
        self.pace = Pace::new(identity.is_emulator);
        for index in 0..identity.channels {
            self.write_channel(index, ChannelRegister::Hcintmsk, 0);
            self.write_channel(index, ChannelRegister::Hcsplt, 0);
            self.write_channel(index, ChannelRegister::Hcint, u32::MAX);
        }
        self.registers.write(Register::Haintmsk, (1 << identity.channels) - 1);
        self.registers.write(Register::Gintsts, u32::MAX);
        self.registers.write(Register::Gintmsk, (Gint::PORT | Gint::CHANNEL | Gint::DISCONNECT).bits());
        let ahb = Gahbcfg::DMA | Gahbcfg::WAIT_AXI_WRITES | Gahbcfg::GLOBAL_INTERRUPT;
        self.registers.write(Register::Gahbcfg, ahb.bits());
        let port = self.port();
        self.write_port(port | Hprt0::POWER);
        self.is_started = true;
        self.is_connected = port.contains(Hprt0::CONNECTED);
        self.has_port_changed = true;
        self.port_waker.wake();
    }

    fn on_interrupt(&mut self) {
        self.counters.interrupts += 1;
        let pending = Gint::from_bits_retain(self.registers.read(Register::Gintsts));
        if pending.contains(Gint::CHANNEL) {
            let mut channels = self.registers.read(Register::Haint);
            while channels != 0 {
                let index = channels.trailing_zeros() as usize;
                channels &= channels - 1;
                self.on_channel_interrupt(index);
            }
        }
        if pending.intersects(Gint::PORT | Gint::DISCONNECT) {
            let port = self.port();
            // Writing the change bits back clears them and with them PORT.
            let changes = port & (Hprt0::CONNECT_CHANGE | Hprt0::ENABLE_CHANGE | Hprt0::OVERCURRENT_CHANGE);
            self.registers.write(Register::Hprt0, ((port - Hprt0::W1C) | changes).bits());
            self.registers.write(Register::Gintsts, Gint::DISCONNECT.bits());
            self.on_port_change(port);
        }
    }

    fn on_channel_interrupt(&mut self, index: usize) {
        let hcint = Hcint::from_bits_retain(self.read_channel(index, ChannelRegister::Hcint));
        self.write_channel(index, ChannelRegister::Hcint, hcint.bits());
        self.mask_channel(index, Hcint::empty());
        let Some(channel) = self.channels.get_mut(index) else { return };
        match &mut channel.r#use {
            Use::Active(active) => {
                match active.phase {
                    Phase::Running => active.phase = Phase::Halted(hcint),
                    Phase::Stopping(error, _) => active.phase = Phase::Done(Err(error)),
                    _ => {}
                }
                active.waker.wake();
            }
            Use::Abandoned { .. } => self.set_free(index),
            Use::Free | Use::Tainted => {}
        }
    }

    fn on_port_change(&mut self, port: Hprt0) {
        self.is_connected = port.contains(Hprt0::CONNECTED);
        if !self.is_connected {
            self.abort(|_| true);
        } else if let Some(speed) = self.enabled_speed() {
            let clocks = if speed == Speed::High { MICROFRAME_CLOCKS } else { FRAME_CLOCKS };
            self.registers.write(Register::Hfir, clocks);
        }
        self.has_port_changed = true;
        self.port_waker.wake();
    }

    fn port(&self) -> Hprt0 {
        Hprt0::from_bits_retain(self.registers.read(Register::Hprt0))
    }

    /// Writes the port register without clearing anything by accident.
    fn write_port(&mut self, port: Hprt0) {
        self.registers.write(Register::Hprt0, (port - Hprt0::W1C).bits());
    }

    fn enabled_speed(&mut self) -> Option<Speed> {
        let port = self.port();
        if !port.contains(Hprt0::CONNECTED | Hprt0::ENABLED) || port.contains(Hprt0::RESET) {
            return None;
        }
        match (port & Hprt0::SPEED).bits() >> 17 {
            0 => Some(Speed::High),
            1 => Some(Speed::Full),
            _ => Some(Speed::Low),
        }
    }

    fn start_transfer(&mut self, request: Request, cx: &mut Context<'_>) -> Result<TransferId, Request> {
        let Some(index) = self.find_free() else {
            self.free_wakers.register(cx.waker());
            return Err(request);
        };
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
            return Err(Request { endpoint, pid, buffer: buffer.unshare_first(0), len, deadline });
        };
        channel.serial = channel.serial.wrapping_add(1);
        let id = TransferId { index, serial: channel.serial };
        let phase = match (fits, self.is_connected) {
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
        self.reclaim_tainted()
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
        let address = buffer.bus_addr().0 + program.offset as u64;
        active.phase = Phase::Running;
        let old_hcsplt = core::mem::replace(hcsplt, program.hcsplt);
        let mut hcchar = program.hcchar;
        if program.is_periodic && !self.identity.is_emulator {
            // A periodic transfer is for the next frame: odd if this one is even.
            let frame = self.registers.read(Register::Hfnum);
            hcchar.set(Hcchar::ODD_FRAME, frame & 1 == 0);
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
                    if active.progress.is_bulk() && matches!(result, Ok(1..)) {
                        self.pace.note_traffic(Instant::now());
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
    fn poll_transfer(&mut self, id: TransferId, cx: &Context<'_>) -> (Poll<Completion>, Option<Instant>) {
        self.advance(id.index);
        let Some(channel) = self.channels.get_mut(id.index).filter(|channel| channel.serial == id.serial) else {
            return (Poll::Pending, None);
        };
        let Use::Active(active) = &mut channel.r#use else { return (Poll::Pending, None) };
        if let Phase::Done(_) = active.phase {
            return (Poll::Ready(self.complete(id.index)), None);
        }
        active.waker.register(cx.waker());
        let now = Instant::now();
        let is_late = active.deadline.is_some_and(|deadline| now >= deadline);
        match active.phase {
            Phase::Resting(_) if is_late => active.phase = Phase::Done(Err(TransferError::Timeout)),
            Phase::Resting(at) if now < at => {
                return (Poll::Pending, Some(active.deadline.map_or(at, |deadline| deadline.min(at))));
            }
            Phase::Resting(_) => {
                self.enable(id.index);
                self.advance(id.index);
            }
            Phase::Running if is_late => self.stop(id.index, TransferError::Timeout),
            Phase::Running => return (Poll::Pending, active.deadline),
            Phase::Stopping(error, give_up) if now >= give_up => {
                self.counters.stuck_channels += 1;
                let hcchar = self.read_channel(id.index, ChannelRegister::Hcchar);
                log::error!("dwc2: channel {} does not halt (HCCHAR {hcchar:#010x})", id.index);
                return (Poll::Ready(self.abandon(id.index, error)), None);
            }
            Phase::Stopping(_, give_up) => return (Poll::Pending, Some(give_up)),
            Phase::Halted(_) | Phase::Done(_) => {}
        }
        // The phase changed: look at the new one.
        match self.channels.get(id.index).map(|channel| &channel.r#use) {
            Some(Use::Active(Active { phase: Phase::Done(_), .. })) => (Poll::Ready(self.complete(id.index)), None),
            Some(Use::Active(Active { phase: Phase::Resting(at), deadline, .. })) => {
                (Poll::Pending, Some(deadline.map_or(*at, |deadline| deadline.min(*at))))
            }
            Some(Use::Active(Active { phase: Phase::Stopping(_, give_up), .. })) => (Poll::Pending, Some(*give_up)),
            Some(Use::Active(Active { deadline, .. })) => (Poll::Pending, *deadline),
            _ => (Poll::Pending, None),
        }
    }

    /// Tells a running channel to halt.
    fn stop(&mut self, index: usize, error: TransferError) {
        let is_over = self.disable(index);
        let Some(Channel { r#use: Use::Active(active), .. }) = self.channels.get_mut(index) else { return };
        active.phase =
            if is_over { Phase::Done(Err(error)) } else { Phase::Stopping(error, Instant::now() + HALT_TIMEOUT) };
        active.waker.wake();
    }

    /// Tells a channel to halt; returns whether there is nothing to wait for.
    fn disable(&mut self, index: usize) -> bool {
        let hcchar = Hcchar::from_bits_retain(self.read_channel(index, ChannelRegister::Hcchar));
        if !self.identity.is_emulator {
            self.mask_channel(index, Hcint::HALTED);
            self.write_channel(index, ChannelRegister::Hcchar, (hcchar | Hcchar::ENABLE | Hcchar::DISABLE).bits());
            return false;
        }
        // See `Identity::is_emulator` for why the channel must rest.
        let was_running = hcchar.contains(Hcchar::ENABLE) && self.port().contains(Hprt0::ENABLED);
        self.mask_channel(index, Hcint::empty());
        self.write_channel(index, ChannelRegister::Hcchar, (hcchar | Hcchar::DISABLE).bits());
        self.write_channel(index, ChannelRegister::Hcint, u32::MAX);
        if let Some(channel) = self.channels.get_mut(index) {
            channel.is_tainted = was_running;
        }
        true
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

    /// Ends a transfer whose channel would not halt: the channel keeps the buffer.
    fn abandon(&mut self, index: usize, error: TransferError) -> Completion {
        let Some(channel) = self.channels.get_mut(index) else { return Self::nothing() };
        let Use::Active(active) = core::mem::replace(&mut channel.r#use, Use::Free) else { return Self::nothing() };
        let next_pid = active.progress.next_pid();
        channel.r#use = Use::Abandoned { _buffer: active.buffer };
        self.counters.failed += 1;
        Completion { buffer: None, result: Err(error), next_pid }
    }

    fn nothing() -> Completion {
        Completion { buffer: None, result: Err(TransferError::Gone), next_pid: crate::host::Pid::Data0 }
    }

    fn forget(&mut self, id: TransferId) {
        let Some(channel) = self.channels.get_mut(id.index).filter(|channel| channel.serial == id.serial) else {
            return;
        };
        let Use::Active(active) = &mut channel.r#use else { return };
        let buffer = active.buffer.take();
        if matches!(active.phase, Phase::Running | Phase::Stopping(..)) {
            channel.r#use = Use::Abandoned { _buffer: buffer };
            if self.disable(id.index) {
                self.set_free(id.index);
            }
        } else {
            self.set_free(id.index);
        }
    }

    fn set_free(&mut self, index: usize) {
        if let Some(channel) = self.channels.get_mut(index) {
            channel.r#use = channel.when_over();
        }
        self.free_wakers.wake();
    }

    fn abort(&mut self, is_meant: impl Fn(u8) -> bool) {
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
    }

    fn read_channel(&self, index: usize, register: ChannelRegister) -> u32 {
        self.registers.read(Register::Channel(index, register))
    }

    fn write_channel(&mut self, index: usize, register: ChannelRegister, value: u32) {
        self.registers.write(Register::Channel(index, register), value);
    }

    fn mask_channel(&mut self, index: usize, mask: Hcint) {
        let Some(channel) = self.channels.get_mut(index) else { return };
        if core::mem::replace(&mut channel.hcintmsk, mask.bits()) != mask.bits() {
            self.write_channel(index, ChannelRegister::Hcintmsk, mask.bits());
        }
    }
}
