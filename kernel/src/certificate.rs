//! Tells on the console what an acceptance test of the board has come to.

use alloc::string::String;

use log::info;
use telemetry::certificate::Verdict;
use telemetry::sinks::certificate;

use crate::node::{MANAGER, Node};

/// Writes each certificate to the log when it is made, which is noticed within a second. Never returns.
pub(crate) async fn tell(node: &Node) -> ! {
    let mut told = None;
    let Some(mut news) = node.sample_news.receiver() else { core::future::pending().await };
    loop {
        news.changed().await;
        let now = MANAGER.certificate().filter(|certificate| certificate.verdict() != Verdict::Running);
        let Some(made) = now.filter(|made| told != Some(made.started_us)) else { continue };
        told = Some(made.started_us);
        let mut text = String::new();
        // Writing to a String does not fail.
        node.with_snapshot(|now| _ = certificate::render(now, &mut text));
        text.lines().for_each(|line| info!("| {line}"));
    }
}
