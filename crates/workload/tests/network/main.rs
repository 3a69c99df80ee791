//! Workloads that talk to others, over a network without a stack, in virtual time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod hostile;
mod kv;
mod leader;
mod load;
mod pipeline;
mod storm;

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_time::{Duration, Timer};
use embedded_io_async::{Read, Write};
use sockets::{Network, TcpSocket, loopback};
use telemetry::WorkloadStatus;
use testkit::time;
use workload::{BoxFuture, Env, Manager, PingFailure, Scratch, run_core};

/// A node with a network of its own.
struct Node(&'static Network);

impl Node {
    fn new() -> Self {
        Self(Box::leak(Box::new(Network::new())))
    }
}

impl Env for Node {
    fn ping(&self, _: IpAddr, _: usize, _: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>> {
        Box::pin(async { Err(PingFailure::NoNetwork) })
    }

    fn network(&self) -> &'static Network {
        self.0
    }
}

/// Runs `test` beside core 1 and the network.
fn with_node<T>(node: &Node, manager: &Manager, test: impl Future<Output = T>) -> T {
    let scratch = Scratch::new(vec![vec![0; 64].leak()]);
    time::run(async {
        match select3(test, run_core(1, manager, node, &scratch), loopback::run(node.0)).await {
            Either3::First(result) => result,
            Either3::Second(never) | Either3::Third(never) => never,
        }
    })
}

/// Returns the status of the workload with this id.
fn status(manager: &Manager, id: &str) -> WorkloadStatus {
    manager.statuses().into_iter().map(|view| view.status).find(|status| status.id == id).unwrap()
}

/// Returns a figure of a workload.
fn figure(manager: &Manager, id: &str, name: &str) -> u64 {
    let views = manager.statuses();
    let view = views.iter().find(|view| view.status.id == id).unwrap();
    let place = view.figures.iter().position(|metric| metric.name == name);
    view.values[place.unwrap_or_else(|| panic!("there is no figure {name}"))].load(Ordering::Relaxed)
}

/// A client of a server on the node.
struct Client(TcpSocket);

impl Client {
    /// Connects as soon as somebody listens.
    async fn connect(node: &Node, port: u16) -> Self {
        let mut socket = TcpSocket::open(node.0, 4096, 4096).await.unwrap();
        until("a server listens", async || socket.connect((loopback::ADDRESS, port).into()).await.is_ok()).await;
        Self(socket)
    }

    /// Sends a line and returns what comes until the answer has `lines` lines.
    async fn ask(&mut self, line: &str, lines: usize) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while answer.iter().filter(|byte| **byte == b'\n').count() < lines {
            let mut buffer = [0; 4096];
            match select(self.0.read(&mut buffer), Timer::after_secs(20)).await {
                Either::First(Ok(len @ 1..)) => answer.extend_from_slice(&buffer[..len]),
                Either::First(end) => panic!("{line}: {end:?} after {:?}", String::from_utf8_lossy(&answer)),
                Either::Second(()) => panic!("{line}: only {:?}", String::from_utf8_lossy(&answer)),
            }
        }
        String::from_utf8(answer).unwrap()
    }
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if is_so().await {
            return;
        }
        Timer::after_millis(10).await;
    }
    panic!("in 30 s not so: {what}");
}
