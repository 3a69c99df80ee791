//! The state behind a controller: its root port and its interrupts. Its transfers are in [`super::channels`].

use embassy_sync::waitqueue::{MultiWakerRegistration, WakerRegistration};
use hal::dma::DeviceBuffer;
use rpi_pac::dwc2::{CHANNELS_MAX, Gahbcfg, Gint, Hprt0};

use super::Counters;
use super::channels::Channel;
use super::identity::Identity;
use super::pace::Pace;
use super::registers::{Channel as ChannelRegister, Register, RegisterAccess};
use crate::host::Speed;

/// Frame intervals in PHY clocks of 60 MHz (8-bit UTMI+): 1 ms, and 125 µs at high speed, less one
/// (Linux `dwc2_calc_frame_interval`).
const FRAME_CLOCKS: u32 = 60_000 - 1;
const MICROFRAME_CLOCKS: u32 = 7_500 - 1;

/// What the tasks and the interrupt handler share.
pub(super) struct State<R> {
    pub(super) registers: R,
    pub(super) identity: Identity,
    pub(super) channels: [Channel; CHANNELS_MAX],
    pub(super) next_channel: usize,
    pub(super) free_wakers: MultiWakerRegistration<8>,
    pub(super) port_waker: WakerRegistration,
    pub(super) has_port_changed: bool,
    /// Whether traffic passes the root port, as of its last change.
    pub(super) is_enabled: bool,
    pub(super) is_started: bool,
    pub(super) pace: Pace,
    pub(super) counters: Counters,
    /// Buffers of transfers that were given up, of which the controller has let go since.
    pub(super) returned: heapless::Vec<DeviceBuffer, CHANNELS_MAX>,
}

impl<R: RegisterAccess> State<R> {
    pub(super) fn new(registers: R) -> Self {
        Self {
            registers,
            identity: Identity::default(),
            channels: [const { Channel::NEW }; CHANNELS_MAX],
            next_channel: 0,
            free_wakers: MultiWakerRegistration::new(),
            port_waker: WakerRegistration::new(),
            has_port_changed: false,
            is_enabled: false,
            is_started: false,
            pace: Pace::default(),
            counters: Counters::default(),
            returned: heapless::Vec::new(),
        }
    }

    /// The last steps of the initialisation: from here on interrupts come.
    pub(super) fn start(&mut self, identity: Identity) {
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
        self.has_port_changed = true;
        self.port_waker.wake();
    }

    pub(super) fn on_interrupt(&mut self) {
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

    pub(super) fn on_port_change(&mut self, port: Hprt0) {
        self.is_enabled = port.contains(Hprt0::CONNECTED | Hprt0::ENABLED);
        if !self.is_enabled {
            self.abort(|_| true);
        } else if let Some(speed) = self.enabled_speed() {
            let clocks = if speed == Speed::High { MICROFRAME_CLOCKS } else { FRAME_CLOCKS };
            self.registers.write(Register::Hfir, clocks);
        }
        self.has_port_changed = true;
        self.port_waker.wake();
    }

    pub(super) fn port(&self) -> Hprt0 {
        Hprt0::from_bits_retain(self.registers.read(Register::Hprt0))
    }

    /// Writes the port register without clearing anything by accident.
    pub(super) fn write_port(&mut self, port: Hprt0) {
        self.registers.write(Register::Hprt0, (port - Hprt0::W1C).bits());
    }

    pub(super) fn enabled_speed(&mut self) -> Option<Speed> {
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
}
