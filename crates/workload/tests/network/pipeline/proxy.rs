//! A man in the middle: passes bytes on, and cuts connections and damages bytes as it was told.

use std::cell::{Cell, RefCell};

use embassy_futures::join::join_array;
use embassy_futures::select::select;
use embedded_io_async::{Read, Write};
use sockets::{Network, TcpReader, TcpSocket, TcpWriter, loopback};
use workload::Random;

/// What happens to what passes, and what has happened.
pub(super) struct Proxy {
    /// A connection is cut after so many bytes in one direction, on average; 0 is never.
    pub(super) bytes_to_cut: Cell<u64>,
    /// One of so many bytes is damaged; 0 is none.
    pub(super) bytes_to_damage: Cell<u64>,
    pub(super) cuts: Cell<u64>,
    pub(super) damaged: Cell<u64>,
    random: RefCell<Random>,
}

impl Proxy {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            bytes_to_cut: Cell::new(0),
            bytes_to_damage: Cell::new(0),
            cuts: Cell::new(0),
            damaged: Cell::new(0),
            random: RefCell::new(Random::new(seed)),
        }
    }

    fn draw(&self, mean: &Cell<u64>) -> u64 {
        match mean.get() {
            0 => u64::MAX,
            mean => 1 + self.random.borrow_mut().below(2 * mean),
        }
    }
}

/// Connects who calls the first port to the second, several at a time.
pub(super) async fn proxy(network: &'static Network, ports: (u16, u16), faults: &Proxy) {
    let seats: [_; 4] = core::array::from_fn(|_| seat(network, ports, faults));
    join_array(seats).await;
}

async fn seat(network: &'static Network, (from, to): (u16, u16), faults: &Proxy) {
    let mut client = TcpSocket::open(network, 4096, 4096).await.unwrap();
    let mut server = TcpSocket::open(network, 4096, 4096).await.unwrap();
    loop {
        client.accept(from).await.unwrap();
        if server.connect((loopback::ADDRESS, to).into()).await.is_ok() {
            let (mut client, mut server) = (client.split(), server.split());
            select(pass(&mut client.0, &mut server.1, faults), pass(&mut server.0, &mut client.1, faults)).await;
        }
        client.abort();
        server.abort();
    }
}

/// Passes bytes on until the connection ends, or is cut: wherever that is, so mostly in the middle of a frame.
async fn pass(from: &mut TcpReader<'_>, to: &mut TcpWriter<'_>, faults: &Proxy) {
    let mut left = faults.draw(&faults.bytes_to_cut);
    let mut to_damage = faults.draw(&faults.bytes_to_damage);
    let mut buffer = [0; 700];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let len = (len as u64).min(left) as usize;
        for byte in &mut buffer[..len] {
            to_damage -= 1;
            if to_damage == 0 {
                *byte ^= 1 << faults.random.borrow_mut().below(8);
                faults.damaged.set(faults.damaged.get() + 1);
                to_damage = faults.draw(&faults.bytes_to_damage);
            }
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
        left -= len as u64;
        if left == 0 {
            faults.cuts.set(faults.cuts.get() + 1);
            return;
        }
    }
}
