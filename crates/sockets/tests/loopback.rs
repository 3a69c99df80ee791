//! Sockets over the loopback provider: what programs see, in all orders of events.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::future::Future;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use sockets::{Network, SocketError, TcpSocket, UdpSocket, loopback};

/// Runs a test over a network of its own, in virtual time.
fn run<F: Future<Output = ()>>(test: impl FnOnce(&'static Network) -> F) {
    let network: &'static Network = Box::leak(Box::new(Network::new()));
    let test = async {
        test(network).await;
        // The provider frees places when it learns of dropped sockets.
        Timer::after_millis(1).await;
        assert_eq!(network.counts().open, 0, "places that are not free again");
    };
    testkit::time::run(async {
        match select(loopback::run(network), test).await {
            Either::First(never) => never,
            Either::Second(()) => {}
        }
    });
}

async fn pair(network: &'static Network, len: usize) -> (TcpSocket, TcpSocket) {
    let mut server = TcpSocket::open(network, len, len).await.unwrap();
    let mut client = TcpSocket::open(network, len, len).await.unwrap();
    let connect = async {
        Timer::after_millis(1).await;
        client.connect((loopback::ADDRESS, 7).into()).await.unwrap();
    };
    join(async { server.accept(7).await.unwrap() }, connect).await;
    (server, client)
}

/// A generator that gives the same numbers each time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn byte(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

#[test]
fn bytes_arrive_as_they_were_written_however_slow_either_side_is() {
    for seed in 1..40 {
        run(|network| async move {
            let mut random = Random(seed);
            let len = 1 << (1 + random.below(12));
            let (mut server, mut client) = pair(network, len).await;
            let total = 5000 + random.below(20_000);
            let (mut a, mut b) = (Random(seed + 100), Random(seed + 200));
            let send = async {
                let mut sent = 0;
                while sent < total {
                    let data: Vec<u8> = (sent..total.min(sent + 1 + a.below(700))).map(byte).collect();
                    let mut rest = data.as_slice();
                    while !rest.is_empty() {
                        let len = client.write(rest).await.unwrap();
                        assert!(len > 0);
                        rest = &rest[len..];
                    }
                    sent += data.len();
                    if a.below(4) == 0 {
                        Timer::after_micros(a.below(50) as u64).await;
                    }
                }
                client.close().await;
            };
            let receive = async {
                let mut received = 0;
                loop {
                    let mut buffer = vec![0; 1 + b.below(900)];
                    let len = server.read(&mut buffer).await.unwrap();
                    for (at, got) in buffer[..len].iter().enumerate() {
                        assert_eq!(*got, byte(received + at), "byte {} of {total}", received + at);
                    }
                    received += len;
                    if len == 0 {
                        break;
                    }
                    if b.below(4) == 0 {
                        Timer::after_micros(b.below(50) as u64).await;
                    }
                }
                assert_eq!(received, total);
                server.close().await;
            };
            join(send, receive).await;
        });
    }
}

#[test]
fn a_connection_can_be_half_closed() {
    run(|network| async move {
        let (mut server, mut client) = pair(network, 256).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown();
        assert_eq!(client.write(b"more").await, Err(SocketError::ConnectionReset));
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await, Ok(8));
        assert_eq!(server.read(&mut buffer).await, Ok(0));
        server.write_all(b"answer").await.unwrap();
        server.close().await;
        assert_eq!(client.read(&mut buffer).await, Ok(6));
        assert_eq!(client.read(&mut buffer).await, Ok(0));
    });
}

#[test]
fn a_socket_that_is_dropped_resets_its_connection_unless_it_was_shut_down() {
    run(|network| async move {
        let (server, mut client) = pair(network, 256).await;
        drop(server);
        assert_eq!(client.read(&mut [0; 9]).await, Err(SocketError::ConnectionReset));
        assert!(client.is_closed());
        assert_eq!(client.write(b"x").await, Err(SocketError::ConnectionReset));

        let (mut server, mut client) = pair(network, 256).await;
        server.write_all(b"last words").await.unwrap();
        server.shutdown();
        drop(server);
        let mut buffer = [0; 64];
        assert_eq!(client.read(&mut buffer).await, Ok(10));
        assert_eq!(client.read(&mut buffer).await, Ok(0));
    });
}

#[test]
fn a_socket_has_one_connection_after_the_other() {
    run(|network| async move {
        let mut server = TcpSocket::open(network, 64, 64).await.unwrap();
        let mut client = TcpSocket::open(network, 64, 64).await.unwrap();
        assert_eq!(client.connect((loopback::ADDRESS, 9).into()).await, Err(SocketError::Refused));
        assert_eq!(server.accept(0).await, Err(SocketError::NoRoute));
        for round in 0..20u8 {
            let serve = async {
                server.accept(9).await.unwrap();
                assert_eq!(server.local().unwrap().port(), 9);
                let mut buffer = [0; 3];
                // Not all of what was written is read: it must not show up in the next connection.
                server.read_exact(&mut buffer).await.unwrap();
                assert_eq!(buffer, [round; 3]);
                if round % 2 == 0 { server.abort() } else { server.close().await }
            };
            let ask = async {
                Timer::after_millis(1).await;
                client.connect((loopback::ADDRESS, 9).into()).await.unwrap();
                assert_eq!(client.peer().unwrap().port(), 9);
                client.write_all(&[round; 10]).await.unwrap();
                let _ = client.read(&mut [0; 5]).await;
                client.abort();
                assert!(client.peer().is_none());
            };
            join(serve, ask).await;
        }
    });
}

#[test]
fn who_does_not_wait_any_more_does_not_listen() {
    run(|network| async move {
        let mut server = TcpSocket::open(network, 64, 64).await.unwrap();
        let mut client = TcpSocket::open(network, 64, 64).await.unwrap();
        assert!(with_timeout(Duration::from_millis(5), server.accept(9)).await.is_err());
        Timer::after_millis(1).await;
        assert_eq!(client.connect((loopback::ADDRESS, 9).into()).await, Err(SocketError::Refused));
    });
}

#[test]
fn halves_work_at_the_same_time_and_flush_waits_for_the_peer() {
    run(|network| async move {
        let (mut server, mut client) = pair(network, 32).await;
        let echo = async {
            let mut buffer = [0; 16];
            loop {
                let len = server.read(&mut buffer).await.unwrap();
                if len == 0 {
                    break server.close().await;
                }
                server.write_all(&buffer[..len]).await.unwrap();
            }
        };
        let ask = async {
            let (mut reader, mut writer) = client.split();
            let write = async {
                for at in 0..1000 {
                    writer.write_all(&[byte(at)]).await.unwrap();
                }
                writer.flush().await.unwrap();
                writer.shutdown();
            };
            let read = async {
                for at in 0..1000 {
                    let mut buffer = [0];
                    reader.read_exact(&mut buffer).await.unwrap();
                    assert_eq!(buffer, [byte(at)]);
                }
                assert_eq!(reader.read(&mut [0]).await, Ok(0));
            };
            join(write, read).await;
            assert_eq!(client.unsent(), 0);
        };
        join(echo, ask).await;
    });
}

#[test]
fn there_are_as_many_sockets_as_places() {
    run(|network| async move {
        let mut sockets = vec![];
        for _ in 0..sockets::network::PLACES {
            sockets.push(TcpSocket::open(network, 8, 8).await.unwrap());
        }
        assert_eq!(TcpSocket::open(network, 8, 8).await.err(), Some(SocketError::NoPlace));
        assert_eq!(network.counts().refused, 1);
        sockets.pop();
        Timer::after_millis(1).await;
        sockets.push(TcpSocket::open(network, 8, 8).await.unwrap());
    });
}

#[test]
fn datagrams_arrive_whole_and_those_that_nobody_takes_are_counted() {
    run(|network| async move {
        let mut server = UdpSocket::bind(network, 9, 4, 4).await.unwrap();
        let mut client = UdpSocket::bind(network, 0, 4, 4).await.unwrap();
        assert_eq!(UdpSocket::bind(network, 9, 4, 4).await.err(), Some(SocketError::PortInUse));
        let to = (loopback::ADDRESS, 9).into();
        assert_eq!(client.send_to(&[0; 1473], to).await, Err(SocketError::TooLong));
        for len in [0, 1, 700, 1472] {
            let data: Vec<u8> = (0..len).map(byte).collect();
            client.send_to(&data, to).await.unwrap();
            let mut buffer = [0; 2000];
            let datagram = server.recv_from(&mut buffer).await;
            assert_eq!((datagram.len, &buffer[..len]), (len, data.as_slice()));
            assert_eq!(datagram.peer, (loopback::ADDRESS, client.port()).into());
            server.send_to(&data, datagram.peer).await.unwrap();
            assert_eq!(client.recv_from(&mut buffer).await.len, len);
        }
        for number in 0..100u8 {
            client.send_to(&[number; 1472], to).await.unwrap();
        }
        Timer::after_millis(1).await;
        let mut taken = 0;
        while let Some(number) = server.try_recv_with(|data, _, _| data[0]) {
            assert_eq!(number, taken, "the oldest are kept");
            taken += 1;
        }
        assert!((4..=5).contains(&taken), "{taken} datagrams in room for 4");
        assert_eq!(server.dropped(), 100 - u64::from(taken));
        assert_eq!(network.counts().dropped_datagrams, server.dropped());
    });
}

#[test]
fn names_and_addresses_are_told_apart() {
    run(|network| async move {
        assert_eq!(network.resolve("10.1.2.3").await, Ok([10, 1, 2, 3].into()));
        assert_eq!(network.resolve("pi-123456.local").await, Ok(loopback::ADDRESS));
        assert_eq!(network.resolve("pi-123456").await, Ok(loopback::ADDRESS));
        for bad in ["", ".local", "a.b", "a b", &"x".repeat(64)] {
            assert_eq!(network.resolve(bad).await, Err(SocketError::BadName), "{bad:?}");
        }
        assert_eq!(network.resolve_peer("pi-1:80", 5201).await, Ok((loopback::ADDRESS, 80).into()));
        assert_eq!(network.resolve_peer("pi-1", 5201).await, Ok((loopback::ADDRESS, 5201).into()));
        assert_eq!(network.resolve_peer("[fe80::1]:7", 1).await, Ok("[fe80::1]:7".parse().unwrap()));
        assert_eq!(network.resolve_peer("fe80::1", 1).await, Ok("[fe80::1]:1".parse().unwrap()));
        assert_eq!(network.resolve_peer("pi-1:x", 1).await, Err(SocketError::BadName));
        let eight = std::iter::repeat_with(|| network.resolve("pi-1")).take(8).collect::<Vec<_>>();
        for answer in eight {
            assert_eq!(answer.await, Ok(loopback::ADDRESS));
        }
    });
}
