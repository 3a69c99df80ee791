//! An SNTP server (RFC 4330) that tells a time of the test's choice.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Seconds between 1900 (NTP's epoch) and 1970 (RFC 868).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// The running server.
pub struct NtpServer {
    is_stopping: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    started: Instant,
    unix_time_s: u64,
    thread: Option<JoinHandle<()>>,
}

impl NtpServer {
    /// Starts a server by whose clock it is now `unix_time_s` seconds since 1970.
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn start(unix_time_s: u64) -> Result<Self> {
        Self::start_fast(unix_time_s, 0)
    }

    /// Starts a server whose clock is also too fast, by `ppm` millionths.
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn start_fast(unix_time_s: u64, ppm: u32) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 123)).context("opening the NTP server's port")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let is_stopping = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let thread = std::thread::spawn({
            let (is_stopping, requests) = (Arc::clone(&is_stopping), Arc::clone(&requests));
            move || {
                let mut buffer = [0; 128];
                while !is_stopping.load(Ordering::Relaxed) {
                    let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                    let elapsed = started.elapsed();
                    let now = Duration::from_secs(unix_time_s) + elapsed + elapsed / 1_000_000 * ppm;
                    if let Some(reply) = reply(&buffer[..len], now) {
                        requests.fetch_add(1, Ordering::Relaxed);
                        // A lost reply is seen by the test as a clock that was not set.
                        let _ = socket.send_to(&reply, from);
                    }
                }
            }
        });
        Ok(Self { is_stopping, requests, started, unix_time_s, thread: Some(thread) })
    }

    /// Returns what the server's clock shows now, in seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> f64 {
        self.unix_time_s as f64 + self.started.elapsed().as_secs_f64()
    }

    /// Returns how many requests were answered.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for NtpServer {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

/// Returns the answer to a client's request (mode 3), by RFC 4330, section 6.
fn reply(request: &[u8], now: Duration) -> Option<[u8; 48]> {
    let first = *request.first()?;
    if request.len() < 48 || first & 7 != 3 {
        return None;
    }
    let mut reply = [0; 48];
    // The client's version, mode 4 (server), stratum 1, poll 2^6 s, precision 2^-20 s.
    reply[..4].copy_from_slice(&[first & 0x38 | 4, 1, 6, 0xec]);
    reply[12..16].copy_from_slice(b"TEST");
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    // Era 0 ends in 2036; the seconds wrap there on purpose.
    let stamp = ((now.as_secs() + NTP_TO_UNIX_S) << 32 | fraction).to_be_bytes();
    reply[16..24].copy_from_slice(&stamp);
    reply[24..32].copy_from_slice(&request[40..48]);
    reply[32..40].copy_from_slice(&stamp);
    reply[40..48].copy_from_slice(&stamp);
    Some(reply)
}
