//! What all fake devices have in common: address, configuration, standard requests, data toggles.

use std::collections::HashMap;

use ::usb::host::Speed;
pub use usb_models::device::{Answer, Function, configuration, device_descriptor};
use usb_models::device::{get_descriptor, max_packet};

use super::hub::{Hub, Port};

/// A device on the bus.
pub struct Node {
    /// What it is.
    pub function: Box<dyn Function>,
    /// Its speed.
    pub speed: Speed,
    /// Its address; 0 after a reset.
    pub address: u8,
    /// The selected configuration; 0 for none.
    pub configuration: u8,
    /// The toggle of each endpoint address.
    pub toggles: HashMap<u8, bool>,
    /// What the device has to send for an IN transfer that is under way, by endpoint.
    pub sending: HashMap<u8, Vec<u8>>,
    setup: [u8; 8],
    setup_data: Vec<u8>,
    answer: Option<Answer>,
}

impl Node {
    /// Makes a device of a function.
    #[must_use]
    pub fn new(speed: Speed, function: Box<dyn Function>) -> Self {
        Self {
            function,
            speed,
            address: 0,
            configuration: 0,
            toggles: HashMap::new(),
            sending: HashMap::new(),
            setup: [0; 8],
            setup_data: Vec::new(),
            answer: None,
        }
    }

    /// A reset of its port.
    pub fn reset(&mut self) {
        self.address = 0;
        self.configuration = 0;
        self.toggles.clear();
        self.sending.clear();
        self.function.on_reset();
    }

    /// Returns the ports of a hub; other devices have none.
    pub fn ports(&mut self) -> &mut [Port] {
        self.function.as_any().downcast_mut().map_or(&mut [], Hub::ports)
    }

    /// Tells the device and what is plugged into it how late it is.
    pub fn on_time(&mut self, now_us: u64) {
        self.function.on_time(now_us);
        self.ports().iter_mut().filter_map(|port| port.node.as_mut()).for_each(|node| node.on_time(now_us));
    }

    /// Returns the packet size of an endpoint by its address, from the descriptors.
    ///
    /// # Panics
    ///
    /// When the selected configuration has no such endpoint: the driver talks to nothing.
    #[must_use]
    pub fn max_packet(&self, endpoint: u8) -> usize {
        if endpoint & 15 == 0 {
            return usize::from(self.function.device_descriptor()[7]);
        }
        let found = max_packet(&*self.function, self.configuration, endpoint);
        found.unwrap_or_else(|| panic!("there is no endpoint {endpoint:#x} in configuration {}", self.configuration))
    }

    /// The setup stage of a request.
    pub fn on_setup(&mut self, setup: [u8; 8]) {
        self.setup = setup;
        self.setup_data.clear();
        self.answer = None;
        self.toggles.insert(0, true);
        self.toggles.insert(0x80, true);
        let len = u16::from_le_bytes([setup[6], setup[7]]);
        if setup[0] & 0x80 != 0 || len == 0 {
            self.decide();
        }
    }

    /// A packet or a transfer to endpoint 0: data stage, or the status stage of an IN request.
    pub fn on_control_out(&mut self, data: &[u8]) -> Answer {
        if self.setup[0] & 0x80 != 0 {
            return match &self.answer {
                Some(Answer::Stall) => Answer::Stall,
                _ => Answer::Data(Vec::new()),
            };
        }
        self.setup_data.extend_from_slice(data);
        if self.setup_data.len() >= usize::from(u16::from_le_bytes([self.setup[6], self.setup[7]])) {
            self.decide();
        }
        match &self.answer {
            Some(Answer::Stall) => Answer::Stall,
            _ => Answer::Data(Vec::new()),
        }
    }

    /// A packet or a transfer from endpoint 0: data stage, or the status stage of an OUT request.
    pub fn on_control_in(&mut self, max: usize) -> Answer {
        match self.answer.as_mut() {
            Some(Answer::Data(data)) => {
                let take = data.len().min(max);
                Answer::Data(data.drain(..take).collect())
            }
            Some(Answer::Nak) => Answer::Nak,
            Some(Answer::Stall) | None => Answer::Stall,
        }
    }

    /// After the status stage a new address counts.
    pub fn on_status(&mut self) {
        if self.setup[0] == 0 && self.setup[1] == 5 {
            self.address = self.setup[2];
        }
    }

    /// Returns whether the request that is under way has its data come from the device.
    #[must_use]
    pub fn is_control_in(&self) -> bool {
        self.setup[0] & 0x80 != 0
    }

    fn decide(&mut self) {
        let [kind, request, value0, _, index0, ..] = self.setup;
        let len = usize::from(u16::from_le_bytes([self.setup[6], self.setup[7]]));
        let mut answer = match (kind, request) {
            (0x80, 6) => get_descriptor(&*self.function, self.setup),
            (0, 5) => Answer::Data(Vec::new()),
            (0, 9) => {
                if self.function.configurations().iter().any(|c| c[5] == value0) {
                    self.configuration = value0;
                    self.toggles.clear();
                    self.toggles.insert(0x80, true);
                    self.function.on_configured(value0);
                    Answer::Data(Vec::new())
                } else {
                    Answer::Stall
                }
            }
            (1, 11) => {
                self.toggles.retain(|endpoint, _| endpoint & 15 == 0);
                Answer::Data(Vec::new())
            }
            (2, 1) => {
                self.toggles.remove(&index0);
                let _ = self.function.on_request(self.setup, &[]);
                Answer::Data(Vec::new())
            }
            _ => self.function.on_request(self.setup, &self.setup_data),
        };
        if let Answer::Data(data) = &mut answer {
            data.truncate(len);
        }
        self.answer = Some(answer);
    }
}
