//! A fake CDC-NCM adapter that takes the specification (NCM 1.0) by its word.

use std::any::Any;
use std::collections::VecDeque;

use super::device::{Answer, Function, configuration, device_descriptor};

/// Its address.
pub const MAC: [u8; 6] = [0x40, 0x54, 0, 0x12, 0x34, 0x5C];
/// The requests that it takes while its network is off.
const SETTINGS: [u8; 3] = [0x84, 0x86, 0x8A];

/// A CDC-NCM adapter.
pub struct Ncm {
    /// Packet size of the bulk endpoints.
    pub max_packet: u16,
    /// wNdpOutDivisor, wNdpOutPayloadRemainder, wNdpOutAlignment and wNtbOutMaxDatagrams.
    pub out_rules: [u16; 4],
    /// dwNtbInMaxSize and dwNtbOutMaxSize.
    pub sizes: [u32; 2],
    /// Whether it knows the requests that set something.
    pub has_settings: bool,
    /// Whether datagrams to the node have checksums behind them, after that was not refused.
    pub has_crc: bool,
    /// Blocks on their way to the node.
    pub to_node: VecDeque<Vec<u8>>,
    /// Frames that the node sent, and how many were in each block.
    pub from_node: Vec<Vec<u8>>,
    /// How many frames were in each block.
    pub blocks: Vec<usize>,
    /// Notifications on their way to the node.
    pub notifications: VecDeque<Vec<u8>>,
    /// What SET_NTB_INPUT_SIZE set.
    pub input_size: Option<u32>,
    receiving: Vec<u8>,
    sequence: u16,
    is_on: bool,
}

impl Ncm {
    /// Makes one with bulk packets of `max_packet` and blocks of 16 and 8 KiB.
    #[must_use]
    pub fn new(max_packet: u16) -> Self {
        Self {
            max_packet,
            out_rules: [4, 0, 4, 0],
            sizes: [16 * 1024, 8 * 1024],
            has_settings: true,
            has_crc: false,
            to_node: VecDeque::new(),
            from_node: Vec::new(),
            blocks: Vec::new(),
            notifications: VecDeque::new(),
            input_size: None,
            receiving: Vec::new(),
            sequence: 0,
            is_on: false,
        }
    }

    /// Tells the node that the cable was plugged in or pulled.
    pub fn notify(&mut self, is_connected: bool) {
        self.notifications.push_back(vec![0xA1, 0, u8::from(is_connected), 0, 0, 0, 0, 0]);
    }

    /// Sends frames in one block, with their table at the end.
    pub fn send(&mut self, frames: &[Vec<u8>]) {
        let crc: &[u8] = if self.has_crc { &[0xFC; 4] } else { &[] };
        let mut block = vec![0; 12];
        let mut entries = Vec::new();
        for frame in frames {
            block.resize(block.len().next_multiple_of(4) + 2, 0);
            entries.push([block.len() as u16, (frame.len() + crc.len()) as u16]);
            block.extend(frame);
            block.extend(crc);
        }
        block.resize(block.len().next_multiple_of(4), 0);
        let table = block.len() as u16;
        block.extend(if self.has_crc { b"NCM1" } else { b"NCM0" });
        block.extend((8 + 4 * (frames.len() as u16 + 1)).to_le_bytes());
        block.extend([0; 2]);
        entries.push([0, 0]);
        block.extend(entries.iter().flatten().flat_map(|half| half.to_le_bytes()));
        let len = block.len() as u16;
        block[..4].copy_from_slice(b"NCMH");
        for (at, half) in [(4, 12), (6, self.sequence), (8, len), (10, table)] {
            block[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        self.sequence = self.sequence.wrapping_add(1);
        assert!(block.len() <= self.input_size.unwrap_or(self.sizes[0]) as usize, "more than the host takes");
        self.to_node.push_back(block);
    }

    fn on_block(&mut self, block: &[u8]) {
        let half = |at: usize| usize::from(u16::from_le_bytes([block[at], block[at + 1]]));
        assert_eq!((&block[..4], half(4)), (&b"NCMH"[..], 12));
        assert_eq!(half(8), block.len(), "wBlockLength");
        assert!(block.len() <= self.sizes[1] as usize, "longer than dwNtbOutMaxSize");
        let [divisor, remainder, alignment, most] = self.out_rules.map(usize::from);
        let table = half(10);
        assert!(table.is_multiple_of(alignment.max(4)), "wNdpOutAlignment");
        assert_eq!(&block[table..table + 4], b"NCM0");
        assert_eq!(half(table + 6), 0, "one table");
        let (mut at, mut frames) = (table + 8, 0);
        while half(at) != 0 {
            let (start, len) = (half(at), half(at + 2));
            assert_eq!((start + 14) % divisor, remainder, "wNdpOutPayloadRemainder");
            self.from_node.push(block[start..start + len].to_vec());
            (at, frames) = (at + 4, frames + 1);
        }
        assert!(at + 4 <= table + half(table + 4), "the table ends with an empty entry");
        assert!(most == 0 || frames <= most, "wNtbOutMaxDatagrams");
        self.blocks.push(frames);
    }
}

impl Function for Ncm {
    fn device_descriptor(&self) -> Vec<u8> {
        device_descriptor(2, 0x0525, 0xA4A3, 1)
    }

    fn configurations(&self) -> Vec<Vec<u8>> {
        let [m0, m1] = self.max_packet.to_le_bytes();
        vec![configuration(
            1,
            2,
            &[
                &[9, 4, 0, 0, 1, 2, 13, 0, 5],
                &[5, 0x24, 0, 0x10, 1],
                &[5, 0x24, 6, 0, 1],
                &[13, 0x24, 15, 3, 0, 0, 0, 0, 0xEA, 5, 0, 0, 0],
                &[6, 0x24, 26, 0, 1, 0x1F],
                &[7, 5, 0x81, 3, 16, 0, 8],
                &[9, 4, 1, 0, 0, 10, 0, 1, 0],
                &[9, 4, 1, 1, 2, 10, 0, 1, 4],
                &[7, 5, 0x82, 2, m0, m1, 0],
                &[7, 5, 2, 2, m0, m1, 0],
            ],
        )]
    }

    fn string(&self, index: u8) -> Option<String> {
        Some(if index == 3 { "40540012345C" } else { "fake NCM" }.into())
    }

    fn on_configured(&mut self, _value: u8) {
        self.is_on = false;
    }

    fn on_request(&mut self, setup: [u8; 8], data: &[u8]) -> Answer {
        match setup[..2] {
            [0xA1, 0x80] => {
                let mut bytes = vec![28, 0, 1, 0];
                bytes.extend(self.sizes[0].to_le_bytes());
                bytes.extend([4, 0, 0, 0, 4, 0, 0, 0]);
                bytes.extend(self.sizes[1].to_le_bytes());
                bytes.extend(self.out_rules.iter().flat_map(|half| half.to_le_bytes()));
                Answer::Data(bytes)
            }
            [0x21, request] if SETTINGS.contains(&request) && self.has_settings => {
                assert!(!self.is_on, "request {request:#x} while the network is on");
                if request == 0x86 {
                    self.input_size = Some(u32::from_le_bytes(data[..4].try_into().unwrap()));
                }
                Answer::Data(Vec::new())
            }
            [0x21, 0x43] => Answer::Data(Vec::new()),
            [2, 1] => Answer::Data(Vec::new()),
            _ => Answer::Stall,
        }
    }

    fn on_in(&mut self, endpoint: u8, _max: usize) -> Answer {
        let queue = if endpoint == 0x82 { &mut self.to_node } else { &mut self.notifications };
        queue.pop_front().map_or(Answer::Nak, Answer::Data)
    }

    fn on_out(&mut self, _endpoint: u8, data: &[u8]) -> Answer {
        self.receiving.extend_from_slice(data);
        if !data.len().is_multiple_of(usize::from(self.max_packet)) || data.is_empty() {
            let block = std::mem::take(&mut self.receiving);
            self.on_block(&block);
        }
        Answer::Data(Vec::new())
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
