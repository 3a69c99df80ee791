//! The registers of the DWC2, and what happens behind them.

mod endpoint;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ::usb::dwc2::Controller;
use ::usb::dwc2::registers::{Channel as ChannelRegister, Register, RegisterAccess};
use ::usb::host::Speed;
use embassy_time::Timer;
use hal::dma::BusAddr;
use rpi_pac::dwc2::{Gahbcfg, Gint, Grstctl, Hcchar, Hcint, Hcsplt, Hprt0};

use super::device::{Answer, Node};
use endpoint::{Endpoint, find, packet_in, transfer_in, transfer_out};

use crate::dma::FakeDma;

/// Channels of the model.
const CHANNELS: usize = 8;
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
    /// A periodic transaction did not fit its frame.
    Overrun,
    /// The device takes a packet but asks to be pinged before the next.
    Nyet,
    /// The device has no room yet.
    Nak,
    /// The hub is not through with the transaction (complete-splits only).
    SplitPending,
    /// The channel never halts again.
    Hang,
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
            registers: HashMap::new(),
            hprt0: Hprt0::empty(),
            gintsts_disconnect: false,
            channels: [Channel::default(); CHANNELS],
            root: None,
            frame: 0,
            faults: HashMap::new(),
            accesses: 0,
            holding: Vec::new(),
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
        state.node(hubs).function.ports()[port - 1].plug(node);
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
        state.node(hubs).function.ports()[port - 1].unplug();
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
            node = node.function.ports()[port - 1].node.as_mut().expect("nothing at this port");
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

    fn write(&mut self, register: Register, value: u32) {
        match register {
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
            }
        }
    }

    fn haint(&self) -> u32 {
        self.channels.iter().zip(0..).filter(|(c, _)| c.hcint & c.hcintmsk != 0).fold(0, |bits, (_, i)| bits | 1 << i)
    }

    fn gintsts(&self) -> Gint {
        let mut bits = Gint::empty();
        let changes = Hprt0::CONNECT_CHANGE | Hprt0::ENABLE_CHANGE | Hprt0::OVERCURRENT_CHANGE;
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
        for index in 0..CHANNELS {
            match self.kind {
                Kind::Emulator if self.channels[index].is_held => self.emulate(index),
                Kind::Emulator if self.channels[index].has_retry && self.frame.is_multiple_of(2) => self.emulate(index),
                Kind::Emulator => {}
                Kind::Silicon => self.run_channel(index),
            }
        }
    }

    /// `dwc2_handle_packet`.
    fn emulate(&mut self, index: usize) {
        let channel = self.channels[index];
        let hcchar = Hcchar::from_bits_retain(channel.hcchar);
        let endpoint = Endpoint::of(&channel);
        let mps = (hcchar & Hcchar::MAX_PACKET).bits() as usize;
        let len = (channel.hctsiz & 0x7_FFFF) as usize;
        let round = if len <= 1536 { len.min(mps) } else { len };
        let dma = self.dma;
        let is_enabled = self.hprt0.contains(Hprt0::ENABLED);
        let Some((node, _)) = self.root.as_mut().filter(|_| is_enabled).and_then(|root| find(root, endpoint.address))
        else {
            assert!(!channel.has_retry, "QEMU would die: a retry for a device that is gone");
            return;
        };
        let address = BusAddr(u64::from(channel.hcdma));
        let answer = if endpoint.is_in {
            transfer_in(node, &endpoint, round)
        } else {
            transfer_out(node, &endpoint, &dma.device_read(address, round))
        };
        let is_held = answer == Answer::Nak && self.holding.contains(&endpoint.number);
        let channel = &mut self.channels[index];
        channel.has_retry = false;
        channel.is_held = is_held;
        if is_held {
            return;
        }
        let bits = match answer {
            Answer::Data(data) => {
                let actual = if endpoint.is_in { data.len() } else { round };
                if endpoint.is_in {
                    dma.device_write(address, &data);
                }
                let packets = (channel.hctsiz >> 19 & 0x3FF).saturating_sub(actual.div_ceil(mps) as u32);
                let left = len.saturating_sub(actual);
                channel.hctsiz = channel.hctsiz & !0x1FFF_FFFF | packets << 19 | left as u32;
                channel.hcdma += actual as u32;
                let is_short = endpoint.is_in && !actual.is_multiple_of(mps);
                if !(is_short || packets == 0 || left == 0 || actual == 0) {
                    channel.has_retry = true;
                    return;
                }
                Hcint::COMPLETE
            }
            Answer::Nak if endpoint.kind == 0 || endpoint.kind == 2 => {
                channel.hcint |= Hcint::NAK.bits();
                channel.has_retry = true;
                return;
            }
            Answer::Nak => Hcint::NAK,
            Answer::Stall => Hcint::STALL,
        };
        channel.hcchar &= !Hcchar::ENABLE.bits();
        channel.hcint |= (bits | Hcint::HALTED).bits();
    }

    fn run_channel(&mut self, index: usize) {
        for _ in 0..PACKETS {
            let channel = &self.channels[index];
            if channel.hcchar & Hcchar::ENABLE.bits() == 0 || channel.is_hung {
                return;
            }
            if channel.is_stopping {
                return self.halt(index, Hcint::empty());
            }
            match self.transact(index) {
                Outcome::Halt(bits) => return self.halt(index, bits),
                Outcome::Later => return,
                Outcome::More => {}
            }
        }
    }

    fn halt(&mut self, index: usize, bits: Hcint) {
        let channel = &mut self.channels[index];
        channel.hcchar &= !(Hcchar::ENABLE | Hcchar::DISABLE).bits();
        channel.is_stopping = false;
        channel.hcint |= (bits | Hcint::HALTED).bits();
    }

    /// One transaction.
    fn transact(&mut self, index: usize) -> Outcome {
        let channel = self.channels[index];
        let endpoint = Endpoint::of(&channel);
        let hcchar = Hcchar::from_bits_retain(channel.hcchar);
        if endpoint.kind == 3 && hcchar.contains(Hcchar::ODD_FRAME) != (self.frame & 1 == 1) {
            return Outcome::Later;
        }
        let dma = self.dma;
        let is_enabled = self.hprt0.contains(Hprt0::ENABLED);
        let Some((node, translator)) =
            self.root.as_mut().filter(|_| is_enabled).and_then(|root| find(root, endpoint.address))
        else {
            return Outcome::Halt(Hcint::TRANSACTION_ERROR);
        };
        let split = Hcsplt::from_bits_retain(channel.hcsplt);
        let says = split
            .contains(Hcsplt::ENABLE)
            .then_some(((channel.hcsplt >> 7 & 0x7F) as u8, (channel.hcsplt & 0x7F) as u8));
        if says != translator {
            // Nobody hears it: the wrong hub is asked, or none.
            return Outcome::Halt(Hcint::TRANSACTION_ERROR);
        }
        let is_complete = split.contains(Hcsplt::COMPLETE);
        if says.is_some() && !is_complete {
            self.channels[index].is_split_started = true;
            return Outcome::Halt(Hcint::ACK);
        }
        assert!(says.is_none() || channel.is_split_started, "a complete-split without a start-split");
        let fault = self.faults.get_mut(&(endpoint.address, endpoint.number)).filter(|faults| !faults.is_empty());
        let fault = fault.map(|faults| faults.remove(0));
        if fault != Some(Fault::SplitPending) {
            self.channels[index].is_split_started = false;
        }
        match fault {
            Some(Fault::NoAnswer) => return Outcome::Halt(Hcint::TRANSACTION_ERROR),
            Some(Fault::Toggle) => return Outcome::Halt(Hcint::TOGGLE_ERROR),
            Some(Fault::Babble) => return Outcome::Halt(Hcint::BABBLE),
            Some(Fault::Stall) => return Outcome::Halt(Hcint::STALL),
            Some(Fault::Dma) => return Outcome::Halt(Hcint::AHB_ERROR),
            Some(Fault::Overrun) => return Outcome::Halt(Hcint::FRAME_OVERRUN),
            Some(Fault::Nak) => return Outcome::Halt(Hcint::NAK),
            Some(Fault::SplitPending) => return Outcome::Halt(Hcint::NYET),
            Some(Fault::Hang) => {
                self.channels[index].is_hung = true;
                return Outcome::Later;
            }
            Some(Fault::Nyet) | None => {}
        }
        let mps = (hcchar & Hcchar::MAX_PACKET).bits() as usize;
        let len = (channel.hctsiz & 0x7_FFFF) as usize;
        let packets = channel.hctsiz >> 19 & 0x3FF;
        let pid = channel.hctsiz >> 29 & 3;
        let is_setup = endpoint.kind == 0 && pid == 3;
        assert!(packets > 0, "a channel without packets");
        assert!(says.is_none() || packets == 1 && len <= mps, "a split transaction moves one packet");
        if !is_setup && node.address != 0 {
            assert_eq!(mps, node.max_packet(endpoint.number), "packet size of endpoint {:#x}", endpoint.number);
        }
        let toggle_key = if endpoint.number & 15 == 0 { endpoint.number & 0x80 } else { endpoint.number };
        let toggle = node.toggles.get(&toggle_key).copied().unwrap_or(false);
        if !is_setup && (pid == 2) != toggle {
            return Outcome::Halt(Hcint::TOGGLE_ERROR);
        }
        let address = BusAddr(u64::from(channel.hcdma));
        assert_eq!(channel.hcdma & 3, 0, "DMA addresses are words");
        let answer = if endpoint.is_in {
            packet_in(node, &endpoint, mps)
        } else {
            transfer_out(node, &endpoint, &dma.device_read(address, len.min(mps)))
        };
        let moved = match answer {
            Answer::Stall => return Outcome::Halt(Hcint::STALL),
            Answer::Nak if endpoint.kind == 3 || says.is_some() => return Outcome::Halt(Hcint::NAK),
            Answer::Nak => return Outcome::Later,
            Answer::Data(data) if endpoint.is_in => {
                if data.len() > len {
                    return Outcome::Halt(Hcint::BABBLE);
                }
                dma.device_write(address, &data);
                data.len()
            }
            Answer::Data(_) => len.min(mps),
        };
        if !is_setup {
            node.toggles.insert(toggle_key, !toggle);
        }
        let next_pid = if is_setup {
            3
        } else if toggle {
            0
        } else {
            2
        };
        let left = len - moved;
        let channel = &mut self.channels[index];
        channel.hctsiz = next_pid << 29 | (packets - 1) << 19 | left as u32;
        channel.hcdma += moved as u32;
        if fault == Some(Fault::Nyet) {
            return Outcome::Halt(Hcint::NYET);
        }
        let is_over = packets == 1 || endpoint.is_in && moved < mps;
        if is_over { Outcome::Halt(Hcint::COMPLETE | Hcint::ACK) } else { Outcome::More }
    }
}

enum Outcome {
    Halt(Hcint),
    Later,
    More,
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
