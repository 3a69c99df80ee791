//! A syslog server (RFC 5426) that keeps the lines it received.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The open port.
pub struct SyslogServer {
    socket: UdpSocket,
}

impl SyslogServer {
    /// Opens port 514.
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn start() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 514)).context("opening the syslog server's port")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket })
    }

    /// Returns the first message from now on that contains `part`.
    ///
    /// # Errors
    /// After `deadline`, with what came instead.
    pub fn wait_for(&self, part: &str, deadline: Duration) -> Result<String> {
        let start = Instant::now();
        let mut others = Vec::new();
        let mut buffer = [0; 2048];
        while start.elapsed() < deadline {
            let Ok((len, _)) = self.socket.recv_from(&mut buffer) else { continue };
            let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if message.contains(part) {
                return Ok(message);
            }
            others.push(message);
        }
        bail!("no syslog message with {part:?} in {deadline:?}; received: {others:#?}")
    }
}
