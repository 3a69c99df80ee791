//! TCP over a cable that loses frames in both directions.

use embassy_futures::join::join;
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use net::TcpSocket;

use crate::lab::{self, fixed, settings, wait_until};

#[test]
fn both_sides_send_over_a_cable_that_loses_frames() {
    for loss in [10, 20, 50] {
        lab::run(|lab| async move {
            let a = lab.node(1, settings(fixed(1)));
            let b = lab.node(2, settings(fixed(2)));
            wait_until(Duration::from_secs(5), "addresses", || {
                [&a, &b].iter().all(|node| node.stack.status().addresses().count() == 2)
            })
            .await;
            let address = (a.stack.ipv4_address().unwrap(), 9000).into();
            for round in 0..10 {
                let mut server = TcpSocket::new(a.stack, 16384, 16384);
                let mut client = TcpSocket::new(b.stack, 16384, 16384);
                let connect = async {
                    Timer::after_millis(1).await;
                    client.connect(address).await.unwrap();
                };
                join(async { server.accept(9000).await.unwrap() }, connect).await;
                lab.lose(loss);
                const LEN: usize = 300_000;
                let work = async |socket: &mut TcpSocket| {
                    let (mut reader, mut writer) = socket.split();
                    let write = async { writer.write_all(&vec![7; LEN]).await };
                    let read = async {
                        let mut at = 0;
                        let mut buffer = vec![0; 4096];
                        while at < LEN {
                            match reader.read(&mut buffer).await {
                                Ok(len) if len > 0 => at += len,
                                _ => return (at, false),
                            }
                        }
                        (at, true)
                    };
                    join(write, read).await.1
                };
                // A loss costs a second or so; nothing may cost the connection.
                let work = join(work(&mut server), work(&mut client));
                let (a, b) = with_timeout(Duration::from_secs(120), work).await.unwrap();
                assert_eq!((a, b), ((LEN, true), (LEN, true)), "1 of {loss} lost, round {round}");
                lab.lose(0);
            }
        });
    }
}
