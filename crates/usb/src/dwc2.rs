//! Driver for the DesignWare Hi-Speed USB 2.0 OTG controller (DWC2) as a host, in buffer DMA mode.
//!
//! A transfer takes a channel, which is programmed, enabled and then halts by itself, done or not. What a halt means and
//! what comes next is decided by [`transfer::Progress`], which touches no register; `channels` moves registers, buffers
//! and wakers. Right after enabling a channel its interrupt register is read once: on QEMU nearly every transfer is over by
//! then and costs neither an interrupt nor a trip through the executor.
//!
//! Two kinds of controller are told apart, once, by their ID registers, see [`identity`].
//!
//! What that comes to in QEMU 10's raspi3b with usb-net on a two-core host, medians: a frame costs five register accesses to
//! send and six to receive; TCP 240 to 390 Mbit/s in and 110 to 280 out, depending on what else the host does; 40 Mbit/s
//! of UDP both ways at once without loss; ping 0.7 ms; the NIC is up 150 ms after the reset vector, 50 ms of which are the
//! reset of the root port.
//!
//! Tested over a model of the registers (`tests/transfers.rs`) and with QEMU's usb-net and usb-hub. Never on a board yet: core
//! initialisation, split transactions and high-speed flow control follow Linux and the specification, but have only
//! met the model.

mod channels;
pub mod identity;
pub mod pace;
pub mod registers;
pub mod split;
mod state;
pub mod transfer;

use core::cell::RefCell;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::{Duration, Instant, Timer};
use hal::dma::DmaBuffer;
use rpi_pac::dwc2::{Gint, Grstctl, Gusbcfg, Hcchar, Hprt0};
use thiserror::Error;

use self::identity::Identity;
use self::registers::{Register, RegisterAccess};
use self::state::State;
use crate::host::{Completion, HostController, Rejected, Request, SettleTimes, Speed, TransferId};

/// How long the AHB master may take to become idle, a core reset to end and a FIFO to be flushed. Linux waits 10 ms for
/// each (6.12, `dwc2_core_reset`, `dwc2_flush_rx_fifo`), U-Boot a second (functions of the same names, dwc2_core.c).
const CORE_TIMEOUT: Duration = Duration::from_millis(50);
/// How long the core takes from FORCE_HOST to host mode at least (Linux commit 97e463886b87, by Synopsys: "25ms according to
/// the databook").
const FORCE_MODE_TIME: Duration = Duration::from_millis(25);
/// How long it may take after that. A filter on the ID pin delays it by up to 100 ms: Linux waits for 110 ms
/// (`dwc2_wait_for_mode`), U-Boot for a second (`dwc2_core_reset`), Circle sleeps for 100 ms (`CDWHCIDevice::Reset`). Until
/// then the registers of a host do not exist, and what is written there is lost.
const HOST_MODE_TIMEOUT: Duration = Duration::from_millis(200);

/// FIFO sizes in words: receive (Linux for the BCM2835, `dwc2_set_bcm_params`), non-periodic and periodic transmit (U-Boot
/// dwc2.h, `DWC2_HOST_NPERIO_TX_FIFO_SIZE` and `DWC2_HOST_PERIO_TX_FIFO_SIZE`; Linux leaves the reset values).
const RX_FIFO: u32 = 774;
const NON_PERIODIC_FIFO: u32 = 256;
const PERIODIC_FIFO: u32 = 512;

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
    /// It does not become a host.
    #[error(
        "the DWC2 stays a device although it was told to be a host (GINTSTS {gintsts:#010x}, GUSBCFG {gusbcfg:#010x})"
    )]
    StaysDevice {
        /// The register whose bit 0 says what it is, at the end of the wait.
        gintsts: u32,
        /// The register that tells it what to be.
        gusbcfg: u32,
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
        Self { state: Mutex::new(RefCell::new(State::new(registers))) }
    }

    /// Resets the core, makes it a host with its root port powered, and unmasks its interrupts.
    ///
    /// # Errors
    ///
    /// See [`InitError`].
    pub async fn init(&self) -> Result<(), InitError> {
        let gsnpsid = self.read(Register::Gsnpsid);
        // "OT" and release 2: Linux `dwc2_check_core_version` and U-Boot `dwc2_init_common` look at the letters.
        if gsnpsid >> 12 != 0x4F542 {
            return Err(InitError::NotThere { gsnpsid });
        }
        let ghwcfg2 = self.read(Register::Ghwcfg2);
        let identity = Identity::new(gsnpsid, self.read(Register::Ghwcfg1), ghwcfg2, self.read(Register::Ghwcfg4));
        if !identity.has_dma {
            return Err(InitError::NoDma { ghwcfg2 });
        }
        self.write(Register::Gahbcfg, 0);
        // The PHY on the chip is UTMI+ with 8 bits, and VBUS is switched by the board. The choice of the PHY counts from
        // the reset on, which keeps it (Linux `dwc2_hs_phy_init`: "Reset after setting the PHY parameters").
        self.modify(Register::Gusbcfg, |usbcfg| {
            let phy = Gusbcfg::ULPI | Gusbcfg::PHY_16_BIT | Gusbcfg::ULPI_EXTERNAL_VBUS | Gusbcfg::TERM_SELECT_PULSE;
            usbcfg & !phy.bits()
        });
        self.wait(|grstctl| grstctl.contains(Grstctl::AHB_IDLE)).await?;
        self.write(Register::Grstctl, Grstctl::CORE_RESET.bits());
        self.wait(|grstctl| !grstctl.contains(Grstctl::CORE_RESET) && grstctl.contains(Grstctl::AHB_IDLE)).await?;
        self.modify(Register::Gusbcfg, |usbcfg| {
            usbcfg & !(Gusbcfg::FORCE_DEVICE | Gusbcfg::SRP | Gusbcfg::HNP).bits() | Gusbcfg::FORCE_HOST.bits()
        });
        if !identity.is_emulator {
            Timer::after(FORCE_MODE_TIME).await;
            self.wait_for_host_mode().await?;
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

    async fn wait_for_host_mode(&self) -> Result<(), InitError> {
        let deadline = Instant::now() + HOST_MODE_TIMEOUT;
        loop {
            let gintsts = self.read(Register::Gintsts);
            if Gint::from_bits_retain(gintsts).contains(Gint::HOST_MODE) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(InitError::StaysDevice { gintsts, gusbcfg: self.read(Register::Gusbcfg) });
            }
            Timer::after_millis(1).await;
        }
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

    fn settle_times(&self) -> SettleTimes {
        // A node that starts in an emulator shall be quick.
        if self.identity().is_emulator { SettleTimes::EMULATED } else { SettleTimes::REAL }
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

    fn start(&self, request: Request, cx: &mut Context<'_>) -> Result<TransferId, Rejected> {
        let outcome = self.with(|state| state.start_transfer(request, cx));
        if let Err(Rejected::Busy(Request { deadline: Some(at), .. })) = &outcome {
            wake_at(*at, cx);
        }
        outcome
    }

    fn poll(&self, id: TransferId, cx: &mut Context<'_>) -> Poll<Completion> {
        let (outcome, again_at) = self.with(|state| state.poll_transfer(id, cx));
        if outcome.is_pending()
            && let Some(at) = again_at
        {
            wake_at(at, cx);
        }
        outcome
    }

    fn forget(&self, id: TransferId) {
        self.with(|state| state.forget(id));
    }

    fn take_returned(&self, len: usize) -> Option<DmaBuffer> {
        self.with(|state| state.take_returned(len))
    }

    fn abort(&self, address: u8) {
        self.with(|state| state.abort(|endpoint| endpoint == address));
    }
}

/// Has the time driver wake a task: a timer that is dropped still does.
/// Returns whether QEMU's model has a transfer under way, in which case it must not be reset (see [`Identity::is_emulator`]).
/// Silicon may be: there it is never so.
///
/// This is for a node that is about to restart and can ask no [`Controller`] any more. One must have been initialised.
pub fn has_held_transfers(registers: &impl RegisterAccess) -> bool {
    let identity = Identity::read(registers);
    identity.is_emulator
        && (0..identity.channels).any(|channel| {
            let hcchar = registers.read(Register::Channel(channel, registers::Channel::Hcchar));
            Hcchar::from_bits_retain(hcchar).contains(Hcchar::ENABLE)
        })
}

fn wake_at(at: Instant, cx: &mut Context<'_>) {
    let _ = pin!(Timer::at(at)).poll(cx);
}
