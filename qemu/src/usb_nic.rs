//! A model of a NIC on the USB bus of a virtual node.
//!
//! QEMU connects to two sockets in the run directory: `usb` carries the usbredir protocol, `wire` the frames, each behind its
//! length as a 32-bit big-endian number (`-netdev stream`), to and from the node's network by way of a hub in QEMU. One
//! thread moves bytes between them and the model; a change from outside wakes it.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use usb_models::lan7800::Lan7800;
use usb_models::lan9514::Lan9514;
use usb_models::nic::{Mistakes, NicModel, Partner, Seen, UsbSpeed};

use crate::config::NicKind;
use crate::usbredir::device::Device;

/// How long a virtual cable negotiates. A real one takes about two seconds, which every boot would have to wait.
const NEGOTIATION: Duration = Duration::from_millis(100);
/// Longest that QEMU takes to confirm that a device came or went.
const PLUG_TIMEOUT: Duration = Duration::from_secs(10);
/// A guest that gets no answers and asks for nothing more for so long waits for what it has asked for.
const QUIET: Duration = Duration::from_millis(10);
/// Longest that such a moment is waited for.
const QUIET_TIMEOUT: Duration = Duration::from_millis(300);
/// While so many bytes wait to be taken by QEMU, nothing more is read from the guest.
const BACKLOG: usize = 256 * 1024;
/// Longest frame that is believed.
const FRAME_LEN_MAX: usize = 64 * 1024;

/// A NIC's model in the hands of the node's owner. It ends with it.
pub struct UsbNic {
    shared: Arc<Shared>,
    wake: UnixStream,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    start: Instant,
}

struct State {
    device: Device,
    /// When the guest last asked for something.
    asked_at: Instant,
    /// Why the thread ended.
    end: Option<String>,
    is_closing: bool,
}

impl std::fmt::Debug for UsbNic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsbNic").field("seen", &self.seen()).finish_non_exhaustive()
    }
}

impl UsbNic {
    /// Starts a model behind the two connections.
    pub(crate) fn start(
        kind: NicKind,
        speed: UsbSpeed,
        is_plugged: bool,
        usb: UnixStream,
        wire: UnixStream,
    ) -> Result<Self> {
        let mut nic: Box<dyn NicModel> = match kind {
            NicKind::Lan9514 => Box::new(Lan9514::new(speed)),
            NicKind::Lan7800 => Box::new(Lan7800::new(speed)),
            NicKind::UsbNet => bail!("usb-net is QEMU's own"),
        };
        nic.core().set_negotiation_time(u64::try_from(NEGOTIATION.as_micros())?);
        let device = Device::new(nic, speed, is_plugged);
        let state = Mutex::new(State { device, asked_at: Instant::now(), end: None, is_closing: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new(), start: Instant::now() });
        let (wake, woken) = UnixStream::pair().context("no socket pair")?;
        for socket in [&usb, &wire, &wake, &woken] {
            socket.set_nonblocking(true)?;
        }
        let pump = Pump { shared: Arc::clone(&shared), usb, wire, woken, to_wire: Vec::new(), from_wire: Vec::new() };
        thread::Builder::new().name("usb-nic".into()).spawn(move || pump.run())?;
        Ok(Self { shared, wake })
    }

    /// Looks at the model and changes it: faults, the cable, counters.
    pub fn with<T>(&self, look: impl FnOnce(&mut dyn NicModel) -> T) -> T {
        let result = look(self.shared.lock().device.nic());
        self.wake();
        result
    }

    /// Returns the mistakes that the driver made so far.
    #[must_use]
    pub fn mistakes(&self) -> Mistakes {
        self.with(|nic| nic.core().mistakes().clone())
    }

    /// Returns what the model saw so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.with(|nic| nic.core().seen())
    }

    /// Plugs the cable into a switch, or pulls it out.
    pub fn set_cable(&self, is_in: bool) {
        self.with(|nic| nic.core().set_partner(is_in.then(Partner::default)));
    }

    /// Plugs the NIC into its USB port.
    ///
    /// # Errors
    /// When QEMU does not take it.
    pub(crate) fn plug(&self) -> Result<()> {
        let mut state = self.shared.lock();
        state.device.plug(true);
        drop(self.wait_for(state, |state| state.device.is_plugged())?);
        Ok(())
    }

    /// Returns whether the NIC is plugged in, or about to be.
    pub(crate) fn is_wanted(&self) -> bool {
        self.shared.lock().device.is_wanted()
    }

    /// Returns whether QEMU still has a transfer under way for a NIC that was pulled out, and must not be reset.
    pub(crate) fn left_one(&self) -> bool {
        self.shared.lock().device.left_one()
    }

    /// Pulls the NIC out of its USB port, whatever is under way, and returns when QEMU has seen it.
    ///
    /// # Errors
    /// When QEMU does not confirm it.
    pub(crate) fn unplug(&self) -> Result<()> {
        // While nothing is answered, all that the guest has under way is soon here, and can end before the device goes.
        self.shared.lock().device.freeze();
        let start = Instant::now();
        while self.shared.lock().asked_at.elapsed().min(start.elapsed()) < QUIET && start.elapsed() < QUIET_TIMEOUT {
            thread::sleep(Duration::from_millis(1));
        }
        let mut state = self.shared.lock();
        state.device.plug(false);
        drop(self.wait_for(state, |state| state.device.is_gone())?);
        Ok(())
    }

    /// Waits until the state is as it should be.
    fn wait_for<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        is_so: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'a, State>> {
        self.wake();
        let deadline = Instant::now() + PLUG_TIMEOUT;
        while !is_so(&state) {
            if let Some(end) = &state.end {
                bail!("the NIC's connection to QEMU has ended: {end}");
            }
            if state.device.was_rejected() {
                bail!("QEMU refuses the NIC");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("QEMU took no notice of the NIC within {PLUG_TIMEOUT:?}");
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(state)
    }

    fn wake(&self) {
        // Full means that it will wake anyway; an error, that it has ended.
        let _ = (&self.wake).write(&[0]);
    }
}

impl Drop for UsbNic {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.wake();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A closure of a test may have panicked; the model is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The thread.
struct Pump {
    shared: Arc<Shared>,
    usb: UnixStream,
    wire: UnixStream,
    woken: UnixStream,
    to_wire: Vec<u8>,
    from_wire: Vec<u8>,
}

impl Pump {
    fn run(mut self) {
        let end = self.pump().err().map_or_else(|| "closed".to_owned(), |error| format!("{error:#}"));
        self.shared.lock().end = Some(end);
        self.shared.changed.notify_all();
    }

    /// Moves bytes until a connection ends.
    fn pump(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let mut state = shared.lock();
            if state.is_closing {
                return Ok(());
            }
            // More may have happened in the model by itself, so look before waiting.
            let now = shared.now_us();
            self.deliver(state.device.nic());
            let next = state.device.advance(now);
            self.collect(state.device.nic());
            send(&mut self.usb, state.device.outgoing())?;
            send(&mut self.wire, &mut self.to_wire)?;
            shared.changed.notify_all();
            let usb_waits = !state.device.outgoing().is_empty();
            let has_room = state.device.nic().has_room();
            drop(state);

            let is_behind = self.to_wire.len() > BACKLOG;
            let timeout = next.map(|next| Duration::from_micros(next.saturating_sub(shared.now_us())));
            self.wait(usb_waits, has_room, is_behind, timeout)?;
            drain(&mut self.woken, &mut chunk)?;
            if has_room && let Some(len) = receive(&mut self.wire, &mut chunk)? {
                self.from_wire.extend_from_slice(&chunk[..len]);
            }
            if !is_behind && let Some(len) = receive(&mut self.usb, &mut chunk)? {
                let mut state = shared.lock();
                state.asked_at = Instant::now();
                state.device.advance(shared.now_us());
                state.device.receive(&chunk[..len])?;
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self, usb_waits: bool, has_room: bool, is_behind: bool, timeout: Option<Duration>) -> Result<()> {
        let flags = |reads: bool, writes: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, reads);
            flags.set(PollFlags::POLLOUT, writes);
            flags
        };
        let mut sockets = [
            PollFd::new(self.usb.as_fd(), flags(!is_behind, usb_waits)),
            PollFd::new(self.wire.as_fd(), flags(has_room, !self.to_wire.is_empty())),
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut sockets, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("waiting for QEMU"),
        }
    }

    /// Gives the model the frames that came, as long as a partner with flow control would send.
    fn deliver(&mut self, nic: &mut dyn NicModel) {
        let mut at = 0;
        while let Some((len, rest)) = self.from_wire[at..].split_first_chunk() {
            let len = u32::from_be_bytes(*len) as usize;
            if len > FRAME_LEN_MAX {
                // No frame, so what follows can't be told apart.
                at = self.from_wire.len();
                break;
            }
            let Some(frame) = rest.get(..len).filter(|_| nic.has_room()) else { break };
            nic.receive(frame);
            at += 4 + len;
        }
        self.from_wire.drain(..at);
    }

    /// Takes the frames that the model has sent.
    fn collect(&mut self, nic: &mut dyn NicModel) {
        while let Some(frame) = nic.take_sent() {
            self.to_wire.extend((frame.len() as u32).to_be_bytes());
            self.to_wire.extend(frame);
        }
    }
}

/// Sends as much as the socket takes.
fn send(socket: &mut UnixStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.drain(..sent);
    Ok(())
}

/// Receives what there is; `None` when there is nothing now.
fn receive(socket: &mut UnixStream, chunk: &mut [u8]) -> Result<Option<usize>> {
    match socket.read(chunk) {
        Ok(0) => bail!("QEMU has closed its end"),
        Ok(len) => Ok(Some(len)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn drain(socket: &mut UnixStream, chunk: &mut [u8]) -> Result<()> {
    while receive(socket, chunk)?.is_some() {}
    Ok(())
}
