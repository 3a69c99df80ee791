//! Sent frames: command words, batches, and what a driver does wrong.

use usb_models::device::{Answer, Function};
use usb_models::lan9514::Lan9514;
use usb_models::nic::NicModel;

use crate::bench::{Bench, OWN, frame, lan9514, running_lan7800, running_lan9514};

const FIRST: u32 = 1 << 13;
const LAST: u32 = 1 << 12;

/// A buffer of the LAN9514 with its command words, filled up to a word.
fn buffer(a: u32, b: u32, offset: usize, data: &[u8]) -> Vec<u8> {
    let mut bytes = (a | (offset as u32) << 16 | data.len() as u32).to_le_bytes().to_vec();
    bytes.extend(b.to_le_bytes());
    bytes.resize(bytes.len() + offset, 0xEE);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0xDD);
    bytes
}

fn whole(data: &[u8]) -> Vec<u8> {
    buffer(FIRST | LAST, data.len() as u32, 0, data)
}

/// Sends a transfer as packets, with the empty one at the end if there has to be one.
fn send_packets(bench: &mut Bench<impl NicModel>, transfer: &[u8]) {
    transfer.chunks(512).for_each(|packet| bench.send(packet));
    if transfer.len().is_multiple_of(512) {
        bench.send(&[]);
    }
}

#[test]
fn a_frame_leaves_as_it_came() {
    let mut bench = running_lan9514();
    let mut sent = frame([1; 6], 1514, 3);
    send_packets(&mut bench, &whole(&sent));
    assert_eq!(bench.sent(), [sent.clone()]);
    // Without the bytes that fill up the last word.
    sent.truncate(61);
    send_packets(&mut bench, &whole(&sent)[..8 + 61]);
    assert_eq!(bench.sent(), [sent]);
    bench.assert_no_mistakes();
}

#[test]
fn short_frames_are_padded_unless_that_is_switched_off() {
    let mut bench = running_lan9514();
    let sent = frame([1; 6], 42, 3);
    bench.send(&whole(&sent));
    bench.send(&buffer(FIRST | LAST, 1 << 12 | 42, 0, &sent));
    let left = bench.sent();
    assert_eq!((left[0].len(), left[1].len()), (60, 42));
}

#[test]
fn a_batch_and_a_frame_in_segments_leave_in_order() {
    let mut bench = running_lan9514();
    let frames: Vec<_> = (0..5).map(|seed| frame([1; 6], 601 + 7 * usize::from(seed), seed)).collect();
    let mut transfer: Vec<u8> = frames[..4].iter().flat_map(|frame| whole(frame)).collect();
    let len = frames[4].len() as u32;
    let (head, tail) = frames[4].split_at(99);
    transfer.extend(buffer(FIRST, len, 2, head));
    transfer.extend(buffer(LAST, len, 3, tail));
    send_packets(&mut bench, &transfer);
    assert_eq!(bench.sent(), frames);
    assert_eq!(bench.nic.core().seen().batch_frames_max, 5);
    bench.assert_no_mistakes();
}

/// Sends what makes no sense; the endpoint halts, and works again when that is cleared.
fn refuse(transfer: &[u8], mistake: &str) {
    let mut bench = running_lan9514();
    send_packets(&mut bench, transfer);
    bench.assert_mistake(mistake);
    assert_eq!(bench.nic.on_out(2, &[0; 64]), Answer::Stall);
    assert_eq!(bench.read(0x08) & 1 << 14, 1 << 14, "transmitter error");
    assert_eq!(bench.nic.on_request([2, 1, 0, 0, 2, 0, 0, 0], &[]), Answer::Data(Vec::new()));
    let good = frame([1; 6], 100, 1);
    send_packets(&mut bench, &whole(&good));
    assert_eq!(bench.sent().last(), Some(&good));
}

#[test]
fn nonsense_stalls_the_endpoint_and_is_the_drivers_mistake() {
    let good = frame([1; 6], 100, 1);
    refuse(&[0xFF; 100], "are no command words");
    refuse(&buffer(FIRST | LAST, 99, 0, &good), "a frame of 100 bytes, command B says 99");
    refuse(&buffer(LAST, 100, 0, &good), "does not begin with a first segment");
    refuse(&[buffer(FIRST, 200, 0, &good), buffer(FIRST, 200, 0, &good)].concat(), "before the last one");
    refuse(&whole(&good)[..60], "ends inside of a buffer");
    // Frames of a batch that do not start at words.
    let odd = frame([1; 6], 101, 1);
    refuse(&[&whole(&odd)[..109], &whole(&odd)[..]].concat(), "are no command words");
}

#[test]
fn the_checksum_is_inserted_where_the_preamble_says() {
    let mut bench = running_lan9514();
    bench.write(0x130, 1 << 16);
    let mut sent = frame([1; 6], 60, 0);
    sent[14..].fill(0);
    sent[34..36].copy_from_slice(&[0x12, 0x34]);
    // From byte 34 on, into byte 40.
    let data = [&(40_u32 << 16 | 34).to_le_bytes()[..], &sent].concat();
    bench.send(&buffer(FIRST | LAST, 1 << 14 | 64, 0, &data));
    let left = bench.sent();
    assert_eq!(left[0][40..42], (!0x1234_u16).to_be_bytes());
    assert_eq!(left[0][..40], sent[..40]);
    bench.assert_no_mistakes();
}

#[test]
fn a_transmitter_that_is_off_keeps_frames_and_refuses_when_it_is_full() {
    let mut bench: Bench<Lan9514> = lan9514();
    bench.pass(2_000_000);
    let sent = frame([1; 6], 1001, 1);
    let mut taken = 0;
    while bench.nic.on_out(2, &whole(&sent)) == Answer::Data(Vec::new()) {
        taken += 1;
    }
    assert_eq!(taken, 8, "8 KiB hold eight frames of 1,012 bytes with their command words");
    assert_eq!(bench.nic.core().seen().refused_packets, 1);
    bench.write(0x10, 1 << 2);
    bench.write(0x100, 1 << 20 | 1 << 3);
    assert_eq!(bench.sent(), vec![sent; 8]);
    bench.assert_no_mistakes();
}

#[test]
fn frames_without_a_cable_are_carrier_errors() {
    let mut bench = running_lan9514();
    bench.nic.core().set_partner(None);
    bench.send(&whole(&frame([1; 6], 100, 1)));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.nic.core().seen().carrier_errors, 1);
    let Answer::Data(statistics) = bench.request(0xC0, 0xA2, 1, 40, &[]) else { panic!("no statistics") };
    assert_eq!(statistics[32..36], [1, 0, 0, 0]);
}

#[test]
fn a_wrong_duplex_mode_is_the_drivers_mistake() {
    let mut bench = running_lan9514();
    bench.write(0x100, 1 << 3 | 1 << 2);
    bench.pass(1_000_000);
    bench.send(&whole(&frame([1; 6], 100, 1)));
    bench.assert_mistake("MAC_CR's duplex mode is not the link's");
}

/// A frame of the LAN7800 with its command words, filled up to a word.
fn commanded(a: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (a | data.len() as u32).to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0xDD);
    bytes
}

#[test]
fn the_lan7800_sends_batches_with_the_fcs_of_its_own() {
    let mut bench = running_lan7800();
    let frames: Vec<_> = (0..6).map(|seed| frame(OWN, 1501 + usize::from(seed), seed)).collect();
    let transfer: Vec<u8> = frames.iter().flat_map(|frame| commanded(1 << 22, frame)).collect();
    // All at once, as QEMU's controller hands long transfers over.
    bench.send(&transfer);
    assert_eq!(bench.sent(), frames);
    bench.assert_no_mistakes();
    bench.send(&commanded(0, &frames[0]));
    bench.assert_mistake("wrong FCS of the driver's");
}

#[test]
fn the_lan7800_needs_a_mac_that_follows_the_phy() {
    let mut bench = running_lan7800();
    bench.write(0x100, 0);
    bench.pass(1_000_000);
    bench.send(&commanded(1 << 22, &frame(OWN, 100, 1)));
    assert!(bench.sent().is_empty());
    bench.assert_mistake("does not fit the link");
    // Set by hand: 1000 Mbit/s, full duplex.
    bench.write(0x100, 1 << 3 | 2 << 1);
    bench.send(&commanded(1 << 22, &frame(OWN, 100, 1)));
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn a_fifo_is_emptied_while_it_is_off() {
    let mut bench = running_lan7800();
    bench.write(0xC4, 1 << 31 | 1 << 30);
    bench.assert_mistake("FIFO 0xc4 reset while it is on");
}
