//! Whether a node answers: its health page is asked for, the way that commands take.

use std::io::{Read, Write};
use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use qemu::Target;

use super::wiring::Wiring;

/// Port of a node's HTTP server.
const HTTP: u16 = 80;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an answer may take before a new attempt.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until a node answers. Returns whether it did before `deadline`, and while `may_go_on`.
pub(super) fn wait(wiring: &Wiring, target: Target, deadline: Instant, may_go_on: impl Fn() -> bool) -> bool {
    while Instant::now() < deadline && may_go_on() {
        if answers(wiring, target).unwrap_or(false) {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

fn answers(wiring: &Wiring, target: Target) -> anyhow::Result<bool> {
    let target = Target { address: SocketAddrV4::new(*target.address.ip(), HTTP), ..target };
    let mut stream = wiring.connect(target)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut start = [0; 5];
    match stream.read(&mut start)? {
        // Refused, as by a node that was told to have no HTTP: who refuses is there. One that is not is still being asked.
        0 => Ok(true),
        len => Ok(b"HTTP/".starts_with(&start[..len])),
    }
}
