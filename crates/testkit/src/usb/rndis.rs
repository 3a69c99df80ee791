//! A fake RNDIS adapter.

use std::any::Any;
use std::collections::VecDeque;

use super::device::{Answer, Function, configuration, device_descriptor};

/// The address that it tells.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// An RNDIS adapter.
#[derive(Default)]
pub struct Rndis {
    /// Transfers on their way to the node: messages as they are.
    pub to_node: VecDeque<Vec<u8>>,
    /// Messages that the node sent.
    pub from_node: Vec<Vec<u8>>,
    /// Control messages on their way to the node.
    pub answers: VecDeque<Vec<u8>>,
    /// Types of the control messages that the node sent.
    pub commands: Vec<u32>,
    /// The packet filter that was set.
    pub filter: u32,
    /// Commands that are not answered any more.
    pub is_mute: bool,
    receiving: Vec<u8>,
}

impl Rndis {
    /// Queues a frame for the node.
    pub fn send(&mut self, frame: &[u8]) {
        self.to_node.push_back(packet(frame));
    }

    /// Returns the frames that the node sent, without their headers.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.from_node
            .iter()
            .map(|message| {
                let at = |at: usize| u32::from_le_bytes(message[at..at + 4].try_into().unwrap()) as usize;
                assert_eq!((at(0), at(4)), (1, message.len()), "type and length of the message");
                message[at(8) + 8..][..at(12)].to_vec()
            })
            .collect()
    }

    /// Tells the node that the cable was plugged in or pulled.
    pub fn indicate(&mut self, is_connected: bool) {
        self.answers.push_back(words(&[7, 20, if is_connected { 0x4001_000B } else { 0x4001_000C }, 0, 0]));
    }

    fn command(&mut self, data: &[u8]) {
        let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
        assert_eq!(word(4) as usize, data.len(), "length of the command");
        self.commands.push(word(0));
        if self.is_mute {
            return;
        }
        let request = word(8);
        let answer = match word(0) {
            2 => words(&[0x8000_0002, 52, request, 0, 1, 0, 1, 0, 1, 2048, 0, 0, 0]),
            4 => {
                let value = match word(12) {
                    0x0101_0102 => MAC.to_vec(),
                    0x0001_0107 => 1_000_000_u32.to_le_bytes().to_vec(),
                    0x0001_0114 => vec![0; 4],
                    _ => return self.answers.push_back(words(&[0x8000_0004, 24, request, 0xC000_00BB, 0, 0])),
                };
                let mut bytes = words(&[0x8000_0004, 24 + value.len() as u32, request, 0, value.len() as u32, 16]);
                bytes.extend(value);
                bytes
            }
            5 => {
                assert_eq!(word(12), 0x0001_010E);
                self.filter = word(word(20) as usize + 8);
                words(&[0x8000_0005, 16, request, 0])
            }
            8 => words(&[0x8000_0008, 16, request, 0]),
            _ => return,
        };
        self.answers.push_back(answer);
    }
}

/// Builds a message around a frame.
#[must_use]
pub fn packet(frame: &[u8]) -> Vec<u8> {
    let mut bytes = words(&[1, 44 + frame.len() as u32, 36, frame.len() as u32, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(frame);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Function for Rndis {
    fn device_descriptor(&self) -> Vec<u8> {
        device_descriptor(2, 0x0525, 0xA4A2, 1)
    }

    fn configurations(&self) -> Vec<Vec<u8>> {
        vec![configuration(
            2,
            2,
            &[
                &[9, 4, 0, 0, 1, 2, 2, 0xFF, 6],
                &[5, 0x24, 6, 0, 1],
                &[7, 5, 0x81, 3, 16, 0, 8],
                &[9, 4, 1, 0, 2, 10, 0, 0, 4],
                &[7, 5, 0x82, 2, 64, 0, 0],
                &[7, 5, 2, 2, 64, 0, 0],
            ],
        )]
    }

    fn string(&self, _index: u8) -> Option<String> {
        Some("fake RNDIS".into())
    }

    fn on_request(&mut self, setup: [u8; 8], data: &[u8]) -> Answer {
        match (setup[0], setup[1]) {
            (0x21, 0) => {
                self.command(data);
                Answer::Data(Vec::new())
            }
            (0xA1, 1) => Answer::Data(self.answers.pop_front().unwrap_or_else(|| vec![0])),
            _ => Answer::Stall,
        }
    }

    fn on_in(&mut self, endpoint: u8, _max: usize) -> Answer {
        if endpoint == 0x81 {
            return if self.answers.is_empty() { Answer::Nak } else { Answer::Data(words(&[1, 0])) };
        }
        self.to_node.pop_front().map_or(Answer::Nak, Answer::Data)
    }

    fn on_out(&mut self, _endpoint: u8, data: &[u8]) -> Answer {
        self.receiving.extend_from_slice(data);
        if !data.len().is_multiple_of(64) || data.is_empty() {
            self.from_node.push(std::mem::take(&mut self.receiving));
        }
        Answer::Data(Vec::new())
    }

    fn ends_with_empty_packet(&self) -> bool {
        false
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
