//! Hours of virtual time with traffic and faults at random, always the same for the same seed.

use embassy_time::{Duration, Instant, Timer};
use testkit::genet::Partner;

use crate::board::{Board, MAC, frame, on_board_with};

const HOURS: u64 = 3;
const RX_BUFFERS: usize = 100;

/// A small generator (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn traffic_goes_on_after_hours_of_faults() {
    for seed in [1, 2] {
        on_board_with(
            RX_BUFFERS,
            |genet| {
                genet.phy.negotiation = Duration::from_millis(300);
                if seed == 2 {
                    genet.boot_from_network(true);
                }
            },
            async |board| {
                let mut random = Random(seed);
                let end = Instant::now() + Duration::from_secs(HOURS * 3600);
                let (mut received, mut sent) = (0_u64, 0_u64);
                while Instant::now() < end {
                    hurt(board, &mut random);
                    for _ in 0..random.below(30) {
                        traffic(board, &mut random, &mut received, &mut sent).await;
                    }
                    // Most faults heal by themselves; these need somebody to come.
                    Timer::after_millis(random.below(5000)).await;
                    heal(board);
                    Timer::after_millis(random.below(3000)).await;
                }
                heal(board);
                board.assert_works().await;
                board.assert_no_leak(RX_BUFFERS).await;
                let counters = board.exchange.counters();
                assert!(received > 10_000 && sent > 10_000, "{received} received, {sent} sent");
                assert!(counters.restarts > 50 && counters.rx_errors > 100, "{counters:?}");
                assert_eq!(counters.rx_frames, received + 1, "what is counted is what the stack got");
            },
        );
    }
}

fn hurt(board: &Board, random: &mut Random) {
    let mut model = board.model.lock();
    match random.below(12) {
        0 => model.phy.unplug(),
        1 => model.phy.glitch(),
        2 => model.phy.is_present = false,
        3 => model.faults.is_mdio_stuck = true,
        4 => model.faults.is_tx_stalled = true,
        5 => model.faults.is_rx_stalled = true,
        6 => model.faults.lost_interrupts = random.below(50) as u32,
        // Further than any number of frames that can be under way: a smaller jump can't be told from progress.
        7 => model.faults.tx_index_jump = 100 + random.below(65_000) as u16,
        8 => model.refuse_to_stop(true),
        9 => (0..random.below(20)).for_each(|_| model.faults.rx_set.push_back(random.below(32) as u32)),
        10 => (0..random.below(20)).for_each(|_| model.faults.rx_len.push_back(random.below(4096) as u32)),
        _ => model.phy.plug([Partner::GIGABIT, Partner::FAST, Partner::HUB][random.below(3) as usize]),
    }
}

fn heal(board: &Board) {
    let mut model = board.model.lock();
    model.phy.is_present = true;
    model.faults = testkit::genet::Faults::default();
    model.refuse_to_stop(false);
    if model.phy.link().is_none() {
        model.phy.plug(Partner::GIGABIT);
    }
}

async fn traffic(board: &Board, random: &mut Random, received: &mut u64, sent: &mut u64) {
    for _ in 0..random.below(40) {
        let len = 60 + random.below(1400) as usize;
        board.model.lock().receive(&frame(MAC, len, len));
        if board.exchange.has_tx() {
            board.send(&frame(MAC, len, len + 1));
        }
    }
    Timer::after_micros(random.below(3000)).await;
    // A slow stack leaves some for the next time.
    for _ in 0..random.below(60) {
        let Some(got) = board.exchange.take_rx() else { break };
        assert!(got.bytes().len() >= 14);
        *received += 1;
    }
    let mut model = board.model.lock();
    for seen in model.sent.drain(..) {
        assert_eq!(seen, frame(MAC, seen.len(), seen.len() + 1));
        *sent += 1;
    }
}
