//! A fake CDC-ECM adapter, shaped like QEMU's usb-net.

use std::any::Any;
use std::collections::VecDeque;

use super::device::{Answer, Function, configuration, device_descriptor};

/// A CDC-ECM adapter.
pub struct Ecm {
    /// Packet size of the bulk endpoints.
    pub max_packet: u16,
    /// Frames on their way to the node.
    pub to_node: VecDeque<Vec<u8>>,
    /// Frames that the node sent.
    pub from_node: Vec<Vec<u8>>,
    /// Notifications on their way to the node.
    pub notifications: VecDeque<Vec<u8>>,
    /// Requests for which the receive endpoint stalls until its halt is cleared.
    pub is_halted: bool,
    receiving: Vec<u8>,
}

impl Ecm {
    /// Makes one with bulk packets of `max_packet`.
    #[must_use]
    pub fn new(max_packet: u16) -> Self {
        Self {
            max_packet,
            to_node: VecDeque::new(),
            from_node: Vec::new(),
            notifications: VecDeque::new(),
            is_halted: false,
            receiving: Vec::new(),
        }
    }
}

impl Function for Ecm {
    fn device_descriptor(&self) -> Vec<u8> {
        device_descriptor(2, 0x0525, 0xA4A1, 1)
    }

    fn configurations(&self) -> Vec<Vec<u8>> {
        let [m0, m1] = self.max_packet.to_le_bytes();
        vec![configuration(
            1,
            2,
            &[
                &[9, 4, 0, 0, 1, 2, 6, 0, 5],
                &[5, 0x24, 0, 0x10, 1],
                &[5, 0x24, 6, 0, 1],
                &[13, 0x24, 15, 3, 0, 0, 0, 0, 0xEA, 5, 0, 0, 0],
                &[7, 5, 0x81, 3, 16, 0, 8],
                &[9, 4, 1, 0, 0, 10, 0, 0, 0],
                &[9, 4, 1, 1, 2, 10, 0, 0, 4],
                &[7, 5, 0x82, 2, m0, m1, 0],
                &[7, 5, 2, 2, m0, m1, 0],
            ],
        )]
    }

    fn string(&self, index: u8) -> Option<String> {
        Some(if index == 3 { "40540012345A" } else { "fake ECM" }.into())
    }

    fn on_request(&mut self, setup: [u8; 8], _data: &[u8]) -> Answer {
        match setup[..5] {
            [2, 1, 0, 0, 0x82] => {
                self.is_halted = false;
                Answer::Data(Vec::new())
            }
            // The packet filter is optional, and this one does not have it.
            _ => Answer::Stall,
        }
    }

    fn on_in(&mut self, endpoint: u8, _max: usize) -> Answer {
        let queue = match endpoint {
            0x82 if self.is_halted => return Answer::Stall,
            0x82 => &mut self.to_node,
            _ => &mut self.notifications,
        };
        queue.pop_front().map_or(Answer::Nak, Answer::Data)
    }

    fn on_out(&mut self, _endpoint: u8, data: &[u8]) -> Answer {
        self.receiving.extend_from_slice(data);
        if !data.len().is_multiple_of(usize::from(self.max_packet)) || data.is_empty() {
            self.from_node.push(std::mem::take(&mut self.receiving));
        }
        Answer::Data(Vec::new())
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
