//! An Ethernet switch between virtual nodes, in this process: learns addresses, floods what it does not know, records.
//!
//! Whoever connects to its socket has a port: a node's QEMU ([`crate::Network::Stream`]), a gateway, a test. Two threads serve each
//! port. One reads its frames and puts each into the queues of the ports that it goes to; the other writes what is in the port's
//! own queue. Nobody waits for a port that is slow: a frame that finds a full queue is dropped and counted, as in a real switch.

mod capture;
pub mod dhcp;
mod station;
mod table;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

pub use self::capture::Capture;
pub use self::station::Station;
use self::table::{Destination, Table};

/// Frames that wait for a slow port at most, 6 MB of long ones. A real switch has less room, but its ports are never without a
/// processor for a while, as those here are on a busy host.
const QUEUE: usize = 4096;
/// Shortest frame that has both addresses and a type, in bytes.
const FRAME_LEN_MIN: usize = 14;
/// Longest frame that QEMU passes on, in bytes (its `NET_BUFSIZE` is 4 KiB + 64 KiB).
const FRAME_LEN_MAX: usize = 69_632;

/// Names a port for as long as it is connected; never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u64);

/// What a port has done. All numbers are of frames, except where it says bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortCounts {
    /// Received from the port.
    pub rx_frames: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Sent to the port.
    pub tx_frames: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// Not sent to the port, because its queue was full.
    pub dropped: u64,
    /// Received, and too short to have addresses, or refused by the switch's filter.
    pub refused: u64,
}

/// Decides whether a frame that came from a port may go on: see [`Switch::filter`].
pub type Filter = dyn Fn(&[u8]) -> bool + Send + Sync;

/// See the module. Dropping it disconnects every port.
#[derive(Debug)]
pub struct Switch {
    path: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    capture: Mutex<Option<Capture>>,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct State {
    ports: BTreeMap<PortId, Arc<Port>>,
    table: Table<PortId>,
    next: u64,
}

struct Port {
    queue: SyncSender<Arc<[u8]>>,
    stream: UnixStream,
    counts: Arc<Counts>,
    filter: Mutex<Option<Arc<Filter>>>,
    capture: Mutex<Option<Capture>>,
}

#[derive(Default)]
struct Counts {
    rx_frames: AtomicU64,
    rx_bytes: AtomicU64,
    tx_frames: AtomicU64,
    tx_bytes: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
}

impl Switch {
    /// Makes a switch that listens at `path`, which must not exist.
    ///
    /// # Errors
    /// When the socket can't be bound: the path is taken, too long for a socket (107 bytes), or in no directory.
    pub fn listen(path: &Path) -> Result<Self> {
        let listener = bind(path)?;
        let switch = Self { path: path.to_owned(), shared: Arc::new(Shared::new()) };
        let shared = switch.shared.clone();
        thread::Builder::new().name("switch".into()).spawn(move || {
            for stream in listener.incoming() {
                if shared.is_closed.load(Ordering::Acquire) {
                    return;
                }
                // A port whose threads can't be started is closed by that, and whoever connected sees it.
                let _ = stream.and_then(|stream| shared.connect(stream, None));
            }
        })?;
        Ok(switch)
    }

    /// Returns the socket to connect to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes one more socket, for one station whose port is recorded from the first frame on: what it sends, and what it is sent.
    ///
    /// # Errors
    /// As [`Switch::listen`].
    pub fn plug(&self, path: &Path, capture: Capture) -> Result<()> {
        let listener = bind(path)?;
        let shared = self.shared.clone();
        thread::Builder::new().name("switch plug".into()).spawn(move || {
            // As in `listen`. The listener ends here, and with it the socket.
            let _ = listener.accept().and_then(|(stream, _)| shared.connect(stream, Some(capture)));
        })?;
        Ok(())
    }

    /// Gives one end of a socket pair a port, for a program in this process; the other end is returned.
    ///
    /// # Errors
    /// When the system has no more sockets or threads.
    pub fn connect(&self) -> Result<(PortId, Link)> {
        let (ours, theirs) = UnixStream::pair().context("no socket pair")?;
        let port = self.shared.connect(ours, None).context("no port")?;
        Ok((port, Link(theirs)))
    }

    /// Has `filter` look at every frame that comes from a port: those for which it returns false are counted and go nowhere.
    pub fn filter(&self, port: PortId, filter: impl Fn(&[u8]) -> bool + Send + Sync + 'static) {
        if let Some(port) = self.shared.state().ports.get(&port) {
            *lock(&port.filter) = Some(Arc::new(filter));
        }
    }

    /// Returns which port has the node with an Ethernet address, once it has sent anything.
    #[must_use]
    pub fn port_of(&self, mac: [u8; 6]) -> Option<PortId> {
        self.shared.state().table.find(mac, Instant::now())
    }

    /// Returns the counts of every port that is connected.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<PortId, PortCounts> {
        self.shared.state().ports.iter().map(|(id, port)| (*id, port.counts.read())).collect()
    }

    /// Records from now on every frame that comes from a port, once, and ends what was recorded before.
    pub fn record(&self, capture: Option<Capture>) {
        *lock(&self.shared.capture) = capture;
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = UnixStream::connect(&self.path);
        // Nothing to do about a file that is gone already.
        let _ = std::fs::remove_file(&self.path);
        for port in self.shared.state().ports.values() {
            port.close();
        }
    }
}

impl Shared {
    fn new() -> Self {
        Self { state: Mutex::default(), capture: Mutex::new(None), is_closed: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Gives a stream a port and starts its threads.
    fn connect(self: &Arc<Self>, stream: UnixStream, capture: Option<Capture>) -> io::Result<PortId> {
        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        let (reader, writer) = (stream.try_clone()?, stream.try_clone()?);
        let (counts, filter, capture) = (Arc::default(), Mutex::new(None), Mutex::new(capture));
        let port = Arc::new(Port { queue, stream, counts, filter, capture });
        let id = {
            let mut state = self.state();
            let id = PortId(state.next);
            state.next += 1;
            state.ports.insert(id, port.clone());
            id
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.into()).spawn(run);
        // Not the port itself, which has the other end of its queue: the thread ends when that is gone.
        let counts = port.counts.clone();
        let shared = self.clone();
        let receive = Box::new(move || {
            // An end is an end, whatever the reason: whoever was connected knows it.
            let _ = shared.receive(id, &port, reader);
            shared.disconnect(id);
        });
        let send = Box::new(move || _ = send(writer, &waiting, &counts));
        let result = spawn("switch rx", receive).and_then(|_| spawn("switch tx", send));
        if let Err(error) = result {
            self.disconnect(id);
            return Err(error);
        }
        Ok(id)
    }

    fn disconnect(&self, id: PortId) {
        let mut state = self.state();
        state.table.forget(id);
        if let Some(port) = state.ports.remove(&id) {
            port.close();
        }
    }

    /// Passes on what comes from a port until it ends.
    fn receive(&self, id: PortId, port: &Port, mut stream: UnixStream) -> io::Result<()> {
        loop {
            let frame = read_frame(&mut stream)?;
            port.counts.rx_frames.fetch_add(1, Ordering::Relaxed);
            port.counts.rx_bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
            let filter = lock(&port.filter).clone();
            let (Some(to), Some(from)) = (frame.first_chunk(), frame.get(6..).and_then(<[u8]>::first_chunk)) else {
                port.counts.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if frame.len() < FRAME_LEN_MIN || filter.is_some_and(|may_pass| !may_pass(&frame)) {
                port.counts.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let now = Instant::now();
            let targets: Vec<Arc<Port>> = {
                let mut state = self.state();
                let destination = state.table.learn(*from, *to, id, now);
                let is_target = |other: &PortId| match destination {
                    Destination::All => *other != id,
                    Destination::One(port) => *other == port,
                    Destination::None => false,
                };
                state.ports.iter().filter(|(other, _)| is_target(other)).map(|(_, port)| port.clone()).collect()
            };
            for capture in [&self.capture, &port.capture] {
                record(capture, &frame);
            }
            for target in targets {
                record(&target.capture, &frame);
                match target.queue.try_send(frame.clone()) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => _ = target.counts.dropped.fetch_add(1, Ordering::Relaxed),
                    // It is about to go.
                    Err(TrySendError::Disconnected(_)) => {}
                }
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("ports", &self.state().ports.len()).finish_non_exhaustive()
    }
}

impl Port {
    /// Has its reader see an end, and its writer's next frame fail.
    fn close(&self) {
        // Closed already is closed.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Counts {
    fn read(&self) -> PortCounts {
        // Relaxed: numbers for people; each is right by itself.
        let [rx_frames, rx_bytes, tx_frames, tx_bytes, dropped, refused] =
            [&self.rx_frames, &self.rx_bytes, &self.tx_frames, &self.tx_bytes, &self.dropped, &self.refused]
                .map(|count| count.load(Ordering::Relaxed));
        PortCounts { rx_frames, rx_bytes, tx_frames, tx_bytes, dropped, refused }
    }
}

/// Writes what waits in a port's queue, until the port is gone.
fn send(mut stream: UnixStream, waiting: &Receiver<Arc<[u8]>>, counts: &Counts) -> io::Result<()> {
    for frame in waiting {
        if let Err(error) = write_frame(&mut stream, &frame) {
            // The reader sees it, too.
            let _ = stream.shutdown(Shutdown::Both);
            return Err(error);
        }
        counts.tx_frames.fetch_add(1, Ordering::Relaxed);
        counts.tx_bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// The far end of a port, in this process: sends and receives whole frames without FCS.
#[derive(Debug)]
pub struct Link(UnixStream);

impl Link {
    /// Sends a frame.
    ///
    /// # Errors
    /// When the switch is gone.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        write_frame(&mut self.0, frame)
    }

    /// Waits for the next frame.
    ///
    /// # Errors
    /// When the switch is gone.
    pub fn receive(&mut self) -> io::Result<Arc<[u8]>> {
        read_frame(&mut self.0)
    }

    /// Returns a second handle of the same end, for another thread.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// Reads a frame as QEMU's stream sockets carry it: its length as a 32-bit big-endian number, then itself (QEMU net/stream.c).
fn read_frame(stream: &mut UnixStream) -> io::Result<Arc<[u8]>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len > FRAME_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {len} bytes")));
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn write_frame(stream: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
    let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
    // In one write: another handle may write at the same time.
    stream.write_all(&[&len.to_be_bytes(), frame].concat())
}

fn record(capture: &Mutex<Option<Capture>>, frame: &[u8]) {
    if let Some(capture) = &mut *lock(capture) {
        capture.record(frame);
    }
}

fn bind(path: &Path) -> Result<UnixListener> {
    UnixListener::bind(path).with_context(|| format!("{} can't be bound", path.display()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
