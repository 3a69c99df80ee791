//! The device's side of a transaction: whom a channel talks to, and what passes.

use ::usb::host::Speed;
use rpi_pac::dwc2::Hcchar;

use super::Channel;
use crate::usb::device::{Answer, Node};

/// What a channel says it talks to.
pub(super) struct Endpoint {
    pub(super) address: u8,
    /// Endpoint address: with the direction in bit 7.
    pub(super) number: u8,
    pub(super) is_in: bool,
    pub(super) kind: u32,
    pub(super) is_setup: bool,
}

impl Endpoint {
    pub(super) fn of(channel: &Channel) -> Self {
        let hcchar = Hcchar::from_bits_retain(channel.hcchar);
        let is_in = hcchar.contains(Hcchar::IN);
        let kind = (hcchar & Hcchar::KIND).bits() >> 18;
        Self {
            address: ((hcchar & Hcchar::ADDRESS).bits() >> 22) as u8,
            number: ((hcchar & Hcchar::ENDPOINT).bits() >> 11) as u8 | if is_in { 0x80 } else { 0 },
            is_in,
            kind,
            is_setup: kind == 0 && channel.hctsiz >> 29 & 3 == 3,
        }
    }
}

/// Finds a device by its address, and the hub and port that translate for it.
pub(super) fn find(node: &mut Node, address: u8) -> Option<(&mut Node, Option<(u8, u8)>)> {
    if node.address == address {
        return Some((node, None));
    }
    let hub_address = node.address;
    let hub_speed = node.speed;
    for (port, number) in node.ports().iter_mut().zip(1..) {
        if !port.is_enabled {
            continue;
        }
        let Some(child) = &mut port.node else { continue };
        let is_slower = child.speed != Speed::High;
        if let Some((found, translator)) = find(child, address) {
            let here = (hub_speed == Speed::High && is_slower).then_some((hub_address, number));
            return Some((found, translator.or(here)));
        }
    }
    None
}

/// A whole IN transfer of at most `max` bytes.
pub(super) fn transfer_in(node: &mut Node, endpoint: &Endpoint, max: usize) -> Answer {
    if endpoint.number == 0x80 {
        let answer = node.on_control_in(max);
        if !node.is_control_in() {
            node.on_status();
        }
        return answer;
    }
    let mut data = match node.sending.remove(&endpoint.number) {
        Some(data) => data,
        None => match node.function.on_in(endpoint.number, max) {
            Answer::Data(data) => data,
            other => return other,
        },
    };
    let rest = data.split_off(data.len().min(max));
    let max_packet = node.max_packet(endpoint.number);
    let needs_end = !data.is_empty() && data.len().is_multiple_of(max_packet) && node.function.ends_with_empty_packet();
    if !rest.is_empty() || needs_end {
        node.sending.insert(endpoint.number, rest);
    }
    Answer::Data(data)
}

/// One IN packet.
pub(super) fn packet_in(node: &mut Node, endpoint: &Endpoint, mps: usize) -> Answer {
    if endpoint.number == 0x80 {
        return transfer_in(node, endpoint, mps);
    }
    let mut data = match node.sending.remove(&endpoint.number) {
        Some(data) => data,
        None => match node.function.on_in(endpoint.number, usize::MAX) {
            Answer::Data(data) => data,
            other => return other,
        },
    };
    let rest = data.split_off(data.len().min(mps));
    if data.len() == mps && endpoint.kind == 2 {
        // More, or the empty packet that ends the transfer.
        node.sending.insert(endpoint.number, rest);
    }
    Answer::Data(data)
}

/// An OUT packet, or all of a transfer.
pub(super) fn transfer_out(node: &mut Node, endpoint: &Endpoint, data: &[u8]) -> Answer {
    if endpoint.is_setup {
        node.on_setup(data.try_into().expect("a setup packet has eight bytes"));
        return Answer::Data(Vec::new());
    }
    if endpoint.number == 0 {
        let answer = node.on_control_out(data);
        if node.is_control_in() {
            node.on_status();
        }
        return answer;
    }
    node.function.on_out(endpoint.number, data)
}
