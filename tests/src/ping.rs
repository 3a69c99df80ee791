//! Pings of our own, one after the other, frame by frame.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::frames::FrameSocket;
use crate::lab::{HOST, HOST_MAC, NODE};
use crate::node;
use crate::packet::{self, ICMP, IPV4};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Marks our echo requests.
const IDENT: u16 = 0x5150;

/// Pings the node so many times with so many bytes, and returns how long each answer took, in the order of asking.
///
/// # Errors
/// When one is not answered.
pub fn round_trips(frames: &mut FrameSocket, count: u16, payload_len: usize) -> Result<Vec<Duration>> {
    let payload = vec![0x42; payload_len];
    let mut times = Vec::new();
    for number in 0..count {
        let echo = packet::ipv4(HOST, NODE, ICMP, &packet::icmp_echo_request(IDENT, number, &payload));
        let start = Instant::now();
        frames.send(&packet::ethernet(node::MAC, HOST_MAC, IPV4, &echo));
        let answer = frames.receive(node::MAC, PATIENCE, |frame| {
            let is_reply =
                frame[12..14] == IPV4.to_be_bytes() && frame.get(23) == Some(&ICMP) && frame.get(34) == Some(&0);
            let is_ours = frame.get(38..40)? == IDENT.to_be_bytes() && frame.get(40..42)? == number.to_be_bytes();
            (is_reply && is_ours).then_some(())
        })?;
        answer.with_context(|| format!("ping {number} with {payload_len} bytes was lost"))?;
        times.push(start.elapsed());
    }
    Ok(times)
}
