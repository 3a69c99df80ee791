//! The protocol and the device behind it, against a guest made of bytes.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use usb_models::lan9514::Lan9514;
use usb_models::nic::UsbSpeed;

use super::device::Device;
use super::*;

/// What QEMU 10 says it can.
const GUEST: u32 = 0xFF;

/// A guest: what it sends, and what it has been told.
struct Guest {
    device: Device,
    capabilities: u32,
    now_us: u64,
}

/// An answer: type, id, body.
type Told = (u32, u64, Vec<u8>);

impl Guest {
    fn new(capabilities: u32, is_plugged: bool) -> Self {
        let device = Device::new(Box::new(Lan9514::new(UsbSpeed::High)), UsbSpeed::High, is_plugged);
        let mut guest = Self { device, capabilities, now_us: 0 };
        let hello = std::mem::take(guest.device.outgoing());
        assert_eq!(hello.len(), 12 + 64 + 4);
        assert_eq!(u32_at(&hello, 76), Some(OURS));
        let mut body = vec![0; 64];
        body.extend(capabilities.to_le_bytes());
        let mut bytes = Vec::new();
        Capabilities(0).write(&mut bytes, kind::HELLO, 0, &[&body]);
        guest.device.receive(&bytes).unwrap();
        guest
    }

    fn both(&self) -> Capabilities {
        Capabilities(self.capabilities & OURS)
    }

    fn send(&mut self, kind: u32, id: u64, body: &[u8]) {
        let mut bytes = Vec::new();
        self.both().write(&mut bytes, kind, id, &[body]);
        // In pieces, as a socket may bring it.
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        self.device.receive(head).unwrap();
        self.device.receive(tail).unwrap();
    }

    fn told(&mut self) -> Vec<Told> {
        let bytes = std::mem::take(self.device.outgoing());
        let id_len = if self.both().has(capability::IDS_64BITS) { 8 } else { 4 };
        let mut rest = &bytes[..];
        let mut told = Vec::new();
        while !rest.is_empty() {
            let (kind, len) = (u32_at(rest, 0).unwrap(), u32_at(rest, 4).unwrap() as usize);
            let mut id = [0; 8];
            id[..id_len].copy_from_slice(&rest[8..8 + id_len]);
            let start = 8 + id_len;
            told.push((kind, u64::from_le_bytes(id), rest[start..start + len].to_vec()));
            rest = &rest[start + len..];
        }
        told
    }

    fn control(&mut self, id: u64, setup: [u8; 8], data: &[u8]) {
        let [kind, request, v0, v1, i0, i1, l0, l1] = setup;
        let mut body = vec![kind & 0x80, request, kind, 0, v0, v1, i0, i1, l0, l1];
        body.extend_from_slice(data);
        self.send(kind::CONTROL_PACKET, id, &body);
    }

    fn bulk(&mut self, id: u64, endpoint: u8, len: u32, data: &[u8]) {
        let [l0, l1, h0, h1] = len.to_le_bytes();
        let header = [endpoint, 0, l0, l1, 0, 0, 0, 0, h0, h1];
        let mut body = header[..self.both().bulk_header_len()].to_vec();
        body.extend_from_slice(data);
        self.send(kind::BULK_PACKET, id, &body);
    }

    fn write_register(&mut self, register: u16, value: u32) {
        let [i0, i1] = register.to_le_bytes();
        self.control(1, [0x40, 0xA0, 0, 0, i0, i1, 4, 0], &value.to_le_bytes());
    }

    fn pass(&mut self, time_us: u64) -> Option<u64> {
        self.now_us += time_us;
        self.device.advance(self.now_us)
    }

    /// Brings the device up, with its link.
    fn start(&mut self) {
        self.told();
        self.send(kind::SET_CONFIGURATION, 1, &[1]);
        for (register, value) in [(0x14, 1 << 12 | 1 << 5), (0x10, 4), (0x100, 0x0014_000C)] {
            self.write_register(register, value);
        }
        self.pass(2_000_000);
        assert!(self.device.nic().core().link().is_some());
        self.told();
    }
}

fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|at| at as u8 | 2).collect()
}

#[test]
fn a_device_is_announced_with_its_endpoints_first() {
    let mut guest = Guest::new(GUEST, true);
    let told = guest.told();
    let kinds: Vec<_> = told.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [kind::EP_INFO, kind::INTERFACE_INFO, kind::DEVICE_CONNECT]);
    let endpoints = &told[0].2;
    assert_eq!(endpoints.len(), 96 + 64);
    // Bulk in, bulk out and interrupt: EP1 in, EP2 out, EP3 in.
    assert_eq!((endpoints[16 + 1], endpoints[2], endpoints[16 + 3], endpoints[5]), (2, 2, 3, 255));
    assert_eq!(endpoints[96 + 2 * 17..][..2], 512_u16.to_le_bytes());
    assert_eq!(told[2].2, [2, 0xFF, 0, 1, 0x24, 4, 0, 0xEC, 0, 2]);
}

#[test]
fn fields_that_the_guest_does_not_know_are_left_out() {
    let mut guest = Guest::new(0, true);
    let told = guest.told();
    assert_eq!((told[0].2.len(), told[2].2.len()), (96, 8));
    guest.start();
    guest.bulk(7, 2, 4, &[0; 4]);
    assert_eq!(guest.told(), [(kind::BULK_PACKET, 7, vec![2, 0, 4, 0, 0, 0, 0, 0])]);
}

#[test]
fn requests_are_answered_with_their_ids() {
    let mut guest = Guest::new(GUEST, true);
    guest.told();
    guest.control(0x1_0000_0002, [0x80, 6, 0, 1, 0, 0, 8, 0], &[]);
    let told = guest.told();
    assert_eq!((told[0].0, told[0].1), (kind::CONTROL_PACKET, 0x1_0000_0002));
    assert_eq!(told[0].2[..10], [0x80, 6, 0x80, 0, 0, 1, 0, 0, 8, 0]);
    assert_eq!(told[0].2[10..], [18, 1, 0, 2, 0xFF, 0, 1, 64]);
    // A string that does not exist is refused.
    guest.control(3, [0x80, 6, 1, 3, 9, 4, 255, 0], &[]);
    assert_eq!(guest.told()[0].2[3], Status::Stall as u8);
}

#[test]
fn a_configuration_is_selected_after_its_endpoints_are_told() {
    let mut guest = Guest::new(GUEST, true);
    guest.told();
    guest.send(kind::SET_CONFIGURATION, 5, &[1]);
    let told = guest.told();
    let kinds: Vec<_> = told.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [kind::EP_INFO, kind::INTERFACE_INFO, kind::CONFIGURATION_STATUS]);
    assert_eq!((told[2].1, &told[2].2[..]), (5, &[0, 1][..]));
    guest.send(kind::SET_CONFIGURATION, 6, &[9]);
    assert_eq!(guest.told(), [(kind::CONFIGURATION_STATUS, 6, vec![Status::Stall as u8, 1])]);
    guest.send(kind::GET_CONFIGURATION, 7, &[]);
    assert_eq!(guest.told(), [(kind::CONFIGURATION_STATUS, 7, vec![0, 1])]);
    guest.send(kind::SET_ALT_SETTING, 8, &[0, 0]);
    assert_eq!(guest.told().last(), Some(&(kind::ALT_SETTING_STATUS, 8, vec![0, 0, 0])));
}

#[test]
fn a_bulk_transfer_is_held_until_there_is_a_frame() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.bulk(9, 0x81, 18944, &[]);
    guest.pass(1000);
    assert!(guest.told().is_empty());
    let sent = frame(600);
    guest.device.nic().receive(&sent);
    guest.pass(0);
    let told = guest.told();
    assert_eq!((told[0].0, told[0].1), (kind::BULK_PACKET, 9));
    assert_eq!(told[0].2[10 + 4..10 + 604], sent);
}

#[test]
fn less_than_a_packet_comes_after_the_delay_that_the_device_tells() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.bulk(9, 0x81, 2048, &[]);
    guest.device.nic().receive(&frame(100));
    let due = guest.pass(0).unwrap();
    assert_eq!(due, guest.now_us + 34);
    assert!(guest.told().is_empty());
    guest.pass(34);
    assert_eq!(guest.told().len(), 1);
}

#[test]
fn what_does_not_fit_a_transfer_comes_with_the_next_and_a_full_end_is_marked() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    // With status and FCS exactly two packets.
    guest.device.nic().receive(&frame(1016));
    for id in 0..3 {
        guest.bulk(id, 0x81, 512, &[]);
        guest.pass(100);
    }
    let lengths: Vec<_> = guest.told().iter().map(|(_, _, body)| body.len() - 10).collect();
    assert_eq!(lengths, [512, 512, 0]);
}

#[test]
fn transfers_of_an_endpoint_end_in_their_order_and_others_go_on() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.bulk(1, 0x81, 2048, &[]);
    guest.bulk(2, 0x81, 2048, &[]);
    guest.control(3, [0xC0, 0xA1, 0, 0, 0, 0, 4, 0], &[]);
    assert_eq!(guest.told()[0].1, 3);
    guest.device.nic().receive(&frame(600));
    guest.pass(0);
    guest.device.nic().receive(&frame(600));
    guest.pass(0);
    let ids: Vec<_> = guest.told().iter().map(|(_, id, _)| *id).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_cancelled_transfer_is_answered_as_cancelled_and_takes_no_frame() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.bulk(1, 0x81, 2048, &[]);
    guest.send(kind::CANCEL_DATA_PACKET, 1, &[]);
    let told = guest.told();
    assert_eq!((told[0].1, told[0].2[1]), (1, Status::Cancelled as u8));
    guest.device.nic().receive(&frame(600));
    guest.pass(0);
    assert!(guest.told().is_empty());
    guest.bulk(2, 0x81, 2048, &[]);
    assert_eq!(guest.told()[0].1, 2);
}

#[test]
fn a_stall_is_told_and_cleared() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.device.nic().core().faults.stalls.push(0x81);
    guest.bulk(1, 0x81, 2048, &[]);
    assert_eq!(guest.told()[0].2[1], Status::Stall as u8);
    guest.control(2, [2, 1, 0, 0, 0x81, 0, 0, 0], &[]);
    guest.bulk(3, 0x81, 2048, &[]);
    let ids: Vec<_> = guest.told().iter().map(|(_, id, _)| *id).collect();
    assert_eq!(ids, [2], "held again");
}

#[test]
fn interrupts_come_by_themselves_and_are_not_repeated_at_once() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    // The PHY's mask, and the endpoint's.
    guest.write_register(0x118, 0x50);
    guest.write_register(0x114, 1 << 11 | 30 << 6 | 3);
    guest.write_register(0x68, 1 << 15);
    guest.told();
    guest.send(kind::START_INTERRUPT, 0, &[0x83]);
    assert_eq!(guest.told(), [(kind::INTERRUPT_STATUS, 0, vec![0, 0x83])]);
    let is_interrupt = |told: Vec<Told>| told.iter().filter(|(kind, ..)| *kind == kind::INTERRUPT_PACKET).count();
    guest.pass(10);
    assert_eq!(is_interrupt(guest.told()), 1, "the negotiation that is over");
    guest.pass(10);
    assert_eq!(is_interrupt(guest.told()), 0);
    guest.pass(60_000);
    assert_eq!(is_interrupt(guest.told()), 1);
    guest.send(kind::STOP_INTERRUPT, 0, &[0x83]);
    guest.pass(60_000);
    assert_eq!(is_interrupt(guest.told()), 0);
}

#[test]
fn unplugging_waits_for_the_guest_and_plugging_in_comes_after() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.bulk(1, 0x81, 2048, &[]);
    guest.device.plug(false);
    let told = guest.told();
    assert_eq!((told[0].1, told[0].2[1]), (1, Status::Cancelled as u8), "QEMU keeps what is not ended");
    assert_eq!(told[1..], [(kind::DEVICE_DISCONNECT, 0, vec![])]);
    guest.device.plug(true);
    assert!(!guest.device.left_one());
    // On its way when the device went.
    guest.bulk(2, 0x81, 2048, &[]);
    assert!(!guest.device.is_gone() && guest.told().is_empty() && guest.device.left_one());
    guest.send(kind::DEVICE_DISCONNECT_ACK, 0, &[]);
    assert!(guest.device.is_plugged());
    assert_eq!(guest.told().last().map(|(kind, ..)| *kind), Some(kind::DEVICE_CONNECT));
}

#[test]
fn a_device_that_is_not_plugged_in_is_not_announced() {
    let mut guest = Guest::new(GUEST, false);
    assert!(guest.told().is_empty());
    guest.device.plug(true);
    assert_eq!(guest.told().len(), 3);
}

#[test]
fn a_request_that_a_silent_device_never_answers_fails_before_the_guest_resets_the_port() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.device.nic().core().faults.is_silent = true;
    guest.control(4, [0xC0, 0xA1, 0, 0, 0, 0, 4, 0], &[]);
    assert_eq!(guest.pass(500_000), Some(guest.now_us + 50_000));
    assert!(guest.told().is_empty());
    guest.pass(50_000);
    let told = guest.told();
    assert_eq!((told.len(), told[0].1, told[0].2[3]), (1, 4, Status::Failed as u8));
    guest.device.nic().core().faults.is_silent = false;
    guest.pass(1);
    assert!(guest.told().is_empty(), "answered twice");
}

#[test]
fn a_receive_with_nothing_to_say_soon_ends_empty() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.bulk(5, 0x81, 2048, &[]);
    guest.pass(9_999);
    assert!(guest.told().is_empty());
    guest.pass(1);
    let told = guest.told();
    assert_eq!((told.len(), told[0].1, told[0].2[1], told[0].2.len()), (1, 5, Status::Success as u8, 10));
}

#[test]
fn what_is_held_at_a_reset_of_the_port_is_answered_no_more() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.bulk(5, 0x81, 2048, &[]);
    guest.send(kind::RESET, 0, &[]);
    guest.pass(1_000_000);
    assert!(guest.told().is_empty(), "QEMU would look for the device at its old address");
}

#[test]
fn what_the_device_does_not_take_fails_before_the_guest_resets_the_port() {
    let mut guest = Guest::new(GUEST, true);
    guest.start();
    guest.device.nic().core().faults.is_silent = true;
    guest.bulk(6, 0x02, 3, &[1, 2, 3]);
    guest.pass(1_499_999);
    assert!(guest.told().is_empty(), "the guest must find out by itself that it stalls");
    guest.pass(1);
    assert_eq!(guest.told()[0].2[1], Status::Failed as u8);
}

#[test]
fn messages_that_make_no_sense_are_refused() {
    let parse = |bytes: &[u8]| {
        let mut parser = Parser { bytes: bytes.to_vec(), capabilities: Some(OURS) };
        parser.next()
    };
    let message = |kind: u32, body: &[u8]| {
        let mut bytes = Vec::new();
        Capabilities(OURS).write(&mut bytes, kind, 1, &[body]);
        bytes
    };
    let too_short = |kind, len| Err(ProtocolError::TooShort { kind, len });
    assert_eq!(parse(&message(kind::SET_CONFIGURATION, &[])), too_short(kind::SET_CONFIGURATION, 0));
    assert_eq!(parse(&message(kind::CONTROL_PACKET, &[0; 9])), too_short(kind::CONTROL_PACKET, 9));
    assert_eq!(parse(&message(kind::BULK_PACKET, &[0; 9])), too_short(kind::BULK_PACKET, 9));
    let says = ProtocolError::Length { says: 3, has: 1 };
    assert_eq!(parse(&message(kind::CONTROL_PACKET, &[0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 9])), Err(says));
    assert_eq!(parse(&message(kind::BULK_PACKET, &[2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9])), Err(says));
    assert_eq!(parse(&message(12, &[])), Ok(Some(Message::Other { kind: 12 })));
    assert_eq!(parse(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), Err(ProtocolError::TooLong { len: 1 << 24 }));
    let mut parser = Parser { bytes: vec![3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], capabilities: None };
    assert_eq!(parser.next(), Err(ProtocolError::NoHello { kind: 3 }));
}

/// A generator of pseudo-random numbers (xorshift64, Marsaglia 2003).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn no_bytes_of_a_guest_make_the_device_panic() {
    let mut state = 0x1234_5678_9ABC_DEF1;
    for round in 0..2000 {
        let mut guest = Guest::new(random(&mut state) as u32, true);
        guest.told();
        for _ in 0..20 {
            let len = (random(&mut state) % 40) as usize;
            let mut body: Vec<u8> = (0..len).map(|_| random(&mut state) as u8).collect();
            let kind = [3, 6, 7, 9, 10, 15, 16, 21, 24, 100, 101, 102, 103][(random(&mut state) % 13) as usize];
            // Half of them with lengths that fit, so that they get further in.
            if kind >= 100 && len >= 10 && random(&mut state).is_multiple_of(2) {
                let at = if kind == 100 { 8 } else { 2 };
                let says = if body[0] & 0x80 != 0 { len as u16 * 50 } else { len as u16 - 10 };
                body[at..at + 2].copy_from_slice(&says.to_le_bytes());
                body[8 * usize::from(kind != 100)..][..2].copy_from_slice(&[says as u8, 0]);
                if body[0] & 0x80 != 0 {
                    body.truncate(10);
                }
            }
            let mut bytes = Vec::new();
            guest.both().write(&mut bytes, kind, random(&mut state) % 4, &[&body]);
            if random(&mut state).is_multiple_of(8) {
                bytes.truncate((random(&mut state) % 40) as usize);
            }
            if guest.device.receive(&bytes).is_err() {
                break;
            }
            guest.pass(random(&mut state) % 100_000);
        }
        let answers = guest.device.outgoing().len();
        assert!(answers < 1 << 20, "round {round}: {answers} bytes of answers");
    }
}
