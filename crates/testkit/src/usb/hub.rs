//! A fake hub (USB 2.0, chapter 11), and those that the boards have.

use std::any::Any;

use ::usb::host::Speed;

use super::device::{Answer, Function, Node, configuration, device_descriptor};

/// How long a reset of a port takes (USB 2.0, 7.1.7.5: 10 to 20 ms).
const RESET_US: u64 = 15_000;

/// wPortStatus (USB 2.0, table 11-21).
mod status {
    pub(super) const CONNECTION: u16 = 1;
    pub(super) const ENABLE: u16 = 1 << 1;
    pub(super) const RESET: u16 = 1 << 4;
    pub(super) const POWER: u16 = 1 << 8;
    pub(super) const LOW_SPEED: u16 = 1 << 9;
    pub(super) const HIGH_SPEED: u16 = 1 << 10;
}

/// wPortChange (table 11-22).
mod change {
    pub(super) const CONNECTION: u16 = 1;
    pub(super) const ENABLE: u16 = 1 << 1;
    pub(super) const RESET: u16 = 1 << 4;
}

/// A port of a hub. Without power it sees nothing; a device is seen when the power is good, and is a high-speed one only
/// after a reset has found that out.
#[derive(Default)]
pub struct Port {
    /// What is plugged in.
    pub node: Option<Node>,
    /// Whether the port passes traffic.
    pub is_enabled: bool,
    /// How often it was reset.
    pub resets: u32,
    has_power: bool,
    /// Power was switched on, and is good from this time on.
    good_at_us: Option<u64>,
    reset_until_us: Option<u64>,
    changes: u16,
}

impl Port {
    /// Plugs a device in.
    pub fn plug(&mut self, node: Node) {
        self.node = Some(node);
        self.is_enabled = false;
        self.change(change::CONNECTION);
    }

    /// Pulls the device out.
    pub fn unplug(&mut self) -> Option<Node> {
        self.is_enabled = false;
        self.reset_until_us = None;
        self.change(change::CONNECTION);
        self.node.take()
    }

    /// Disables the port as a hub does after a disturbance (USB 2.0, 11.8.1, port error).
    pub fn disturb(&mut self) {
        self.is_enabled = false;
        self.change(change::ENABLE);
    }

    /// Notes a change; without power there is nobody who sees it.
    fn change(&mut self, bits: u16) {
        if self.has_good_power() {
            self.changes |= bits;
        }
    }

    fn has_good_power(&self) -> bool {
        self.has_power && self.good_at_us.is_none()
    }

    fn on_time(&mut self, now_us: u64) {
        if self.good_at_us.is_some_and(|good_at| now_us >= good_at) {
            self.good_at_us = None;
            if self.node.is_some() {
                self.changes |= change::CONNECTION;
            }
        }
        if self.reset_until_us.is_some_and(|until| now_us >= until) {
            self.reset_until_us = None;
            self.resets += 1;
            self.changes |= change::RESET;
            if let Some(node) = &mut self.node {
                node.reset();
                self.is_enabled = true;
            }
        }
    }

    /// The hub itself was reset: its ports lose their power (USB 2.0, 11.10).
    fn switch_off(&mut self) {
        if let Some(node) = &mut self.node {
            node.reset();
        }
        *self = Self { node: self.node.take(), resets: self.resets, ..Self::default() };
    }

    fn status(&self) -> [u8; 4] {
        let mut status = 0;
        if let Some(node) = self.node.as_ref().filter(|_| self.has_good_power()) {
            status |= status::CONNECTION;
            status |= match node.speed {
                Speed::Low => status::LOW_SPEED,
                Speed::High if self.is_enabled => status::HIGH_SPEED,
                Speed::High | Speed::Full => 0,
            };
        }
        for (is_so, bit) in [
            (self.is_enabled, status::ENABLE),
            (self.reset_until_us.is_some(), status::RESET),
            (self.has_power, status::POWER),
        ] {
            status |= if is_so { bit } else { 0 };
        }
        let [s0, s1] = status.to_le_bytes();
        let [c0, c1] = self.changes.to_le_bytes();
        [s0, s1, c0, c1]
    }
}

/// A hub with some ports.
pub struct Hub {
    ports: Vec<Port>,
    speed: Speed,
    id: (u16, u16),
    /// bPwrOn2PwrGood: in units of 2 ms.
    power_good: u8,
    now_us: u64,
}

impl Hub {
    /// Makes a hub.
    #[must_use]
    pub fn new(ports: usize, speed: Speed) -> Self {
        let ports = (0..ports).map(|_| Port::default()).collect();
        Self { ports, speed, id: (0x0409, 0x55AA), power_good: 10, now_us: 0 }
    }

    /// Makes the hub in a LAN9514: five ports, the Ethernet function at the first (uhubctl's and lsusb's output on a Pi 3B in
    /// mvp/uhubctl#138; Linux bcm283x-rpi-smsc9514.dtsi). Power is good after 100 ms, which those do not tell: the longest
    /// that is usual.
    #[must_use]
    pub fn lan9514() -> Self {
        Self { id: (0x0424, 0x9514), power_good: 50, ..Self::new(5, Speed::High) }
    }

    /// Makes one of the two hubs in a LAN7515. The first has four ports, the other is at its first port and has three, and
    /// Ethernet is at the first of these (the same, on a Pi 3B+; bcm283x-rpi-lan7515.dtsi).
    #[must_use]
    pub fn lan7515(ports: usize) -> Self {
        Self { id: (0x0424, 0x2514), power_good: 50, ..Self::new(ports, Speed::High) }
    }

    /// Plugs a device into a port (from 1) before the hub itself is plugged in.
    #[must_use]
    pub fn with(mut self, port: usize, node: Node) -> Self {
        self.ports[port - 1].plug(node);
        self
    }

    /// Returns its ports; the first is number 1.
    pub fn ports(&mut self) -> &mut [Port] {
        &mut self.ports
    }
}

impl Function for Hub {
    fn device_descriptor(&self) -> Vec<u8> {
        let (vendor, product) = self.id;
        device_descriptor(9, vendor, product, 1)
    }

    fn configurations(&self) -> Vec<Vec<u8>> {
        // bInterval: 255 ms, or 256 ms at high speed.
        let interval = if self.speed == Speed::High { 12 } else { 255 };
        vec![configuration(1, 1, &[&[9, 4, 0, 0, 1, 9, 0, 0, 0], &[7, 5, 0x81, 3, 2, 0, interval]])]
    }

    fn string(&self, _index: u8) -> Option<String> {
        Some("fake hub".into())
    }

    fn on_time(&mut self, now_us: u64) -> Option<u64> {
        self.now_us = now_us;
        self.ports.iter_mut().for_each(|port| port.on_time(now_us));
        None
    }

    fn on_reset(&mut self) {
        self.ports.iter_mut().for_each(Port::switch_off);
    }

    fn on_request(&mut self, setup: [u8; 8], _data: &[u8]) -> Answer {
        let [kind, request, value, _, index, ..] = setup;
        if (kind, request) == (0xA0, 6) {
            return Answer::Data(vec![9, 0x29, self.ports.len() as u8, 0, 0, self.power_good, 0, 0, 0xFF]);
        }
        if kind == 0x20 {
            return Answer::Data(Vec::new());
        }
        let (now_us, power_good_us) = (self.now_us, u64::from(self.power_good) * 2000);
        let Some(port) = usize::from(index).checked_sub(1).and_then(|index| self.ports.get_mut(index)) else {
            return Answer::Stall;
        };
        match (kind, request, value) {
            (0xA3, 0, _) => return Answer::Data(port.status().to_vec()),
            (0x23, 3, 8) if !port.has_power => {
                port.has_power = true;
                port.good_at_us = Some(now_us + power_good_us);
            }
            (0x23, 3, 8) => {}
            (0x23, 3, 4) if port.has_good_power() && port.node.is_some() => {
                port.is_enabled = false;
                port.reset_until_us = Some(now_us + RESET_US);
            }
            (0x23, 3, 4) => {}
            (0x23, 1, 16..=20) => port.changes &= !(1 << (value - 16)),
            _ => return Answer::Stall,
        }
        Answer::Data(Vec::new())
    }

    fn on_in(&mut self, _endpoint: u8, _max: usize) -> Answer {
        let bits = self.ports.iter().zip(1..).filter(|(p, _)| p.changes != 0).fold(0_u16, |bits, (_, n)| bits | 1 << n);
        if bits == 0 { Answer::Nak } else { Answer::Data(bits.to_le_bytes()[..1 + self.ports.len() / 8].to_vec()) }
    }

    fn on_out(&mut self, _endpoint: u8, _data: &[u8]) -> Answer {
        Answer::Stall
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
