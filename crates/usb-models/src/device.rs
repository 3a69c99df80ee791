//! What a model of a USB device is, and what all of them have in common.

use std::any::Any;

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
    /// Time passes: it is `now_us` microseconds after an arbitrary start. Called before the device is asked anything, and
    /// often. Returns when something will happen in the device by itself, if that is known.
    fn on_time(&mut self, _now_us: u64) -> Option<u64> {
        None
    }
    /// The port was reset.
    fn on_reset(&mut self) {}
    /// A configuration was selected.
    fn on_configured(&mut self, _value: u8) {}
    /// Answers a request that is not a standard one, or that clears the halt of an endpoint. `data` is what came with it.
    fn on_request(&mut self, setup: [u8; 8], data: &[u8]) -> Answer;
    /// Answers an IN endpoint with a whole transfer, at best of at most `max` bytes; what is longer is kept by the caller
    /// for the next transfer. The caller ends the transfer with a short packet, see [`Self::ends_with_empty_packet`].
    fn on_in(&mut self, endpoint: u8, max: usize) -> Answer;
    /// Takes a packet, or all packets of a transfer at once.
    fn on_out(&mut self, endpoint: u8, data: &[u8]) -> Answer;
    /// Whether an empty packet follows a transfer that ends with a full one.
    fn ends_with_empty_packet(&self) -> bool {
        true
    }
    /// For tests that look inside.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// Answers GET_DESCRIPTOR (USB 2.0, 9.4.3) from the function's descriptors.
#[must_use]
pub fn get_descriptor(function: &dyn Function, setup: [u8; 8]) -> Answer {
    let [_, _, index, kind, ..] = setup;
    match kind {
        1 => Answer::Data(function.device_descriptor()),
        2 => function.configurations().into_iter().nth(index.into()).map_or(Answer::Stall, Answer::Data),
        // Which languages there are: US English.
        3 if index == 0 => Answer::Data(vec![4, 3, 9, 4]),
        3 => function.string(index).map_or(Answer::Stall, |text| {
            let mut bytes = vec![0, 3];
            bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            bytes[0] = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
            Answer::Data(bytes)
        }),
        _ => Answer::Stall,
    }
}

/// Returns the packet size of an endpoint in configuration `value`, if there is such an endpoint.
#[must_use]
pub fn max_packet(function: &dyn Function, value: u8, endpoint: u8) -> Option<usize> {
    endpoints(function, value).into_iter().find(|found| found.address == endpoint).map(|found| found.max_packet.into())
}

/// An endpoint of a configuration, from its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The interface that it belongs to.
    pub interface: u8,
    /// Its address, with the direction in bit 7.
    pub address: u8,
    /// Its kind: 1 isochronous, 2 bulk, 3 interrupt.
    pub kind: u8,
    /// Its packet size in bytes.
    pub max_packet: u16,
    /// Its interval as the descriptor has it.
    pub interval: u8,
}

/// Returns the endpoints of configuration `value`, from its descriptors, as far as these make sense.
#[must_use]
pub fn endpoints(function: &dyn Function, value: u8) -> Vec<Endpoint> {
    let configurations = function.configurations();
    let configuration = configurations.iter().find(|bytes| bytes.get(5) == Some(&value));
    let mut rest = configuration.map_or(&[][..], Vec::as_slice);
    let (mut interface, mut found) = (0, Vec::new());
    while let Some((descriptor, behind)) = rest.first().and_then(|len| rest.split_at_checked(usize::from(*len).max(1)))
    {
        match *descriptor {
            [_, 4, number, ..] => interface = number,
            [_, 5, address, attributes, size0, size1, interval, ..] => found.push(Endpoint {
                interface,
                address,
                kind: attributes & 3,
                max_packet: u16::from_le_bytes([size0, size1]) & 0x7FF,
                interval,
            }),
            _ => {}
        }
        rest = behind;
    }
    found
}

/// Builds a device descriptor of a USB 2.0 device, release 1.00, with strings 1 to 3.
#[must_use]
pub fn device_descriptor(class: u8, vendor: u16, product: u16, configurations: u8) -> Vec<u8> {
    let [v0, v1] = vendor.to_le_bytes();
    let [p0, p1] = product.to_le_bytes();
    vec![18, 1, 0, 2, class, 0, 0, 64, v0, v1, p0, p1, 0, 1, 1, 2, 3, configurations]
}

/// Builds a configuration of the descriptors behind its header.
///
/// # Panics
/// When the descriptors are longer than a configuration can be.
#[must_use]
#[expect(clippy::expect_used, reason = "documented: the caller wrote the descriptors")]
pub fn configuration(value: u8, interfaces: u8, rest: &[&[u8]]) -> Vec<u8> {
    let total = 9 + rest.iter().map(|d| d.len()).sum::<usize>();
    let [t0, t1] = u16::try_from(total).expect("a configuration has at most 65,535 bytes").to_le_bytes();
    let mut bytes = vec![9, 2, t0, t1, interfaces, value, 0, 0xC0, 50];
    bytes.extend(rest.concat());
    bytes
}
