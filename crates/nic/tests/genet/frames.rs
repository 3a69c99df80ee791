//! Frames both ways: lengths, wraps, rings that are full or short of buffers.

use embassy_time::Timer;
use nic::MacAddress;

use crate::board::{GIGABIT, MAC, TX_BUFFERS, frame, on_board, on_board_with, wait};

const PEER: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x77]);

#[test]
fn a_board_comes_up_and_says_what_it_is() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            let nic = board.exchange.nic().unwrap();
            assert_eq!((nic.driver, nic.mac), ("genet", MAC));
            assert_eq!(board.exchange.link(), GIGABIT);
            assert!(board.model.lock().phy.has_delays_right(), "rgmii-rxid");
            assert!(board.model.lock().saves_no_energy());
            // Measured on a Pi 4B with a gigabit link: UMAC_CMD 0xb.
            assert_eq!(board.model.lock().command() & 0xf, 0xb, "1 Gbit/s, both directions");
            board.assert_works().await;
            assert_eq!(board.exchange.counters().restarts, 0);
        },
    );
}

#[test]
fn frames_of_every_length_pass_both_ways() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            for len in 14..=1514 {
                let sent = frame(PEER, len, len);
                board.send(&sent);
                let seen = board.sent().await;
                assert_eq!(seen[..len], sent, "{len}");
                assert_eq!(seen.len(), len.max(60), "{len}");
                assert!(seen[len..].iter().all(|byte| *byte == 0), "{len}: the padding leaks what was there before");
                if len >= 60 {
                    let received = frame(MAC, len, len + 1);
                    board.model.lock().receive(&received);
                    assert_eq!(board.receive().await, received, "{len}");
                }
            }
            let counters = board.exchange.counters();
            assert_eq!((counters.rx_errors, counters.tx_errors, counters.rx_dropped), (0, 0, 0));
            assert_eq!(counters.rx_frames, 1455);
            wait("all are counted", || board.exchange.counters().tx_frames == 1501).await;
            assert_eq!(board.exchange.counters().tx_bytes, (14..=1514).sum::<u64>());
            board.assert_no_leak(256).await;
        },
    );
}

#[test]
fn sixteen_bit_indices_wrap_many_times() {
    const WRAPS: u64 = 3;
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            let (mut sent, mut seen, mut arrived, mut read) = (0_usize, 0_usize, 0_usize, 0_usize);
            let target = (WRAPS * 65_536 + 100) as usize;
            while read < target || seen < target {
                while sent < target && board.exchange.has_tx() {
                    board.send(&frame(PEER, 60 + sent % 40, sent));
                    sent += 1;
                }
                // In bursts of all sizes, as long as the ring has buffers left when the driver has not seen them come back.
                for _ in 0..arrived % 250 + 1 {
                    if arrived < target && arrived - read < 128 {
                        board.model.lock().receive(&frame(MAC, 60 + arrived % 50, arrived));
                        arrived += 1;
                    }
                }
                Timer::after_micros(50).await;
                for received in board.receive_all() {
                    assert_eq!(received, frame(MAC, 60 + read % 50, read), "{read}");
                    read += 1;
                }
                while let Some(frame_seen) = board.model.lock().sent.pop_front() {
                    assert_eq!(frame_seen, frame(PEER, 60 + seen % 40, seen), "{seen}");
                    seen += 1;
                }
            }
            let counters = board.exchange.counters();
            assert_eq!((counters.rx_frames, counters.rx_dropped, counters.rx_errors), (target as u64, 0, 0));
            wait("all are counted", || board.exchange.counters().tx_frames == target as u64).await;
            let [rx, tx] = board.model.lock().indices();
            assert_eq!((rx.0, tx.0), (target as u16, target as u16), "the indices have wrapped");
            board.assert_no_leak(256).await;
        },
    );
}

#[test]
fn a_full_receive_ring_counts_what_it_loses_and_goes_on() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            // Nobody reads. The ring has 256 descriptors, and the exchange not one buffer more.
            for seed in 0..300 {
                board.model.lock().receive(&frame(MAC, 64, seed));
                Timer::after_micros(5).await;
            }
            wait("the loss is counted", || board.exchange.counters().rx_dropped == 44).await;
            assert_eq!(board.event("nic_rx_missed"), 44);
            let received = board.receive_all();
            assert_eq!(received.len(), 256);
            for (seed, received) in received.into_iter().enumerate() {
                assert_eq!(received, frame(MAC, 64, seed));
            }
            board.assert_works().await;
            board.assert_no_leak(256).await;
            assert_eq!(board.exchange.counters().restarts, 0);
        },
    );
}

#[test]
fn the_count_of_lost_frames_is_set_back_before_it_ends() {
    on_board_with(
        4,
        |_| {},
        async |board| {
            board.link_up().await;
            let lost = 0x1_8000;
            for seed in 0..lost + 4 {
                board.model.lock().receive(&frame(MAC, 64, seed));
                if seed % 1000 == 0 {
                    // Sending is what makes the driver look.
                    board.send(&frame(PEER, 64, 0));
                    Timer::after_micros(20).await;
                }
            }
            board.model.lock().sent.clear();
            wait("all are counted", || board.exchange.counters().rx_dropped == lost as u64).await;
            board.assert_works().await;
        },
    );
}

#[test]
fn a_ring_that_has_few_buffers_works() {
    on_board_with(
        3,
        |_| {},
        async |board| {
            board.link_up().await;
            for seed in 0..2000 {
                let received = frame(MAC, 70, seed);
                board.model.lock().receive(&received);
                assert_eq!(board.receive().await, received);
            }
            assert_eq!(board.exchange.counters().rx_dropped, 0);
            board.assert_no_leak(3).await;
        },
    );
}

#[test]
fn all_transmit_buffers_can_be_under_way_at_once() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            for round in 0..50 {
                for seed in 0..TX_BUFFERS {
                    board.send(&frame(PEER, 1514, round + seed));
                }
                assert!(!board.exchange.has_tx());
                for seed in 0..TX_BUFFERS {
                    assert_eq!(board.sent().await, frame(PEER, 1514, round + seed));
                }
                // By the interrupt for every 16 frames, not only by the next look at the link.
                let start = embassy_time::Instant::now();
                wait("buffers come back", || board.exchange.has_tx()).await;
                assert!(start.elapsed().as_millis() < 1);
                wait("all come back", || board.exchange.counters().tx_frames as usize == (round + 1) * TX_BUFFERS)
                    .await;
            }
        },
    );
}
