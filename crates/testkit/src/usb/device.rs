//! What all fake devices have in common: address, configuration, standard requests, data toggles.

use std::any::Any;
use std::collections::HashMap;

use ::usb::host::Speed;

/// What an endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Data, possibly none. For OUT: taken.
    Data(Vec<u8>),
    /// Nothing now, or no room now.
    Nak,
    /// Refused.
    Stall,
}

/// The part that makes a device what it is.
pub trait Function: Send {
    /// Returns the device descriptor.
    fn device_descriptor(&self) -> Vec<u8>;
    /// Returns the configurations, each with all its descriptors.
    fn configurations(&self) -> Vec<Vec<u8>>;
    /// Returns string number `index`.
    fn string(&self, index: u8) -> Option<String>;
    /// A configuration was selected.
    fn on_configured(&mut self, _value: u8) {}
    /// Answers a request that is not a standard one. `data` is what came with it.
    fn on_request(&mut self, setup: [u8; 8], data: &[u8]) -> Answer;
    /// Answers an IN endpoint with a whole transfer of at most `max` bytes; a shorter one ends it.
    fn on_in(&mut self, endpoint: u8, max: usize) -> Answer;
    /// Takes a packet.
    fn on_out(&mut self, endpoint: u8, data: &[u8]) -> Answer;
    /// Whether an empty packet follows a transfer that ends with a full one.
    fn ends_with_empty_packet(&self) -> bool {
        true
    }
    /// The ports of a hub.
    fn ports(&mut self) -> &mut [super::hub::Port] {
        &mut []
    }
    /// For tests that look inside.
    fn as_any(&mut self) -> &mut dyn Any;
}

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
        let configurations = self.function.configurations();
        let configuration = configurations.iter().find(|c| c[5] == self.configuration).expect("not configured");
        let mut at = 0;
        while at < configuration.len() {
            if configuration[at + 1] == 5 && configuration[at + 2] == endpoint {
                return usize::from(u16::from_le_bytes([configuration[at + 4], configuration[at + 5]]));
            }
            at += usize::from(configuration[at]);
        }
        panic!("there is no endpoint {endpoint:#x} in configuration {}", self.configuration)
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
        let [kind, request, value0, value1, index0, ..] = self.setup;
        let len = usize::from(u16::from_le_bytes([self.setup[6], self.setup[7]]));
        let mut answer = match (kind, request) {
            (0x80, 6) => match value1 {
                1 => Answer::Data(self.function.device_descriptor()),
                2 => self
                    .function
                    .configurations()
                    .get(usize::from(value0))
                    .map_or(Answer::Stall, |bytes| Answer::Data(bytes.clone())),
                3 => self.string(value0),
                _ => Answer::Stall,
            },
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

    fn string(&self, index: u8) -> Answer {
        if index == 0 {
            return Answer::Data(vec![4, 3, 9, 4]);
        }
        let Some(text) = self.function.string(index) else { return Answer::Stall };
        let mut bytes = vec![(2 + 2 * text.len()) as u8, 3];
        bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        Answer::Data(bytes)
    }
}

/// Builds a device descriptor.
#[must_use]
pub fn device_descriptor(class: u8, vendor: u16, product: u16, configurations: u8) -> Vec<u8> {
    let [v0, v1] = vendor.to_le_bytes();
    let [p0, p1] = product.to_le_bytes();
    vec![18, 1, 0, 2, class, 0, 0, 64, v0, v1, p0, p1, 0, 1, 1, 2, 3, configurations]
}

/// Builds a configuration of the descriptors behind its header.
#[must_use]
pub fn configuration(value: u8, interfaces: u8, rest: &[&[u8]]) -> Vec<u8> {
    let total = 9 + rest.iter().map(|d| d.len()).sum::<usize>();
    let [t0, t1] = u16::try_from(total).unwrap().to_le_bytes();
    let mut bytes = vec![9, 2, t0, t1, interfaces, value, 0, 0xC0, 50];
    bytes.extend(rest.concat());
    bytes
}
