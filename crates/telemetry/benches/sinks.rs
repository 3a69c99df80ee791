//! What showing a node costs, per sink: time on this machine, and bytes. Once with two workloads, once with eight.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program that reports to a person")]

#[path = "../tests/sinks/fixture.rs"]
mod fixture;

use std::hint::black_box;
use std::time::Instant;

use telemetry::sinks::SINKS;

const ROUNDS: u32 = 2_000;

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    for (what, node) in
        [("two workloads", fixture::Node::at_work(300)), ("eight workloads", fixture::Node::at_all_work(300))]
    {
        println!("{what}");
        // With room from the start, as on the node: what is measured is the text, not the allocator.
        let mut text = String::with_capacity(1 << 17);
        for sink in SINKS {
            let started = Instant::now();
            for _ in 0..rounds {
                text.clear();
                node.show(|snapshot| (sink.render)(black_box(snapshot), &mut text)).unwrap();
                black_box(&text);
            }
            let each = started.elapsed() / rounds;
            println!("{:12} {:6} bytes in {:6.1} µs", sink.name, text.len(), each.as_secs_f64() * 1e6);
        }
    }
}
