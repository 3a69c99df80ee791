//! Received frames: how they lie in a burst.

use usb_models::device::{Answer, Function};
use usb_models::nic::NicModel;

use crate::bench::{OWN, frame, running_lan7800, running_lan9514};

/// CRC-32 of IEEE 802.3, a bit at a time: not the models' own.
fn fcs(frame: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in frame {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0xEDB8_8320 } else { 0 };
        }
    }
    (!crc).to_le_bytes()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn a_frame_has_status_fcs_and_padding() {
    let mut bench = running_lan9514();
    let sent = frame(OWN, 61, 1);
    bench.nic.receive(&sent);
    assert_eq!(bench.nic.on_in(0x81, usize::MAX), Answer::Nak, "less than a packet waits for more");
    let burst = bench.burst();
    // The length counts the FCS; the type field is one; no error.
    assert_eq!(word(&burst, 0), 65 << 16 | 1 << 5);
    assert_eq!(burst[4..65], sent);
    assert_eq!(burst[65..69], fcs(&sent));
    assert!(burst.len() == 69 || burst.len() == 72, "{}", burst.len());
    assert_eq!(bench.nic.on_in(0x81, usize::MAX), Answer::Nak);
    bench.assert_no_mistakes();
}

#[test]
fn short_frames_were_padded_on_the_wire() {
    let mut bench = running_lan9514();
    bench.nic.receive(&frame(OWN, 42, 1));
    assert_eq!(word(&bench.burst(), 0) >> 16, 64);
}

#[test]
fn frames_of_a_burst_start_at_words_and_are_not_divided() {
    let mut bench = running_lan9514();
    let sent: Vec<_> = (0..12).map(|seed| frame(OWN, 1500 + usize::from(seed), seed)).collect();
    sent.iter().for_each(|frame| bench.nic.receive(frame));
    let mut found = Vec::new();
    while found.len() < sent.len() {
        let burst = bench.burst();
        assert!(burst.len() <= 37 * 512, "{}", burst.len());
        let mut at = 0;
        while at + 4 <= burst.len() {
            let len = (word(&burst, at) >> 16 & 0x3FFF) as usize;
            found.push(burst[at + 4..at + len].to_vec());
            at = (at + 4 + len).next_multiple_of(4);
        }
    }
    assert_eq!(found, sent);
    assert!(bench.nic.core().seen().burst_frames_max > 1);
}

#[test]
fn a_burst_with_and_one_without_padding_at_the_end_come_in_turn() {
    let mut bench = running_lan9514();
    let mut lengths = Vec::new();
    for _ in 0..2 {
        bench.nic.receive(&frame(OWN, 61, 1));
        lengths.push(bench.burst().len());
    }
    lengths.sort_unstable();
    assert_eq!(lengths, [69, 72]);
}

#[test]
fn one_frame_each_without_mef_and_an_empty_packet_without_bir() {
    let mut bench = running_lan9514();
    bench.write(0x14, 0);
    bench.nic.receive(&frame(OWN, 61, 1));
    bench.nic.receive(&frame(OWN, 62, 2));
    assert_eq!((bench.burst().len(), bench.burst().len()), (69, 70));
    assert_eq!(bench.nic.on_in(0x81, usize::MAX), Answer::Data(Vec::new()));
}

#[test]
fn the_offset_lies_between_status_and_frame() {
    let mut bench = running_lan9514();
    bench.write(0x14, 1 << 12 | 1 << 5 | 2 << 9);
    let sent = frame(OWN, 100, 1);
    bench.nic.receive(&sent);
    let burst = bench.burst();
    assert_eq!(word(&burst, 0) >> 16 & 0x3FFF, 104);
    assert_eq!(burst[6..106], sent);
}

#[test]
fn the_checksum_follows_the_fcs() {
    let mut bench = running_lan9514();
    bench.write(0x130, 1);
    let mut sent = frame(OWN, 60, 0);
    sent[14..].fill(0);
    sent[14..18].copy_from_slice(&[0xFF, 0xFE, 0, 3]);
    bench.nic.receive(&sent);
    let burst = bench.burst();
    assert_eq!(word(&burst, 0) >> 16, 66);
    assert_eq!(burst[68..70], [0, 2], "0xFFFE + 3, carried around");
}

#[test]
fn a_frame_behind_three_command_words_has_ten_bytes_in_front() {
    let mut bench = running_lan7800();
    let sent: Vec<_> = (0..3).map(|seed| frame(OWN, 61 + usize::from(seed), seed)).collect();
    sent.iter().for_each(|frame| bench.nic.receive(frame));
    let burst = bench.burst();
    let mut at = 0;
    for sent in &sent {
        assert_eq!((word(&burst, at) & 0x3FFF) as usize, sent.len() + 4);
        assert_eq!(word(&burst, at) & 0xC07F_0000, 0, "no error");
        assert_eq!(burst[at + 10..at + 10 + sent.len()], sent[..]);
        assert_eq!(burst[at + 10 + sent.len()..][..4], fcs(sent));
        at = (at + 10 + sent.len() + 4).next_multiple_of(4);
    }
    bench.assert_no_mistakes();
}

#[test]
fn the_fcs_can_be_stripped() {
    let mut bench = running_lan7800();
    bench.write(0x104, 1518 << 16);
    bench.write(0x104, 1518 << 16 | 1 << 4 | 1);
    bench.nic.receive(&frame(OWN, 100, 1));
    let burst = bench.burst();
    assert_eq!(word(&burst, 0) & 0x3FFF, 100);
}

#[test]
fn wrong_checksums_are_told_when_asked_for() {
    let mut bench = running_lan7800();
    bench.set(0xB0, 1 << 11);
    let mut sent = frame(OWN, 60, 0);
    sent[12..14].copy_from_slice(&[8, 0]);
    sent[14..34].copy_from_slice(&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bench.nic.receive(&sent);
    assert_eq!(word(&bench.burst(), 0) >> 31, 1);
}

#[test]
fn the_size_of_frames_changes_only_while_the_receiver_is_off() {
    let mut bench = running_lan7800();
    bench.write(0x104, 9018 << 16 | 1);
    bench.assert_mistake("the frame size changes while the receiver is on");
}

#[test]
fn a_full_fifo_loses_frames_and_counts_them() {
    let mut bench = running_lan9514();
    for seed in 0..20 {
        bench.nic.receive(&frame(OWN, 1514, seed));
    }
    assert!(!bench.nic.has_room());
    let dropped = bench.nic.core().seen().dropped;
    assert_eq!(dropped, 20 - 13, "20 KiB hold 13 frames of 1,522 bytes");
    let Answer::Data(statistics) = bench.request(0xC0, 0xA2, 0, 32, &[]) else { panic!("no statistics") };
    assert_eq!(u64::from(word(&statistics, 28)), dropped);
    assert_eq!(bench.read(0x08) & 1 << 11, 1 << 11);
    // Flushing the FIFO makes room.
    bench.write(0x0C, 1);
    assert!(bench.nic.has_room());
}

#[test]
fn nothing_is_received_while_the_cable_is_out_or_the_receiver_off() {
    let mut bench = running_lan7800();
    bench.nic.core().set_partner(None);
    bench.nic.receive(&frame(OWN, 100, 1));
    bench.nic.core().set_partner(Some(Default::default()));
    bench.pass(2_000_000);
    bench.write(0xC0, 0);
    assert_eq!(bench.read(0xC0) & 1 << 20, 1 << 20, "disabling is done");
    bench.nic.receive(&frame(OWN, 100, 1));
    assert_eq!(bench.nic.core().seen().dropped, 2);
}
