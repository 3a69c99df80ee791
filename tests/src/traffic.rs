//! Load on a node, from a thread.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::wait;

/// Longest that answers may stay away: a NIC may be started anew several times meanwhile.
const RECOVERY: Duration = Duration::from_secs(90);

/// Datagrams that go to the echo service all the time, without waiting for answers. It ends on drop.
#[derive(Debug)]
pub struct Traffic {
    is_ending: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Traffic {
    /// Begins to send 1,000-byte datagrams, 20 at a time, to a UDP echo service.
    ///
    /// # Errors
    /// When there is no socket.
    pub fn start(to: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (is_ending, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (receiver, ends, counted) = (socket.try_clone()?, Arc::clone(&is_ending), Arc::clone(&answers));
        let receiving = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let received = receiver.recv(&mut [0; 2000]).is_ok();
                counted.fetch_add(u64::from(received), Ordering::Relaxed);
            }
        });
        let ends = Arc::clone(&is_ending);
        let sending = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                // Nobody answers ARP requests while the NIC is gone: then sending fails.
                (0..20).for_each(|_| drop(socket.send(&[0x77; 1000])));
                thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(Self { is_ending, answers, threads: vec![receiving, sending] })
    }

    /// Returns how many came back so far.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Waits for more answers.
    ///
    /// # Errors
    /// When they do not come in time.
    pub fn wait_for_answers(&self, count: u64) -> Result<()> {
        let before = self.answers();
        wait::until("echoed datagrams", RECOVERY, || Ok((self.answers() >= before + count).then_some(())))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}
