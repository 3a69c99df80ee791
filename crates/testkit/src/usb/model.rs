//! The registers of the DWC2, and what happens behind them.

mod channels;
mod endpoint;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ::usb::dwc2::Controller;
use ::usb::dwc2::registers::{Channel as ChannelRegister, Register, RegisterAccess};
use ::usb::host::Speed;
use embassy_time::{Duration, Instant, Timer};
use rpi_pac::dwc2::{Gahbcfg, Gint, Grstctl, Gusbcfg, Hcchar, Hcint, Hprt0};

use super::device::Node;

use crate::dma::FakeDma;

/// Channels of the model.
const CHANNELS: usize = 8;
/// How long silicon takes to become a host: the filter on the ID pin.
const HOST_MODE_TIME: Duration = Duration::from_millis(100);
/// GUSBCFG bits that choose the PHY, and count from a core reset on (Linux `dwc2_hs_phy_init`).
const PHY: Gusbcfg = Gusbcfg::ULPI.union(Gusbcfg::PHY_16_BIT);
/// A choice that is wrong for the one on the chip.
const OTHER_PHY: Gusbcfg = Gusbcfg::PHY_16_BIT;
/// Packets of one channel in a microframe.
const PACKETS: usize = 4;

/// Which DWC2 the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// QEMU's (hw/usb/hcd-dwc2.c).
    Emulator,
    /// A real one, as far as the specification goes.
    Silicon,
}

/// What goes wrong with one transaction. Silicon only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer, or a damaged one.
    NoAnswer,
    /// The data toggle is wrong.
    Toggle,
    /// The device sends too much.
    Babble,
    /// The endpoint stalls.
    Stall,
    /// The controller can't reach memory.
    Dma,
    /// The controller can't reach memory, says so, and goes on.
    DmaGoesOn,
    /// A periodic transaction did not fit its frame.
    Overrun,
    /// The device takes a packet but asks to be pinged before the next.
    Nyet,
    /// The device has no room yet.
    Nak,
    /// The hub is not through with the transaction (complete-splits only).
    SplitPending,
    /// The channel does not halt any more, whatever it is told, until [`Model::release_hung`].
    Hang,
    /// The channel halts and does not tell.
    SilentHalt,
    /// The channel goes on until it is told to halt, and then halts and does not tell.
    SilentStop,
    /// The channel halts for no reason that it tells.
    Unexplained,
    /// After the channel has halted, more bits turn up in HCINT.
    LateBits,
}

#[derive(Clone, Copy, Default)]
struct Channel {
    hcchar: u32,
    hcsplt: u32,
    hcint: u32,
    hcintmsk: u32,
    hctsiz: u32,
    hcdma: u32,
    /// Emulator: tries again every 250 µs, whatever the registers say.
    has_retry: bool,
    /// Emulator: the device holds the transfer and completes it later.
    is_held: bool,
    /// Silicon: told to stop.
    is_stopping: bool,
    is_hung: bool,
    /// Silicon: halts without telling when told to.
    stops_silently: bool,
    /// Silicon: turn up in HCINT after the channel has halted.
    late_bits: u32,
    /// Silicon: the start-split was done.
    is_split_started: bool,
}

struct State {
    kind: Kind,
    dma: &'static FakeDma,
    registers: HashMap<u32, u32>,
    hprt0: Hprt0,
    gintsts_disconnect: bool,
    channels: [Channel; CHANNELS],
    root: Option<Node>,
    frame: u32,
    /// Faults by device address and endpoint address, in order.
    faults: HashMap<(u8, u8), Vec<Fault>>,
    accesses: u64,
    /// Endpoint addresses of which the emulator holds transfers instead of answering NAK, as usb-redir may.
    holding: Vec<u8>,
    /// What start-splits took along, by channel.
    split_data: [Vec<u8>; CHANNELS],
    /// Silicon: when it became or becomes a host. Before, the registers of a host do not exist.
    host_at: Option<Instant>,
    /// Silicon: what GUSBCFG said of the PHY when the core was last reset.
    phy: u32,
    /// Silicon: how long it takes from FORCE_HOST to host mode; `None` for ever.
    host_mode_time: Option<Duration>,
}

/// The register block. Clones are the same block.
#[derive(Clone)]
pub struct Model(Arc<Mutex<State>>);

impl Model {
    /// Makes a controller without a device; it reaches memory through `dma`.
    #[must_use]
    pub fn new(kind: Kind, dma: &'static FakeDma) -> Self {
        Self(Arc::new(Mutex::new(State {
            kind,
            dma,
            // As a boot loader may leave it that thought of another PHY.
            registers: HashMap::from([(key(Register::Gusbcfg), 5 << 10 | OTHER_PHY.bits())]),
            phy: OTHER_PHY.bits(),
            hprt0: Hprt0::empty(),
            gintsts_disconnect: false,
            channels: [Channel::default(); CHANNELS],
            root: None,
            frame: 0,
            faults: HashMap::new(),
            accesses: 0,
            holding: Vec::new(),
            split_data: Default::default(),
            host_at: None,
            host_mode_time: Some(HOST_MODE_TIME),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Plugs a device into the root port.
    pub fn plug(&self, node: Node) {
        let mut state = self.state();
        state.root = Some(node);
        state.hprt0 |= Hprt0::CONNECTED | Hprt0::CONNECT_CHANGE;
    }

    /// Pulls the device out of the root port.
    ///
    /// # Panics
    ///
    /// When this would kill QEMU: a retry is pending.
    pub fn unplug(&self) {
        let mut state = self.state();
        state.assert_no_retry();
        state.root = None;
        state.hprt0 -= Hprt0::CONNECTED | Hprt0::ENABLED;
        state.hprt0 |= Hprt0::CONNECT_CHANGE | Hprt0::ENABLE_CHANGE;
        state.gintsts_disconnect = true;
    }

    /// Plugs a device into a port of a hub. `path` names ports from the root port's hub on.
    pub fn plug_at(&self, path: &[usize], node: Node) {
        let mut state = self.state();
        let (port, hubs) = path.split_last().unwrap();
        state.node(hubs).ports()[port - 1].plug(node);
    }

    /// Pulls a device out of a port of a hub.
    ///
    /// # Panics
    ///
    /// When this would kill QEMU: a retry is pending.
    pub fn unplug_at(&self, path: &[usize]) {
        let mut state = self.state();
        state.assert_no_retry();
        let (port, hubs) = path.split_last().unwrap();
        state.node(hubs).ports()[port - 1].unplug();
    }

    /// Looks at the function of a device.
    ///
    /// # Panics
    ///
    /// When there is no such device, or it is something else.
    pub fn with<F: 'static, R>(&self, path: &[usize], look: impl FnOnce(&mut F) -> R) -> R {
        look(self.state().node(path).function.as_any().downcast_mut().expect("another kind of device"))
    }

    /// Returns address and configuration of a device.
    #[must_use]
    pub fn address(&self, path: &[usize]) -> (u8, u8) {
        let mut state = self.state();
        let node = state.node(path);
        (node.address, node.configuration)
    }

    /// Lets the next transactions with an endpoint go wrong.
    pub fn fail(&self, address: u8, endpoint: u8, faults: &[Fault]) {
        self.state().faults.entry((address, endpoint)).or_default().extend(faults);
    }

    /// Sets how long silicon takes to become a host; `None` for ever.
    pub fn set_host_mode_time(&self, time: Option<Duration>) {
        self.state().host_mode_time = time;
    }

    /// Lets channels halt that did not until now.
    pub fn release_hung(&self) {
        self.state().channels.iter_mut().for_each(|channel| channel.is_hung = false);
    }

    /// The same, but those that were told to halt don't tell that they have.
    pub fn release_hung_silently(&self) {
        for channel in self.state().channels.iter_mut().filter(|channel| channel.is_hung) {
            (channel.is_hung, channel.stops_silently) = (false, true);
        }
    }

    /// Has transfers with an endpoint held until there is data, as usb-redir may. Emulator only.
    pub fn hold(&self, endpoint: u8) {
        self.state().holding.push(endpoint);
    }

    /// Returns how many faults have not happened yet.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.state().faults.values().map(Vec::len).sum()
    }

    /// Returns how often registers were accessed.
    #[must_use]
    pub fn accesses(&self) -> u64 {
        self.state().accesses
    }

    /// Returns how many channels are enabled.
    #[must_use]
    pub fn enabled_channels(&self) -> usize {
        self.state().channels.iter().filter(|c| c.hcchar & Hcchar::ENABLE.bits() != 0).count()
    }
}

/// The machine around the controller: time and the interrupt line.
pub struct Machine;

impl Machine {
    /// Lets time pass and delivers interrupts. Run it beside the code under test; it never ends.
    pub async fn run(model: &Model, controller: &Controller<Model>) {
        loop {
            Timer::after_micros(125).await;
            model.state().tick();
            let mut storm = 0;
            while model.state().has_interrupt() {
                controller.on_interrupt();
                storm += 1;
                assert!(storm < 100, "the handler does not take the interrupt away");
            }
        }
    }
}

impl RegisterAccess for Model {
    fn read(&self, register: Register) -> u32 {
        let mut state = self.state();
        state.accesses += 1;
        state.read(register)
    }

    fn write(&mut self, register: Register, value: u32) {
        let mut state = self.state();
        state.accesses += 1;
        state.write(register, value);
    }
}

impl State {
    fn node(&mut self, path: &[usize]) -> &mut Node {
        let mut node = self.root.as_mut().expect("nothing is plugged in");
        for port in path {
            node = node.ports()[port - 1].node.as_mut().expect("nothing at this port");
        }
        node
    }

    fn assert_no_retry(&self) {
        assert!(!self.channels.iter().any(|c| c.has_retry), "QEMU would die: a retry is pending");
    }

    fn read(&self, register: Register) -> u32 {
        match register {
            Register::Gsnpsid => match self.kind {
                Kind::Emulator => 0x4F54_294A,
                Kind::Silicon => 0x4F54_280A,
            },
            Register::Ghwcfg2 => match self.kind {
                Kind::Emulator => 0x250D_C016,
                Kind::Silicon => 0x228D_DD50,
            },
            Register::Ghwcfg4 => match self.kind {
                Kind::Emulator => 0,
                Kind::Silicon => 0x1FF0_0020,
            },
            Register::Ghwcfg1 => 0,
            Register::Grstctl => Grstctl::AHB_IDLE.bits(),
            Register::Gintsts => self.gintsts().bits(),
            Register::Haint => self.haint(),
            Register::Hprt0 => self.hprt0.bits(),
            Register::Hfnum => self.frame & 0x3FFF,
            Register::Channel(index, register) => {
                let channel = &self.channels[index];
                match register {
                    ChannelRegister::Hcchar => channel.hcchar,
                    ChannelRegister::Hcsplt => channel.hcsplt,
                    ChannelRegister::Hcint => channel.hcint,
                    ChannelRegister::Hcintmsk => channel.hcintmsk,
                    ChannelRegister::Hctsiz => channel.hctsiz,
                    ChannelRegister::Hcdma => channel.hcdma,
                }
            }
            other => self.registers.get(&key(other)).copied().unwrap_or(0),
        }
    }

    fn is_host(&self) -> bool {
        self.kind == Kind::Emulator || self.host_at.is_some_and(|at| Instant::now() >= at)
    }

    fn write(&mut self, register: Register, value: u32) {
        let is_hosts = matches!(
            register,
            Register::Hptxfsiz
                | Register::Hcfg
                | Register::Hfir
                | Register::Haintmsk
                | Register::Hprt0
                | Register::Channel(..)
        );
        if is_hosts && !self.is_host() {
            return;
        }
        match register {
            Register::Gusbcfg => {
                self.registers.insert(key(register), value);
                let is_forced = value & Gusbcfg::FORCE_HOST.bits() != 0;
                self.host_at = self.host_mode_time.filter(|_| is_forced).map(|time| Instant::now() + time);
            }
            Register::Grstctl => {
                if value & Grstctl::CORE_RESET.bits() != 0 {
                    self.phy = self.read(Register::Gusbcfg) & PHY.bits();
                }
            }
            Register::Gintsts => {
                if value & Gint::DISCONNECT.bits() != 0 {
                    self.gintsts_disconnect = false;
                }
            }
            Register::Hprt0 => self.write_port(Hprt0::from_bits_retain(value)),
            Register::Channel(index, register) => {
                let channel = &mut self.channels[index];
                match register {
                    ChannelRegister::Hcchar => self.write_hcchar(index, value),
                    ChannelRegister::Hcsplt => channel.hcsplt = value,
                    ChannelRegister::Hcint => channel.hcint &= !value,
                    ChannelRegister::Hcintmsk => channel.hcintmsk = value,
                    ChannelRegister::Hctsiz => channel.hctsiz = value,
                    ChannelRegister::Hcdma => channel.hcdma = value,
                }
            }
            other => {
                self.registers.insert(key(other), value);
            }
        }
    }

    fn write_port(&mut self, value: Hprt0) {
        assert!(self.kind == Kind::Emulator || self.phy == 0, "the port is used with another PHY: {:#x}", self.phy);
        let w1c = value & Hprt0::W1C;
        let was_reset = self.hprt0.contains(Hprt0::RESET);
        let kept = Hprt0::CONNECTED | Hprt0::SPEED | Hprt0::OVERCURRENT;
        let state = (self.hprt0 & (kept | Hprt0::W1C)) - w1c;
        self.hprt0 = state | (value & (Hprt0::RESET | Hprt0::POWER));
        if was_reset
            && !value.contains(Hprt0::RESET)
            && let Some(node) = &mut self.root
        {
            node.reset();
            let speed = match node.speed {
                Speed::High => 0,
                Speed::Full => 1 << 17,
                Speed::Low => 2 << 17,
            };
            self.hprt0 = (self.hprt0 - Hprt0::SPEED) | Hprt0::from_bits_retain(speed);
            self.hprt0 |= Hprt0::ENABLED | Hprt0::ENABLE_CHANGE;
        }
    }

    fn write_hcchar(&mut self, index: usize, value: u32) {
        let enable = value & Hcchar::ENABLE.bits() != 0;
        let disable = value & Hcchar::DISABLE.bits() != 0;
        let channel = &mut self.channels[index];
        let was_enabled = channel.hcchar & Hcchar::ENABLE.bits() != 0;
        match (self.kind, disable) {
            (Kind::Emulator, true) => {
                channel.hcchar = value & !(Hcchar::ENABLE | Hcchar::DISABLE).bits();
                channel.hcint |= Hcint::HALTED.bits();
            }
            (Kind::Emulator, false) => {
                channel.hcchar = value;
                if enable && !was_enabled {
                    assert!(!channel.is_held, "QEMU would die: channel {index} still has a transfer in flight");
                    self.emulate(index);
                }
            }
            (Kind::Silicon, true) => {
                assert!(was_enabled, "channel {index} is told to halt that is not enabled");
                channel.hcchar = value | Hcchar::ENABLE.bits();
                channel.is_stopping = true;
            }
            (Kind::Silicon, false) => {
                assert!(!(enable && was_enabled), "channel {index} is enabled while it runs");
                assert!(channel.hcint == 0 || !enable, "channel {index} is enabled with HCINT {:#x}", channel.hcint);
                let is_odd = value & Hcchar::ODD_FRAME.bits() != 0;
                let is_interrupt = value & Hcchar::KIND.bits() == Hcchar::KIND.bits();
                assert!(
                    !(enable && is_interrupt) || is_odd == (self.frame & 1 == 0),
                    "a periodic transfer is for the next frame"
                );
                channel.hcchar = value;
                channel.late_bits = 0;
                channel.stops_silently = false;
            }
        }
    }

    fn haint(&self) -> u32 {
        self.channels.iter().zip(0..).filter(|(c, _)| c.hcint & c.hcintmsk != 0).fold(0, |bits, (_, i)| bits | 1 << i)
    }

    fn gintsts(&self) -> Gint {
        let mut bits = Gint::empty();
        let changes = Hprt0::CONNECT_CHANGE | Hprt0::ENABLE_CHANGE | Hprt0::OVERCURRENT_CHANGE;
        bits.set(Gint::HOST_MODE, self.is_host());
        bits.set(Gint::PORT, self.hprt0.intersects(changes));
        bits.set(Gint::DISCONNECT, self.gintsts_disconnect && self.kind == Kind::Silicon);
        bits.set(Gint::CHANNEL, self.haint() & self.read(Register::Haintmsk) != 0);
        bits
    }

    fn has_interrupt(&self) -> bool {
        let is_on = self.read(Register::Gahbcfg) & Gahbcfg::GLOBAL_INTERRUPT.bits() != 0;
        is_on && self.gintsts().bits() & self.read(Register::Gintmsk) != 0
    }

    /// A microframe.
    fn tick(&mut self) {
        self.frame += 1;
        if let Some(root) = &mut self.root {
            root.on_time(Instant::now().as_micros());
        }
        for index in 0..CHANNELS {
            match self.kind {
                Kind::Emulator if self.channels[index].is_held => self.emulate(index),
                Kind::Emulator if self.channels[index].has_retry && self.frame.is_multiple_of(2) => self.emulate(index),
                Kind::Emulator => {}
                Kind::Silicon => self.run_channel(index),
            }
        }
    }
}

fn key(register: Register) -> u32 {
    match register {
        Register::Gahbcfg => 0x008,
        Register::Gusbcfg => 0x00C,
        Register::Gintmsk => 0x018,
        Register::Grxfsiz => 0x024,
        Register::Gnptxfsiz => 0x028,
        Register::Hptxfsiz => 0x100,
        Register::Hcfg => 0x400,
        Register::Hfir => 0x404,
        Register::Haintmsk => 0x418,
        Register::Pcgcctl => 0xE00,
        // Read-only, or handled before it comes here.
        _ => 0,
    }
}
