//! A fake hub (USB 2.0, chapter 11).

use std::any::Any;

use ::usb::host::Speed;

use super::device::{Answer, Function, Node, configuration, device_descriptor};

/// A port of a hub.
#[derive(Default)]
pub struct Port {
    /// What is plugged in.
    pub node: Option<Node>,
    /// Whether the port passes traffic.
    pub is_enabled: bool,
    has_power: bool,
    changes: u16,
}

impl Port {
    /// Plugs a device in.
    pub fn plug(&mut self, node: Node) {
        self.node = Some(node);
        self.is_enabled = false;
        self.changes |= 1;
    }

    /// Pulls the device out.
    pub fn unplug(&mut self) -> Option<Node> {
        self.is_enabled = false;
        self.changes |= 1;
        self.node.take()
    }

    fn status(&self) -> [u8; 4] {
        let mut status = 0_u16;
        if let Some(node) = self.node.as_ref().filter(|_| self.has_power) {
            status |= 1;
            status |= match node.speed {
                Speed::Low => 1 << 9,
                Speed::Full => 0,
                Speed::High => 1 << 10,
            };
        }
        if self.is_enabled {
            status |= 1 << 1;
        }
        if self.has_power {
            status |= 1 << 8;
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
}

impl Hub {
    /// Makes a hub.
    #[must_use]
    pub fn new(ports: usize, speed: Speed) -> Self {
        Self { ports: (0..ports).map(|_| Port::default()).collect(), speed }
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
        device_descriptor(9, 0x0409, 0x55AA, 1)
    }

    fn configurations(&self) -> Vec<Vec<u8>> {
        // bInterval: 255 ms, or 256 ms at high speed.
        let interval = if self.speed == Speed::High { 12 } else { 255 };
        vec![configuration(1, 1, &[&[9, 4, 0, 0, 1, 9, 0, 0, 0], &[7, 5, 0x81, 3, 2, 0, interval]])]
    }

    fn string(&self, _index: u8) -> Option<String> {
        Some("fake hub".into())
    }

    fn on_request(&mut self, setup: [u8; 8], _data: &[u8]) -> Answer {
        let [kind, request, value, _, index, ..] = setup;
        if (kind, request) == (0xA0, 6) {
            return Answer::Data(vec![9, 0x29, self.ports.len() as u8, 0, 0, 10, 0, 0, 0xFF]);
        }
        if kind == 0x20 {
            return Answer::Data(Vec::new());
        }
        let Some(port) = usize::from(index).checked_sub(1).and_then(|index| self.ports.get_mut(index)) else {
            return Answer::Stall;
        };
        match (kind, request, value) {
            (0xA3, 0, _) => return Answer::Data(port.status().to_vec()),
            (0x23, 3, 8) => port.has_power = true,
            (0x23, 3, 4) => {
                if let Some(node) = &mut port.node {
                    node.reset();
                    port.is_enabled = true;
                    port.changes |= 1 << 4;
                }
            }
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
