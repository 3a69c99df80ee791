//! SNTP, against a server made for the test.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use embassy_time::{Duration, Instant, Timer};
use net::{Event, Stack, UdpSocket};

use crate::lab::{self, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
/// 2026-11-22T12:00:00Z, when the node's clock was 0.
const EPOCH_S: u64 = 1_795_348_800;
/// Seconds from 1900 to 1970 (RFC 5905, figure 4).
const NTP_OFFSET_S: u64 = 2_208_988_800;

fn ntp(micros: u64) -> [u8; 8] {
    let seconds = EPOCH_S + NTP_OFFSET_S + micros / 1_000_000;
    let fraction = ((micros % 1_000_000) << 32) / 1_000_000;
    (seconds << 32 | fraction).to_be_bytes()
}

/// Answers after a while with the time.
async fn ntp_server(stack: &'static Stack, delay_ms: u64, is_silent: Rc<Cell<bool>>, asked: Rc<Cell<u32>>) {
    let mut socket = UdpSocket::bind(stack, 123, 4, 4096).unwrap();
    let mut buffer = [0; 100];
    loop {
        let request = socket.recv_from(&mut buffer).await;
        assert_eq!(request.len, 48);
        assert_eq!(buffer[0] & 7, 3, "client mode");
        asked.set(asked.get() + 1);
        if is_silent.get() {
            continue;
        }
        Timer::after_millis(delay_ms).await;
        let mut reply = [0; 48];
        // Version 4, server; stratum 2; root delay 1/8 s, root dispersion 1/16 s.
        reply[..4].copy_from_slice(&[0x24, 2, 6, 0xEC]);
        reply[4..8].copy_from_slice(&0x2000u32.to_be_bytes());
        reply[8..12].copy_from_slice(&0x1000u32.to_be_bytes());
        let now = ntp(Instant::now().as_micros());
        reply[16..24].copy_from_slice(&now);
        reply[24..32].copy_from_slice(&buffer[40..48]);
        reply[32..40].copy_from_slice(&now);
        reply[40..48].copy_from_slice(&now);
        socket.send_to(&reply, request.peer).await.unwrap();
    }
}

#[test]
fn the_time_is_right_within_its_error() {
    lab::run(|lab| async move {
        let server = lab.node(1, settings(fixed(1)));
        let mut with_ntp = settings(fixed(2));
        with_ntp.ntp = Some(IpAddr::from([10, 0, 0, 1]));
        let node = lab.node(2, with_ntp);
        let (is_silent, asked) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        lab.tasks.spawn(ntp_server(server.stack, 30, is_silent.clone(), asked.clone()));
        lab.tasks.spawn(net::time::run(node.stack));
        assert_eq!(node.stack.unix_time(), None);
        wait_until(SECOND * 5, "the time", || node.stack.unix_time().is_some()).await;
        for _ in 0..100 {
            Timer::after(SECOND * 30).await;
            let time = node.stack.unix_time().unwrap();
            let right = EPOCH_S * 1_000_000 + Instant::now().as_micros();
            let off = time.micros.abs_diff(right);
            assert!(off <= time.error_micros, "off by {off} of {} us", time.error_micros);
            // Half of 30 ms, half of the root's delay, its dispersion, and the drift of half an hour.
            assert!((140_000..260_000).contains(&time.error_micros), "{} us", time.error_micros);
        }
        // 8 + 16 + … + 1024, then every 1024 s, in 3000 s.
        assert!((8..=10).contains(&asked.get()), "asked {} times", asked.get());
        // A server that is gone costs nothing but certainty.
        is_silent.set(true);
        let before = node.stack.unix_time().unwrap();
        Timer::after(SECOND * 10_000).await;
        assert!(node.stack.unix_time().unwrap().error_micros > before.error_micros);
        assert!(node.stack.counters().get(Event::SntpTimeout) > 5);
        is_silent.set(false);
        wait_until(SECOND * 300, "the time again", || node.stack.time_source().unwrap().1 < SECOND * 5).await;
        // Wrong on purpose, and right again.
        let micros = || node.stack.unix_time().unwrap().micros;
        let right = micros();
        node.stack.shift_clock(-1_500_000);
        assert_eq!(micros(), right - 1_500_000);
        node.stack.shift_clock(1_500_000);
        assert_eq!(micros(), right);
    });
}
