//! A model of GENET v5 with its PHY, on the level of its registers.
//!
//! It takes its time as the hardware does (DMAs stop late, MDIO is busy, frames are on the wire for a while), reads and
//! writes buffers only where the driver has handed them over, and writes down what a driver must not do
//! ([`Genet::errors`]). Faults are injected by [`Genet::faults`].
//!
//! [`machine`] is what makes time pass for it; [`interrupt`] is the line to the interrupt controller.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use embassy_futures::select::select;
use embassy_time::{Duration, Instant, Timer};
use safe_mmio::UniqueMmioPointer;

use self::direction::{Direction, Kind, SIZE};
pub use self::phy::Partner;
use self::phy::Phy;
use crate::dma::FakeDma;
use crate::mmio::{self, Model};

mod direction;
mod phy;
mod registers;

/// Block and model, as the tests hold them.
pub type Claimed = (UniqueMmioPointer<'static, rpi_pac::genet::Registers>, Model<Genet>);

const REVISION: u32 = 0x0600_0000;
/// What an MDIO transfer takes: 64 bits at 1.56 MHz.
const MDIO_TIME: Duration = Duration::from_micros(41);
/// The least that a reset must last (Linux reset_umac: 2 µs).
const RESET_TIME: Duration = Duration::from_micros(2);
/// Frames that the receive FIFO holds while the DMA can't.
const FIFO_FRAMES: usize = 16;
/// RX interrupt of the default ring, and TX.
const RX_DONE: u32 = 1 << 13;
const TX_DONE: u32 = 1 << 16;
const TX_EN: u32 = 1;
const RX_EN: u32 = 2;
const PROMISC: u32 = 1 << 4;
const HALF_DUPLEX: u32 = 1 << 10;
const SW_RESET: u32 = 1 << 13;
const LOOP: u32 = 1 << 15;
/// Bits of the command register that are known (see `rpi_pac::genet::Command`).
const COMMAND_MASK: u32 = 0x1000_0000 | LOOP | SW_RESET | HALF_DUPLEX | 1 << 8 | 0x5f;
/// In the flush control.
const MAC_RESET: u32 = 1 << 1;
const SOP_EOP: u32 = 0x6000;
const APPEND_CRC: u32 = 0x40;
const NO_TAG: u32 = 0x3f << 7;
/// A received frame's status bits for its destination.
const BROADCAST: u32 = 0x40;
const MULTICAST: u32 = 0x20;

/// What goes wrong on purpose.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Status of the next received frames: these bits are set.
    pub rx_set: VecDeque<u32>,
    /// Status of the next received frames: these bits are cleared.
    pub rx_clear: VecDeque<u32>,
    /// Length of the next received frames, as told.
    pub rx_len: VecDeque<u32>,
    /// So many interrupts are lost.
    pub lost_interrupts: u32,
    /// Nothing is sent until the MAC is reset.
    pub is_tx_stalled: bool,
    /// Nothing leaves the receive FIFO until the MAC is reset.
    pub is_rx_stalled: bool,
    /// MDIO never ends.
    pub is_mdio_stuck: bool,
    /// The transmit index makes a jump the next time it is read while the ring runs.
    pub tx_index_jump: u16,
}

/// The controller.
pub struct Genet {
    dma: &'static FakeDma,
    /// The PHY.
    pub phy: Phy,
    /// Faults to come.
    pub faults: Faults,
    /// Frames that were sent, without FCS.
    pub sent: VecDeque<Vec<u8>>,
    /// How many were sent, ever.
    pub sent_count: u64,
    /// Frames that the driver's set-up lost: wrong speed, duplex or clock delay.
    pub lost_by_setup: u64,
    /// Frames for other stations or groups, thrown away by the filter.
    pub filtered: u64,
    rx: Direction,
    tx: Direction,
    fifo: VecDeque<Vec<u8>>,
    overflows: u32,
    stat: u32,
    mask: u32,
    waits_without_reason: u32,
    cmd: u32,
    reset_at: Option<Instant>,
    mac: [u32; 2],
    is_mac_set: bool,
    mdf_ctrl: u32,
    mdf: [[u32; 2]; 17],
    port_ctrl: u32,
    oob: u32,
    rbuf_ctrl: u32,
    flush: u32,
    eee_ctrl: u32,
    energy: [u32; 2],
    mib_good: [u32; 2],
    mdio: u32,
    mdio_cfg: u32,
    mdio_done: Option<Instant>,
    tx_done_at: Option<Instant>,
    machine: Option<Waker>,
    line: Option<Waker>,
    errors: Vec<String>,
}

/// Makes a controller as the firmware leaves it without network boot.
#[must_use]
pub fn claim(dma: &'static FakeDma) -> Claimed {
    mmio::claim(Genet::new(dma))
}

/// Makes time pass for a controller: frames leave, and interrupts are raised. Run it beside the driver.
pub async fn machine(model: &Model<Genet>) -> ! {
    loop {
        let due = {
            let mut genet = model.lock();
            genet.progress();
            genet.tx_done_at
        };
        let changed = poll_once(|waker| model.lock().machine = Some(waker));
        match due {
            Some(at) => {
                select(changed, Timer::at(at)).await;
            }
            None => changed.await,
        }
    }
}

/// Waits until line A is raised, like the interrupt controller that then masks it.
///
/// # Panics
///
/// When the driver waits again and again and never takes the reason away: it would go on for ever.
pub async fn interrupt(model: &Model<Genet>) {
    poll_fn(|cx| {
        let mut genet = model.lock();
        if genet.stat & !genet.mask == 0 {
            genet.line = Some(cx.waker().clone());
            return Poll::Pending;
        }
        genet.waits_without_reason += 1;
        assert!(genet.waits_without_reason <= 100, "waits for an interrupt that is never taken away");
        Poll::Ready(())
    })
    .await;
}

async fn poll_once(mut register: impl FnMut(Waker)) {
    let mut is_polled = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_polled, true) {
            return Poll::Ready(());
        }
        register(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

impl Genet {
    fn new(dma: &'static FakeDma) -> Self {
        Self {
            dma,
            phy: Phy::new(),
            faults: Faults::default(),
            sent: VecDeque::new(),
            sent_count: 0,
            lost_by_setup: 0,
            filtered: 0,
            rx: Direction::new(Kind::Receive),
            tx: Direction::new(Kind::Transmit),
            fifo: VecDeque::new(),
            overflows: 0,
            stat: 0,
            mask: u32::MAX,
            waits_without_reason: 0,
            cmd: 0,
            reset_at: None,
            mac: [0; 2],
            is_mac_set: false,
            mdf_ctrl: 0,
            mdf: [[0; 2]; 17],
            port_ctrl: 0,
            // As a boot loader leaves it that takes the other view of ID_MODE_DIS.
            oob: 0x00f1_0000,
            rbuf_ctrl: 0xc040,
            // In reset, as on some chips.
            flush: MAC_RESET,
            eee_ctrl: 0x48,
            energy: [3; 2],
            mib_good: [0; 2],
            mdio: 0,
            // As measured behind Linux: several times the clock that a Pi 400 allows.
            mdio_cfg: 0x91,
            mdio_done: None,
            tx_done_at: None,
            machine: None,
            line: None,
            errors: vec![],
        }
    }

    /// The MAC has no registers while it is in reset.
    fn check_reset(&mut self, offset: usize) {
        if (0x800..0x2000).contains(&offset) && self.flush & MAC_RESET != 0 {
            self.error(&format!("touches {offset:#x} while the MAC is in reset"));
        }
    }

    /// Leaves the controller as a network boot does: both rings run, somewhere in their counts, with interrupts unmasked,
    /// and the receive DMA writes to memory of the boot loader. With `is_sticky` counts and pointers keep their values
    /// whatever is written to them.
    pub fn boot_from_network(&mut self, is_sticky: bool) {
        self.rx.leave_running(0x7ff3, 17, 5);
        self.tx.leave_running(0xfff9, 200, 0);
        (self.rx.is_sticky, self.tx.is_sticky) = (is_sticky, is_sticky);
        self.flush = 0;
        self.cmd = TX_EN | RX_EN | 2 << 2;
        self.mask = 0;
        self.stat = RX_DONE | TX_DONE;
        self.is_mac_set = true;
    }

    /// Makes both DMAs refuse to stop, or lets them again.
    pub fn refuse_to_stop(&mut self, refuse: bool) {
        (self.rx.is_unstoppable, self.tx.is_unstoppable) = (refuse, refuse);
    }

    /// Returns what the driver did that it must not.
    #[must_use]
    pub fn errors(&self) -> Vec<&String> {
        self.errors.iter().chain(&self.phy.errors).chain(&self.rx.errors).chain(&self.tx.errors).collect()
    }

    /// Returns the counts of both rings: the controller's and the driver's, receive first.
    #[must_use]
    pub fn indices(&self) -> [(u16, u16); 2] {
        [(self.rx.hw_index, self.rx.sw_index), (self.tx.hw_index, self.tx.sw_index)]
    }

    /// Returns whether everything that saves energy is off.
    #[must_use]
    pub fn saves_no_energy(&self) -> bool {
        self.eee_ctrl & 8 == 0 && self.energy == [0; 2] && !self.phy.offers_eee()
    }

    /// Returns the MAC's command register.
    #[must_use]
    pub fn command(&self) -> u32 {
        self.cmd
    }

    /// A frame arrives on the wire, without FCS.
    ///
    /// # Panics
    ///
    /// When it is shorter than Ethernet allows: the test is wrong.
    pub fn receive(&mut self, frame: &[u8]) {
        assert!(frame.len() >= 60, "a frame of {} bytes", frame.len());
        self.progress();
        if self.phy.link().is_none() || self.cmd & (SW_RESET | RX_EN) != RX_EN {
            return;
        }
        if !self.is_set_up() {
            self.lost_by_setup += 1;
            return;
        }
        self.mib_good[0] = self.mib_good[0].wrapping_add(1);
        if !self.passes(frame) {
            self.filtered += 1;
            return;
        }
        self.drain_fifo();
        if self.fifo.len() < FIFO_FRAMES {
            self.fifo.push_back(frame.to_vec());
            self.drain_fifo();
        } else {
            self.overflows += 1;
        }
    }

    /// Returns whether MAC, RGMII and PHY agree about the wire.
    fn is_set_up(&self) -> bool {
        let Some((speed, is_full)) = self.phy.link() else { return false };
        let told = [10, 100, 1000, 2500][(self.cmd >> 2 & 3) as usize];
        told == speed
            && (self.cmd & HALF_DUPLEX == 0) == is_full
            && self.oob & (1 << 16 | 1 << 6 | 1 << 5 | 1 << 4) == 1 << 6 | 1 << 4
            && self.port_ctrl == 3
            && self.phy.has_delays_right()
            && self.cmd & LOOP == 0
    }

    fn passes(&self, frame: &[u8]) -> bool {
        if self.cmd & PROMISC != 0 {
            return true;
        }
        let high = u32::from(frame[0]) << 8 | u32::from(frame[1]);
        let low = u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]]);
        if self.mdf_ctrl == 0 {
            let own = [self.mac[0] >> 16, self.mac[0] << 16 | self.mac[1]];
            return frame[0] & 1 != 0 || own == [high, low];
        }
        (0..17).any(|n| self.mdf_ctrl >> (16 - n) & 1 != 0 && self.mdf[n] == [high, low])
    }

    /// Moves frames from the FIFO to memory.
    fn drain_fifo(&mut self) {
        while !self.fifo.is_empty() && self.rx.is_running() && !self.faults.is_rx_stalled {
            let Some(frame) = self.fifo.pop_front() else { return };
            if self.rx.has_work() {
                self.store(&frame);
            } else {
                self.rx.discards = self.rx.discards.saturating_add(1);
            }
        }
    }

    fn store(&mut self, frame: &[u8]) {
        let address = self.rx.current().address();
        // The padding is not zero, and not for the driver.
        let mut bytes = vec![0xee; if self.rbuf_ctrl & 2 != 0 { 2 } else { 0 }];
        if self.rbuf_ctrl & 1 != 0 {
            bytes.splice(0..0, vec![0x64; 64]);
        }
        bytes.extend_from_slice(frame);
        let is_allowed = self.dma.is_shared(address, self.rx.buffer_len()) && bytes.len() <= self.rx.buffer_len();
        if is_allowed {
            self.dma.device_write(address, &bytes);
        } else {
            self.error(&format!("receives to {address:?}, which it was not given"));
        }
        let kind = match frame[0] {
            0xff => BROADCAST,
            group if group & 1 != 0 => MULTICAST,
            _ => 0,
        };
        let set = self.faults.rx_set.pop_front().unwrap_or_default();
        let clear = self.faults.rx_clear.pop_front().unwrap_or_default();
        let len = self.faults.rx_len.pop_front().unwrap_or(bytes.len() as u32);
        self.rx.current().length_status = len << 16 | (SOP_EOP | kind | set) & !clear;
        if self.rx.advance() {
            self.raise(RX_DONE);
        }
    }

    /// Does what was due by now.
    fn progress(&mut self) {
        while let Some(at) = self.tx_done_at.filter(|at| Instant::now() >= *at) {
            self.tx_done_at = None;
            self.finish_sending();
            self.start_sending(at);
        }
        if self.mdio_done.is_some_and(|at| Instant::now() >= at) && !self.faults.is_mdio_stuck {
            self.mdio_done = None;
            self.finish_mdio();
        }
    }

    fn can_send(&self) -> bool {
        self.tx.is_running()
            && self.tx.has_work()
            && self.cmd & (SW_RESET | TX_EN) == TX_EN
            && !self.faults.is_tx_stalled
    }

    /// Puts the next frame on the wire, if there is one.
    fn start_sending(&mut self, at: Instant) {
        if self.tx_done_at.is_some() || !self.can_send() {
            return;
        }
        let len = self.tx.current().length_status >> 16 & 0xfff;
        let speed = [10, 100, 1000, 2500][(self.cmd >> 2 & 3) as usize];
        // With preamble, FCS and gap.
        let bits = u64::from(len + 24) * 8;
        self.tx_done_at = Some(at + Duration::from_micros((bits / speed).max(1)));
        if let Some(waker) = self.machine.take() {
            waker.wake();
        }
    }

    fn finish_sending(&mut self) {
        if !self.can_send() {
            return;
        }
        let descriptor = *self.tx.current();
        let status = descriptor.length_status;
        let len = (status >> 16 & 0xfff) as usize;
        if status & 0xf000_ffff != SOP_EOP | APPEND_CRC | NO_TAG {
            self.error(&format!("sends with status {status:#010x}"));
        }
        if !(60..=1518).contains(&len) {
            self.error(&format!("sends {len} bytes"));
        }
        if self.dma.is_shared(descriptor.address(), len) {
            let frame = self.dma.device_read(descriptor.address(), len);
            if self.is_set_up() {
                self.sent.push_back(frame);
                self.sent_count += 1;
                self.mib_good[1] = self.mib_good[1].wrapping_add(1);
            } else if self.phy.link().is_some() {
                self.lost_by_setup += 1;
            }
        } else {
            self.error(&format!("sends from {:?}, which it was not given", descriptor.address()));
        }
        if self.tx.advance() {
            self.raise(TX_DONE);
        }
    }

    fn raise(&mut self, interrupt: u32) {
        if self.faults.lost_interrupts > 0 {
            self.faults.lost_interrupts -= 1;
            return;
        }
        self.stat |= interrupt;
        self.waits_without_reason = 0;
        self.update_line();
    }

    fn update_line(&mut self) {
        if self.stat & !self.mask != 0
            && let Some(waker) = self.line.take()
        {
            waker.wake();
        }
    }

    fn finish_mdio(&mut self) {
        let cmd = std::mem::take(&mut self.mdio) & !(1 << 29);
        let (address, register) = ((cmd >> 21 & 0x1f) as u8, (cmd >> 16 & 0x1f) as u8);
        let is_answered = self.phy.is_present && address == self.phy.address;
        self.mdio = match cmd >> 26 & 3 {
            1 => {
                if is_answered {
                    self.phy.write(register, cmd as u16);
                }
                cmd
            }
            2 if is_answered => cmd & 0xffff_0000 | u32::from(self.phy.read(register)),
            2 => cmd | 1 << 28 | 0xffff,
            _ => {
                self.error(&format!("MDIO command {cmd:#010x}"));
                cmd
            }
        };
    }

    fn write_command(&mut self, value: u32) {
        if value & !COMMAND_MASK != 0 {
            self.error(&format!("command {value:#x} with bits that nobody knows"));
        }
        let (was, is) = (self.cmd & SW_RESET != 0, value & SW_RESET != 0);
        if is && !was {
            if value & LOOP == 0 && self.phy.link().is_none() {
                self.error("resets the MAC without a receive clock");
            }
            if self.cmd & (TX_EN | RX_EN) != 0 || self.rx.is_running() || self.tx.is_running() {
                self.error("resets the MAC while it runs");
            }
            self.reset_at = Some(Instant::now());
            self.reset();
        } else if was && !is && self.reset_at.is_none_or(|at| at.elapsed() < RESET_TIME) {
            self.error("ends the reset of the MAC too early");
        }
        if value & (TX_EN | RX_EN) != 0 {
            if !self.is_mac_set {
                self.error("enables the MAC before it has an address");
            }
            if value & (SW_RESET | LOOP) != 0 {
                self.error("enables the MAC while it is reset");
            }
            if !self.rx.is_running() || !self.tx.is_running() {
                self.error("enables the MAC before its DMA");
            }
        }
        self.cmd = value;
        self.start_sending(Instant::now());
    }

    fn reset(&mut self) {
        self.is_mac_set = false;
        self.faults.is_tx_stalled = false;
        self.faults.is_rx_stalled = false;
        self.fifo.clear();
        self.tx_done_at = None;
    }

    fn error(&mut self, text: &str) {
        self.errors.push(text.to_owned());
    }
}

const _: () = assert!(SIZE as usize == rpi_pac::genet::DESCRIPTORS);
