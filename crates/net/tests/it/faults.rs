//! Faults on purpose between a controller and its stack, as the other side sees them.

use std::cell::Cell;
use std::rc::Rc;

use embassy_futures::join::join;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use fault::{Moment, NodeFault, Spec};
use net::{Event, PingError, TcpSocket, UdpSocket, services};

use crate::lab::{self, Lab, Node, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);

fn add(node: &Node, fault: &str) -> u32 {
    node.stack.add_fault(Spec::parse(&mut fault.split_ascii_whitespace()).unwrap()).unwrap()
}

/// Two nodes that know each other.
async fn pair(lab: &Lab) -> (Node, Node) {
    let (a, b) = (lab.node(1, settings(fixed(1))), lab.node(2, settings(fixed(2))));
    wait_until(SECOND * 5, "addresses", || [&a, &b].iter().all(|node| node.stack.status().addresses().count() == 2))
        .await;
    for node in [&a, &b] {
        // Somebody takes note, as on a real node.
        let stack = node.stack;
        lab.tasks.spawn(async move {
            loop {
                stack.next_fault_event().await;
            }
        });
    }
    ping(&b, &a, SECOND * 3).await.unwrap();
    (a, b)
}

async fn ping(from: &Node, to: &Node, timeout: Duration) -> Result<Duration, PingError> {
    from.stack.ping(to.stack.ipv4_address().unwrap().into(), 56, timeout).await
}

#[test]
fn a_delay_is_exact_in_each_direction_and_ends_on_time() {
    lab::run(|lab| async move {
        let (a, b) = pair(&lab).await;
        let plain = ping(&b, &a, SECOND).await.unwrap();
        add(&a, "delay time=7ms dir=in for=10s");
        add(&a, "delay time=20ms dir=out for=5s");
        let start = Instant::now();
        for _ in 0..100 {
            let time = ping(&b, &a, SECOND).await.unwrap() - plain;
            assert!(time.as_micros().abs_diff(27_000) <= 10, "{time:?}");
        }
        assert_eq!(a.stack.fault_totals().delayed, 200);
        Timer::at(start + SECOND * 5).await;
        assert!((ping(&b, &a, SECOND).await.unwrap() - plain).as_micros().abs_diff(7_000) <= 10);
        Timer::at(start + SECOND * 10).await;
        assert_eq!(ping(&b, &a, SECOND).await.unwrap(), plain);
        a.assert_no_leak();
    });
}

#[test]
fn a_partition_is_exact_heals_by_itself_and_spares_the_control_channel() {
    lab::run(|lab| async move {
        let (a, b) = pair(&lab).await;
        for _ in 0..2 {
            let stack = a.stack;
            // As SSH does, as far as frames tell.
            lab.tasks.spawn(async move {
                let mut socket = TcpSocket::new(stack, 4096, 4096);
                loop {
                    socket.accept(22).await.unwrap();
                    let mut buffer = [0; 100];
                    while let Ok(len @ 1..) = socket.read(&mut buffer).await {
                        if socket.write_all(&buffer[..len]).await.is_err() {
                            break;
                        }
                    }
                    socket.close().await;
                }
            });
        }
        let tap = lab.tap_of_nodes();
        add(&a, "partition after=2s for=10s");
        let start = Instant::now();
        Timer::at(start + Duration::from_millis(1_900)).await;
        assert!(ping(&b, &a, SECOND).await.is_ok());
        Timer::at(start + Duration::from_secs(2)).await;
        tap.clear();
        for peer in [(&b, &a), (&a, &b)] {
            assert_eq!(ping(peer.0, peer.1, SECOND).await, Err(PingError::Timeout));
        }
        let mut client = TcpSocket::new(b.stack, 4096, 4096);
        client.connect((a.stack.ipv4_address().unwrap(), 22).into()).await.unwrap();
        client.write_all(b"fault clear").await.unwrap();
        let mut answer = [0; 11];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"fault clear");
        // What leaves the node meanwhile is SSH and questions for addresses.
        while let Ok(frame) = with_timeout(Duration::from_millis(1), tap.recv()).await {
            let is_echo = frame[12..14] == [8, 0] && frame[23] == 1;
            assert!(frame[6..12] != a.mac.0 || !is_echo, "{frame:02x?}");
        }
        assert!(Instant::now() < start + SECOND * 11);
        Timer::at(start + Duration::from_millis(11_999)).await;
        assert_eq!(ping(&b, &a, Duration::from_micros(900)).await, Err(PingError::Timeout));
        Timer::at(start + Duration::from_millis(12_000)).await;
        assert!(ping(&b, &a, SECOND).await.is_ok());
    });
}

#[test]
fn tcp_survives_losses_delays_duplicates_and_damage() {
    for fault in [
        "drop share=5% for=10m",
        "delay time=uniform:1ms-20ms for=10m",
        "reorder share=10% time=2ms for=10m",
        "duplicate share=20% for=10m",
        "corrupt share=3% for=10m",
        "rate rate=20Mbit/s for=10m",
    ] {
        lab::run(|lab| async move {
            let (a, b) = pair(&lab).await;
            let id = add(&a, fault);
            const LEN: usize = 300_000;
            let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 16) as u8;
            let mut server = TcpSocket::new(a.stack, 16384, 16384);
            let mut client = TcpSocket::new(b.stack, 16384, 16384);
            let address = (a.stack.ipv4_address().unwrap(), 9000).into();
            let connect = async {
                Timer::after_millis(1).await;
                client.connect(address).await.unwrap();
            };
            join(async { server.accept(9000).await.unwrap() }, connect).await;
            let work = async |socket: &mut TcpSocket| {
                let (mut reader, mut writer) = socket.split();
                let data: Vec<u8> = (0..LEN).map(byte).collect();
                let write = async { writer.write_all(&data).await.unwrap() };
                let read = async {
                    let (mut at, mut buffer) = (0, vec![0; 4096]);
                    while at < LEN {
                        let len = reader.read(&mut buffer).await.unwrap();
                        assert!(len > 0 && (0..len).all(|k| buffer[k] == byte(at + k)), "{fault}: wrong byte");
                        at += len;
                    }
                };
                join(write, read).await;
            };
            with_timeout(SECOND * 300, join(work(&mut server), work(&mut client))).await.expect(fault);
            let totals = a.stack.fault_totals();
            let done = [totals.dropped, totals.delayed, totals.duplicated, totals.corrupted];
            assert!(done.iter().any(|count| *count > 10), "{fault}: {totals:?}");
            assert_eq!(totals.overflowed, 0, "{fault}");
            // Damaged on the way in and out: noticed on both sides.
            if fault.starts_with("corrupt") {
                assert!(
                    a.stack.counters().get(Event::TcpMalformed) > 0 && b.stack.counters().get(Event::TcpMalformed) > 0
                );
            }
            assert_eq!(a.stack.clear_faults(Some(id)), 1);
            server.abort();
            client.abort();
            Timer::after_secs(1).await;
            a.assert_no_leak();
            b.assert_no_leak();
        });
    }
}

#[test]
fn the_same_frames_are_lost_again() {
    let run = |seed: u64| {
        let lost = Rc::new(Cell::new(0u128));
        let kept = lost.clone();
        lab::run(|lab| async move {
            let (a, b) = pair(&lab).await;
            lab.tasks.spawn(services::udp_echo(a.stack));
            add(&a, &format!("drop share=30% dir=in proto=udp own-port=7 seed={seed}"));
            let mut socket = UdpSocket::bind(b.stack, 0, 4, 4000).unwrap();
            let to = (a.stack.ipv4_address().unwrap(), 7).into();
            let mut answers = 0u128;
            for number in 0..120u8 {
                socket.send_to(&[number], to).await.unwrap();
                let mut buffer = [0; 10];
                if let Ok(got) = with_timeout(Duration::from_millis(5), socket.recv_from(&mut buffer)).await {
                    assert_eq!((got.len, buffer[0]), (1, number));
                    answers |= 1 << number;
                }
            }
            kept.set(!answers << 8 >> 8);
        });
        lost.get()
    };
    let first = run(1);
    assert!((20..55).contains(&first.count_ones()), "{first:x}");
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn a_cable_is_pulled_as_far_as_the_stack_can_see() {
    lab::run(|lab| async move {
        let (a, b) = pair(&lab).await;
        add(&a, "delay time=5s dir=out for=1m");
        assert_eq!(ping(&b, &a, SECOND).await, Err(PingError::Timeout));
        let ups = a.stack.status().frames.link_ups;
        add(&a, "nic-off for=3s");
        let start = Instant::now();
        Timer::after_millis(10).await;
        let epoch = a.stack.epoch();
        assert!(!a.stack.status().link.is_up() && b.stack.status().link.is_up());
        assert_eq!(ping(&b, &a, SECOND).await, Err(PingError::Timeout));
        assert_eq!(a.stack.clear_faults(Some(1)), 1);
        Timer::at(start + Duration::from_millis(3_001)).await;
        assert!(a.stack.status().link.is_up() && a.stack.epoch() != epoch);
        assert_eq!(a.stack.status().frames.link_ups, ups + 1, "who looks once a second has to see that it was away");
        // The address is looked after anew, as behind any new cable.
        let again = async { while ping(&b, &a, SECOND).await.is_err() {} };
        with_timeout(SECOND * 15, again).await.expect("a way");
        assert!(a.stack.fault_totals().dropped > 0, "what waited is lost with the cable");
        a.assert_no_leak();
    });
}

#[test]
fn beginnings_and_ends_are_told_on_time() {
    lab::run(|lab| async move {
        let node = lab.node(1, settings(fixed(1)));
        let start = Instant::now();
        add(&node, "stall core=2 after=100ms for=50ms");
        add(&node, "drop for=1s");
        let mut told = vec![];
        for _ in 0..3 {
            let event = node.stack.next_fault_event().await;
            told.push((event.view.id, event.moment, event.fault, start.elapsed().as_millis()));
        }
        let stall = || Some(NodeFault::Stall(2));
        assert_eq!(
            told,
            [(2, Moment::Began, None, 0), (1, Moment::Began, stall(), 100), (1, Moment::Healed, stall(), 150)]
        );
        // With the cable out, too.
        node.plug(false);
        Timer::after_millis(100).await;
        assert_eq!(node.stack.clear_faults(None), 1);
        assert_eq!(node.stack.next_fault_event().await.moment, Moment::Cleared);
        let mut count = 0;
        node.stack.each_fault(&mut |_| count += 1);
        assert_eq!(count, 0);
    });
}
