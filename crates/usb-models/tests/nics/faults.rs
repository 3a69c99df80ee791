//! What goes wrong on purpose.

use usb_models::device::{Answer, Function};
use usb_models::nic::NicModel;

use crate::bench::{OWN, frame, running_lan7800, running_lan9514};

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

#[test]
fn a_damaged_frame_has_the_error_bits_and_a_wrong_fcs() {
    let mut bench = running_lan9514();
    bench.nic.core().faults.damaged_frames = 1;
    let sent = frame(OWN, 100, 1);
    bench.nic.receive(&sent);
    let burst = bench.burst();
    assert_eq!(word(&burst) & 0x8002, 0x8002);
    assert_ne!(burst[4..104], sent);
    // Thrown away by the chip if it is told to.
    bench.set(0x14, 1 << 6);
    bench.nic.core().faults.damaged_frames = 1;
    bench.nic.receive(&sent);
    assert_eq!(bench.nic.on_in(0x81, usize::MAX), Answer::Nak);
    let mut bench = running_lan7800();
    bench.nic.core().faults.damaged_frames = 2;
    bench.nic.receive(&sent);
    assert_eq!(bench.nic.core().seen().dropped, 1, "bad frames are not stored");
    bench.set(0xC0, 1 << 25);
    bench.nic.receive(&sent);
    assert_eq!(word(&bench.burst()) & 0x0041_0000, 0x0041_0000);
}

#[test]
fn statuses_can_be_bad_and_lengths_wrong() {
    let mut bench = running_lan7800();
    bench.nic.core().faults.bad_statuses = 1;
    bench.nic.core().faults.wrong_lengths = 1;
    bench.nic.receive(&frame(OWN, 100, 1));
    let status = word(&bench.burst());
    assert_eq!((status >> 22 & 1, status & 0x3FFF), (1, 1104));
    let mut bench = running_lan9514();
    bench.nic.core().faults.wrong_lengths = 1;
    bench.nic.receive(&frame(OWN, 100, 1));
    assert_eq!(word(&bench.burst()) >> 16 & 0x3FFF, 1104);
}

#[test]
fn a_truncated_burst_ends_inside_of_its_last_frame() {
    let mut bench = running_lan9514();
    bench.nic.core().faults.truncated_bursts = 1;
    bench.nic.receive(&frame(OWN, 100, 1));
    bench.nic.receive(&frame(OWN, 100, 2));
    let burst = bench.burst();
    assert!(burst.len() > 108 + 60 && burst.len() < 108 + 100, "{}", burst.len());
    bench.nic.receive(&frame(OWN, 100, 3));
    assert!(bench.burst().len() >= 108, "the next one is whole");
}

#[test]
fn a_stalled_endpoint_works_again_when_its_halt_is_cleared() {
    let mut bench = running_lan7800();
    bench.nic.core().faults.stalls = vec![0x81, 2];
    bench.nic.receive(&frame(OWN, 600, 1));
    for _ in 0..2 {
        assert_eq!(bench.nic.on_in(0x81, usize::MAX), Answer::Stall);
        assert_eq!(bench.nic.on_out(2, &[0; 8]), Answer::Stall);
    }
    bench.nic.on_request([2, 1, 0, 0, 0x81, 0, 0, 0], &[]);
    assert!(matches!(bench.nic.on_in(0x81, usize::MAX), Answer::Data(data) if data.len() > 600));
    assert_eq!(bench.nic.on_out(2, &[0; 8]), Answer::Stall);
}

#[test]
fn a_reset_that_never_ends_ends_with_a_port_reset() {
    let mut bench = running_lan9514();
    bench.nic.core().faults.is_reset_stuck = true;
    bench.write(0x14, 1 << 3);
    for _ in 0..100 {
        bench.pass(100_000);
        assert_eq!(bench.read(0x14) & 1 << 3, 1 << 3);
    }
    bench.nic.core().faults.is_reset_stuck = false;
    bench.nic.on_reset();
    assert_eq!(bench.read(0x14) & 1 << 3, 0);
    bench.assert_no_mistakes();
}

#[test]
fn a_stuck_transmitter_fills_up_and_is_healed_by_a_soft_reset() {
    let mut bench = running_lan9514();
    bench.nic.core().faults.is_transmitter_stuck = true;
    let mut transfer = (1_u32 << 13 | 1 << 12 | 1000).to_le_bytes().to_vec();
    transfer.extend(1000_u32.to_le_bytes());
    transfer.extend(frame([1; 6], 1000, 1));
    let mut taken = 0;
    while bench.nic.on_out(2, &transfer) == Answer::Data(Vec::new()) {
        taken += 1;
    }
    assert_eq!((taken, bench.sent().len()), (8, 0));
    bench.write(0x14, 1 << 3);
    bench.wait_clear(0x14, 1 << 3);
    bench.write(0x10, 1 << 2);
    bench.write(0x100, 1 << 20 | 1 << 3);
    bench.send(&transfer);
    assert_eq!(bench.sent().len(), 1);
    bench.assert_no_mistakes();
}

#[test]
fn a_silent_chip_answers_nothing() {
    let mut bench = running_lan7800();
    bench.nic.core().faults.is_silent = true;
    assert_eq!(bench.request(0xC0, 0xA1, 0, 4, &[]), Answer::Nak);
    assert_eq!(bench.nic.on_in(0x81, usize::MAX), Answer::Nak);
    assert_eq!(bench.nic.on_out(2, &[0; 8]), Answer::Nak);
    bench.nic.core().faults.is_silent = false;
    assert_eq!(bench.read(0) >> 16, 0x7800);
}
