//! Everything that can go wrong: counted, recovered, and traffic goes on.

use embassy_time::{Duration, Instant, Timer};
use nic::genet::PhyError;
use nic::{Link, MacAddress};

use crate::board::{MAC, frame, on_board, wait};

const SOP: u32 = 0x2000;
const EOP: u32 = 0x4000;

#[test]
fn frames_with_error_flags_are_counted_by_kind_and_dropped() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            for (set, clear, len, event) in [
                (0x02, 0, None, "nic_rx_crc"),
                (0x08, 0, None, "nic_rx_crc"),
                (0x04, 0, None, "nic_rx_symbol"),
                (0x10, 0, None, "nic_rx_length"),
                (0x01, 0, None, "nic_rx_overrun"),
                (0, SOP, None, "nic_rx_fragment"),
                (0, EOP, None, "nic_rx_fragment"),
                (0, SOP | EOP, None, "nic_rx_fragment"),
                (0, 0, Some(0), "nic_rx_length"),
                (0, 0, Some(15), "nic_rx_length"),
                (0, 0, Some(1517), "nic_rx_length"),
                (0, 0, Some(0xfff), "nic_rx_length"),
            ] {
                let (events, errors) = (board.event(event), board.exchange.counters().rx_errors);
                {
                    let mut model = board.model.lock();
                    model.faults.rx_set.push_back(set);
                    model.faults.rx_clear.push_back(clear);
                    model.faults.rx_len.extend(len);
                    model.receive(&frame(MAC, 100, 1));
                    // The next one is good.
                    model.receive(&frame(MAC, 100, 2));
                }
                assert_eq!(board.receive().await, frame(MAC, 100, 2));
                assert_eq!(board.event(event), events + 1, "{set:#x} {clear:#x} {len:?}");
                assert_eq!(board.exchange.counters().rx_errors, errors + 1);
            }
            board.assert_no_leak(256).await;
            assert_eq!(board.exchange.counters().restarts, 0);
        },
    );
}

#[test]
fn a_lost_interrupt_costs_time_and_nothing_else() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            board.model.lock().faults.lost_interrupts = 1;
            board.model.lock().receive(&frame(MAC, 100, 1));
            let start = Instant::now();
            assert_eq!(board.receive().await, frame(MAC, 100, 1));
            assert!(start.elapsed() < Duration::from_millis(120), "{:?}", start.elapsed());
            board.assert_works().await;
        },
    );
}

#[test]
fn a_driver_without_interrupts_counts_that_and_works() {
    on_board(
        |genet| genet.faults.lost_interrupts = u32::MAX,
        async |board| {
            board.link_up().await;
            for seed in 0..20 {
                board.model.lock().receive(&frame(MAC, 100, seed));
                assert_eq!(board.receive().await, frame(MAC, 100, seed));
                board.send(&frame(MAC, 100, seed));
                assert_eq!(board.sent().await, frame(MAC, 100, seed));
            }
            board.assert_no_leak(256).await;
        },
    );
}

#[test]
fn a_stalled_transmitter_is_started_anew() {
    on_board(
        |_| {},
        async |board| {
            board.assert_works().await;
            for round in 1..=3 {
                board.model.lock().faults.is_tx_stalled = true;
                let start = Instant::now();
                for seed in 0..10 {
                    board.send(&frame(MAC, 200, seed));
                }
                wait("it is started anew", || board.exchange.counters().restarts == round).await;
                let took = start.elapsed();
                assert!((Duration::from_secs(2)..Duration::from_millis(2300)).contains(&took), "{took:?}");
                assert_eq!(board.event("nic_tx_stall"), round);
                board.assert_works().await;
                assert_eq!(board.exchange.counters().tx_errors, 10 * round, "what was lost is counted");
            }
            board.assert_no_leak(256).await;
        },
    );
}

#[test]
fn a_quiet_or_unplugged_line_is_no_stall() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            Timer::after_secs(600).await;
            board.model.lock().phy.unplug();
            Timer::after_secs(600).await;
            assert_eq!(board.exchange.counters().restarts, 0);
        },
    );
}

#[test]
fn a_stalled_receiver_is_started_anew() {
    on_board(
        |_| {},
        async |board| {
            board.assert_works().await;
            board.model.lock().faults.is_rx_stalled = true;
            for seed in 0..500 {
                board.model.lock().receive(&frame(MAC, 100, seed));
                Timer::after_millis(10).await;
                if board.exchange.counters().restarts > 0 {
                    break;
                }
            }
            assert_eq!((board.exchange.counters().restarts, board.event("nic_rx_stall")), (1, 1));
            assert!(board.event("nic_rx_overrun") > 0);
            board.assert_works().await;
            board.assert_no_leak(256).await;
        },
    );
}

#[test]
fn frames_that_find_the_fifo_full_are_counted() {
    on_board(
        |_| {},
        async |board| {
            board.link_up().await;
            board.model.lock().faults.is_rx_stalled = true;
            for seed in 0..30 {
                board.model.lock().receive(&frame(MAC, 100, seed));
            }
            board.model.lock().faults.is_rx_stalled = false;
            board.model.lock().receive(&frame(MacAddress([0xff; 6]), 100, 0));
            wait("the loss is counted", || board.exchange.counters().rx_dropped >= 14).await;
            assert_eq!(board.event("nic_rx_overrun"), board.exchange.counters().rx_dropped);
            board.assert_works().await;
            assert_eq!(board.exchange.counters().restarts, 0);
        },
    );
}

#[test]
fn an_impossible_index_leads_to_a_new_start() {
    on_board(
        |_| {},
        async |board| {
            board.assert_works().await;
            for jump in [100, 0x8000, 0xff00] {
                let restarts = board.exchange.counters().restarts;
                board.model.lock().faults.tx_index_jump = jump;
                board.send(&frame(MAC, 100, 1));
                wait("it is started anew", || board.exchange.counters().restarts > restarts).await;
                board.assert_works().await;
            }
            assert_eq!(board.event("nic_index_garbage"), 3);
            board.assert_no_leak(256).await;
        },
    );
}

#[test]
fn a_missing_phy_is_looked_for_until_it_is_there() {
    on_board(
        |genet| genet.phy.is_present = false,
        async |board| {
            Timer::after_secs(40).await;
            assert!(!board.exchange.link().is_up());
            assert_eq!(board.exchange.nic().unwrap().mac, MAC, "the node has its name meanwhile");
            let tries = board.event("nic_phy_silent");
            assert!((5..20).contains(&tries), "{tries} tries in 40 s");
            board.model.lock().phy.is_present = true;
            board.assert_works().await;
        },
    );
}

#[test]
fn without_a_phy_a_substitute_takes_its_place() {
    on_board(
        |genet| genet.phy.is_present = false,
        async |board| {
            board.has_substitute.set(true);
            let start = Instant::now();
            wait("it gives up", || board.given_up.get().is_some()).await;
            assert_eq!(board.given_up.get(), Some(PhyError::Missing));
            assert!(
                (Duration::from_millis(500)..Duration::from_secs(3)).contains(&start.elapsed()),
                "a slow PHY may come"
            );
            assert_eq!((board.exchange.link(), board.exchange.nic()), (Link::Absent, None));
            assert_eq!(board.event("nic_phy_silent"), 4);
            let free = std::iter::from_fn(|| board.exchange.try_take_rx_buffer()).count();
            assert_eq!((free, board.dma.shared_count()), (256, 0), "the substitute gets all buffers");
        },
    );
}

#[test]
fn a_substitute_is_of_no_interest_while_there_is_a_phy() {
    on_board(
        |_| {},
        async |board| {
            board.has_substitute.set(true);
            board.assert_works().await;
            board.model.lock().phy.is_present = false;
            board.link_down().await;
            board.model.lock().phy.is_present = true;
            board.assert_works().await;
            assert_eq!(board.given_up.get(), None);
        },
    );
}

#[test]
fn a_phy_that_falls_silent_is_looked_for_anew() {
    on_board(
        |_| {},
        async |board| {
            board.assert_works().await;
            board.model.lock().phy.is_present = false;
            board.link_down().await;
            board.model.lock().phy.is_present = true;
            board.assert_works().await;
            assert!(board.exchange.counters().restarts > 0 && board.event("nic_phy_silent") >= 5);
            board.assert_no_leak(256).await;
        },
    );
}

#[test]
fn a_phy_that_misses_one_answer_keeps_its_link() {
    on_board(
        |_| {},
        async |board| {
            board.assert_works().await;
            board.model.lock().phy.is_present = false;
            wait("it is silent", || board.event("nic_phy_silent") > 0).await;
            board.model.lock().phy.is_present = true;
            Timer::after_secs(1).await;
            assert_eq!((board.exchange.counters().restarts, board.exchange.counters().link_ups), (0, 1));
        },
    );
}

#[test]
fn an_mdio_bus_that_is_busy_for_ever_is_given_up_and_tried_again() {
    on_board(
        |genet| genet.faults.is_mdio_stuck = true,
        async |board| {
            Timer::after_secs(10).await;
            assert!(board.event("nic_timeout") > 2 && !board.exchange.link().is_up());
            board.model.lock().faults.is_mdio_stuck = false;
            board.assert_works().await;
            board.model.lock().faults.is_mdio_stuck = true;
            board.link_down().await;
            board.model.lock().faults.is_mdio_stuck = false;
            board.assert_works().await;
            board.assert_no_leak(256).await;
        },
    );
}

#[test]
fn a_dma_that_does_not_stop_keeps_its_buffers() {
    on_board(
        |_| {},
        async |board| {
            board.assert_works().await;
            board.model.lock().refuse_to_stop(true);
            board.model.lock().faults.is_tx_stalled = true;
            board.send(&frame(MAC, 100, 1));
            wait("it is started anew", || board.exchange.counters().restarts >= 3).await;
            // Nothing was taken from a controller that may still write to it.
            assert!(board.exchange.try_take_rx_buffer().is_none());
            assert_eq!(board.dma.shared_count(), 256 + 1);
            assert!(board.event("nic_timeout") >= 2);
            board.model.lock().refuse_to_stop(false);
            board.assert_works().await;
            board.assert_no_leak(256).await;
        },
    );
}
