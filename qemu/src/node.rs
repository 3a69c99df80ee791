//! A running QEMU.
//!
//! The node ends when its [`Node`] is dropped; if the owner is killed, the kernel ends QEMU (see `process.rs`).

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::{self, NETDEV, NIC, Network, NicKind, NodeConfig, Protocol, Serial, UsbNet};
use crate::console::Console;
use crate::find::Qemu;
use crate::peer::Peer;
use crate::process;
use crate::qmp::Qmp;
use crate::usb_nic::UsbNic;

/// Longest that QEMU takes to start on a busy machine; observed: 0.1 s on an idle one.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that QEMU takes to end after `quit`.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest that QEMU takes to remove a device.
const UNPLUG_TIMEOUT: Duration = Duration::from_secs(10);

/// A virtual node.
#[derive(Debug)]
pub struct Node {
    child: Mutex<Child>,
    pid: Pid,
    stdout: Option<ChildStdout>,
    console: Option<Console>,
    mini_uart: Option<Console>,
    qmp: Qmp,
    peer: Option<Peer>,
    usb_nic: Option<UsbNic>,
    config: NodeConfig,
    run_dir: TempDir,
}

impl Node {
    /// Starts QEMU, and returns as soon as it runs the image and its console is read.
    ///
    /// # Errors
    /// When the image is missing, or QEMU's own message when it does not start.
    pub fn start(qemu: &Qemu, config: NodeConfig) -> Result<Self> {
        if !config.image.is_file() {
            bail!("there is no image {}; `cargo run -- build` makes it", config.image.display());
        }
        qemu.require(config.machine)?;
        let (mut run_dir, parent) = (tempfile::Builder::new(), config.run_parent.clone());
        let run_dir = run_dir.prefix("node-").tempdir_in(parent.unwrap_or_else(env::temp_dir));
        let run_dir = run_dir.context("no temporary directory")?;
        let is_captured = config.serial == Serial::Captured;
        let console = is_captured.then(|| Listener::bind(run_dir.path(), config::CONSOLE_SOCKET)).transpose()?;
        let mini_uart = config.mini_uart.then(|| Listener::bind(run_dir.path(), config::MINI_UART_SOCKET));
        let mini_uart = mini_uart.transpose()?;
        let qmp = Listener::bind(run_dir.path(), config::QMP_SOCKET)?;
        let has_peer = config.nic.is_some() && config.network == Network::Peer;
        let peer = has_peer.then(|| Peer::bind(run_dir.path())).transpose()?;

        let model = config.nic.filter(|nic| nic.kind != NicKind::UsbNet);
        let bind = |name| model.map(|_| Listener::bind(run_dir.path(), name)).transpose();
        let (usb, wire) = (bind(config::USB_SOCKET)?, bind(config::WIRE_SOCKET)?);

        if let Some(firmware) = &config.firmware {
            let file = run_dir.path().join(config::FIRMWARE);
            fs::write(&file, firmware.code(config.machine)).context("the firmware can't be written")?;
        }

        let messages = run_dir.path().join("messages");
        let begin = if config.has_slack { process::dying_and_owned } else { process::dying_with_parent };
        let mut command = begin(&qemu.program);
        command.args(config.arguments(run_dir.path())).stderr(File::create(&messages)?);
        match config.serial {
            Serial::Captured => command.stdin(Stdio::null()).stdout(Stdio::null()),
            Serial::Terminal => command.stdin(Stdio::inherit()).stdout(Stdio::piped()),
        };
        let child = process::spawn(command).with_context(|| format!("{} can't be run", qemu.program.display()))?;
        let mut starting = Starting { child: Some(child), messages: &messages };

        let console = console.map(|listener| starting.accept(&listener)).transpose()?;
        let mini_uart = mini_uart.map(|listener| starting.accept(&listener)).transpose()?;
        let usb_nic = match (model, usb, wire) {
            (Some(nic), Some(usb), Some(wire)) => {
                let (usb, wire) = (starting.accept(&usb)?, starting.accept(&wire)?);
                Some(UsbNic::start(nic.kind, nic.speed(), nic.is_plugged, usb, wire)?)
            }
            _ => None,
        };
        let qmp = starting.accept(&qmp)?;
        // QEMU answers when it has built the machine: a wrong option or a taken port ends it before that.
        let qmp = Qmp::new(qmp).map_err(|error| starting.failure(error))?;
        if !config.is_stopped {
            qmp.execute("cont", &json!({})).map_err(|error| starting.failure(error))?;
        }
        let mut child = starting.into_child()?;
        Ok(Self {
            pid: Pid::from_raw(i32::try_from(child.id())?),
            stdout: child.stdout.take(),
            child: Mutex::new(child),
            console: console.map(Console::new).transpose()?,
            mini_uart: mini_uart.map(Console::new).transpose()?,
            qmp,
            peer,
            usb_nic,
            config,
            run_dir,
        })
    }

    /// Returns the console.
    ///
    /// # Panics
    /// When the console is on the terminal ([`Serial::Terminal`]): a mistake of the caller.
    #[must_use]
    #[expect(clippy::expect_used, reason = "documented: the caller chose where the console goes")]
    pub fn console(&self) -> &Console {
        self.console.as_ref().expect("the console of this node is on the terminal")
    }

    /// Returns the mini UART, if it was asked for.
    #[must_use]
    pub fn mini_uart(&self) -> Option<&Console> {
        self.mini_uart.as_ref()
    }

    /// Returns the far end of the cable, if the network is [`Network::Peer`].
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Returns the model of the NIC, if it is not QEMU's own.
    #[must_use]
    pub fn usb_nic(&self) -> Option<&UsbNic> {
        self.usb_nic.as_ref()
    }

    /// Returns what the node was made of.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Returns QEMU's standard output, once, when the console is on the terminal.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Returns QEMU's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Returns the port of 127.0.0.1 that leads to a port of the node.
    ///
    /// # Errors
    /// When that port is not forwarded.
    pub fn port(&self, protocol: Protocol, node_port: u16) -> Result<u16> {
        let usernet = self.qmp.monitor("info usernet")?;
        host_port(&usernet, protocol, node_port)
            .with_context(|| format!("port {node_port}/{} of the node is not forwarded", protocol.name()))
    }

    /// Returns the port of 127.0.0.1 that leads to a TCP port of the node.
    ///
    /// # Errors
    /// As [`Node::port`].
    pub fn tcp_port(&self, node_port: u16) -> Result<u16> {
        self.port(Protocol::Tcp, node_port)
    }

    /// Returns the port of 127.0.0.1 that leads to a UDP port of the node.
    ///
    /// # Errors
    /// As [`Node::port`].
    pub fn udp_port(&self, node_port: u16) -> Result<u16> {
        self.port(Protocol::Udp, node_port)
    }

    /// Returns the connection to QEMU's machine protocol.
    #[must_use]
    pub fn machine_protocol(&self) -> &Qmp {
        &self.qmp
    }

    /// Executes a command of QEMU's machine protocol.
    ///
    /// # Errors
    /// QEMU's own description when it refuses.
    pub fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp.execute(command, &arguments)
    }

    /// Executes a command of QEMU's human monitor (`info usb`) and returns what it prints.
    ///
    /// # Errors
    /// When QEMU ended.
    pub fn monitor(&self, command: &str) -> Result<String> {
        self.qmp.monitor(command)
    }

    /// Presses the board's reset button. RAM keeps its contents, except where QEMU loads the image.
    ///
    /// # Errors
    /// When QEMU ended. With a model of a NIC also when the node used it in the very moment of the reset, which QEMU would not
    /// survive: rare, but not to be ruled out from here. A node that restarts itself waits for its transfers.
    pub fn reset(&self) -> Result<()> {
        // A model can't be reset with transfers under way, see `usbredir/device.rs`.
        let plugged = self.usb_nic.as_ref().filter(|nic| nic.is_wanted());
        plugged.map_or(Ok(()), UsbNic::unplug)?;
        if self.usb_nic.as_ref().is_some_and(UsbNic::left_one) {
            bail!(
                "not reset: QEMU has a transfer of the pulled-out NIC under way for ever; stop the node and start it again"
            );
        }
        self.qmp("system_reset", json!({}))?;
        plugged.map_or(Ok(()), UsbNic::plug)
    }

    /// Freezes the node.
    ///
    /// # Errors
    /// When QEMU ended.
    pub fn pause(&self) -> Result<()> {
        self.qmp("stop", json!({})).map(drop)
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// When QEMU ended.
    pub fn resume(&self) -> Result<()> {
        self.qmp("cont", json!({})).map(drop)
    }

    /// Pulls the NIC out of its USB port, and returns when it is gone.
    ///
    /// # Errors
    /// When there is no NIC, or QEMU ended: its DWC2 model fails an assertion (`usb_ep_get`, observed in QEMU 10.0.2) when
    /// a transfer of the device is being retried.
    pub fn unplug_nic(&self) -> Result<()> {
        if let Some(nic) = &self.usb_nic {
            return nic.unplug();
        }
        self.while_paused(|| {
            self.qmp("device_del", json!({ "id": NIC }))?;
            self.qmp.wait_for_event("DEVICE_DELETED", UNPLUG_TIMEOUT, |data| data["device"] == NIC)?;
            Ok(())
        })
    }

    /// Plugs the NIC in, at the same port and with the same cable as configured.
    ///
    /// # Errors
    /// When it is plugged in already, or QEMU ended.
    pub fn plug_nic(&self) -> Result<()> {
        let nic = self.config.nic.unwrap_or_default();
        self.plug_nic_as(nic)
    }

    /// Plugs in another NIC than the configured one, with the same cable.
    ///
    /// # Errors
    /// As [`Node::plug_nic`], and when it is of another kind.
    pub fn plug_nic_as(&self, nic: UsbNet) -> Result<()> {
        let configured = self.config.nic.unwrap_or_default();
        if let Some(model) = &self.usb_nic {
            if nic.kind != configured.kind || nic.mac != configured.mac || nic.behind_hub != configured.behind_hub {
                bail!("a model of a NIC stays what it was configured as: {configured:?}");
            }
            return model.plug();
        }
        let (mac, port) = (nic.mac_text(), nic.port());
        let device = json!({ "driver": "usb-net", "id": NIC, "netdev": NETDEV, "mac": mac, "port": port });
        self.while_paused(|| self.qmp("device_add", device).map(drop))
    }

    /// Does something while the node is frozen. QEMU 10.0.2 frees a device only when no core is executing, and waits for
    /// that without end (`drain_call_rcu` in `qmp_device_add`) when one never sleeps.
    fn while_paused<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<T> {
        let was_running = self.qmp("query-status", json!({}))?["running"] == true;
        self.pause()?;
        let result = action();
        if was_running {
            self.resume()?;
        }
        result
    }

    /// Pulls the cable out of the NIC, or plugs it in again, if the NIC tells its link state.
    ///
    /// # Errors
    /// When there is no NIC.
    pub fn set_link(&self, is_up: bool) -> Result<()> {
        if let Some(nic) = &self.usb_nic {
            nic.set_cable(is_up);
            return Ok(());
        }
        self.qmp("set_link", json!({ "name": NIC, "up": is_up })).map(drop)
    }

    /// Returns the processor time that QEMU has used on this machine.
    ///
    /// # Errors
    /// When QEMU ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        let ticks = cpu_ticks(&stat).with_context(|| format!("unknown format of /proc/{}/stat", self.pid))?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
        Ok(Duration::from_millis(ticks * 1000 / per_second))
    }

    /// Sets how late QEMU's timers may be, so that several fall together: the USB controller's fires a thousand times a second for as
    /// long as a NIC is plugged in, and catches up (`dwc2_frame_boundary` in hw/usb/hcd-dwc2.c). QEMU's own setting is 1 ns. The
    /// node's timers are as late, and so is what its controller asks a device for again.
    ///
    /// # Errors
    /// When the system does not allow it, see [`NodeConfig::has_slack`], or QEMU ended.
    pub fn set_timer_slack(&self, slack: Duration) -> io::Result<()> {
        // Of the main thread, which runs all timers (proc_pid_timerslack_ns(5)); 0 would mean the default of the system.
        fs::write(format!("/proc/{}/timerslack_ns", self.pid), slack.as_nanos().max(1).to_string())
    }

    /// Returns the memory of this machine that QEMU occupies, in bytes.
    ///
    /// # Errors
    /// When QEMU ended.
    pub fn rss_bytes(&self) -> Result<u64> {
        let status = self.proc("status")?;
        rss_bytes(&status).with_context(|| format!("QEMU ({}) has ended", self.pid))
    }

    /// Returns how QEMU ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the process can't be waited for.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.child().try_wait()
    }

    /// Waits until QEMU has ended, at most `timeout`.
    ///
    /// # Errors
    /// When it still runs then.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("QEMU still runs after {timeout:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Switches the node off and waits until QEMU has ended.
    ///
    /// # Errors
    /// When QEMU does not end by itself.
    pub fn quit(&self) -> Result<ExitStatus> {
        // An answer does not come when QEMU is faster than its own reply; whether it ends is what counts.
        let _ = self.qmp("quit", json!({}));
        self.wait(QUIT_TIMEOUT)
    }

    /// Returns what QEMU printed on its standard error.
    #[must_use]
    pub fn messages(&self) -> String {
        let text = read_lossy(&self.run_dir.path().join("messages"));
        // QEMU does not know that what is behind the hub's stream is a NIC.
        text.split_inclusive('\n').filter(|line| !line.ends_with("hub 0 with no nics\n")).collect()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proc(&self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid))
            .with_context(|| format!("QEMU ({}) has ended", self.pid))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        end(child);
        for console in [&self.console, &self.mini_uart].into_iter().flatten() {
            console.close();
        }
    }
}

/// Ends a process: asks first, so that QEMU flushes its pcap file and puts the terminal back.
fn end(child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            // Fails only when the process has ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        if let Ok(pid) = i32::try_from(child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A socket to which QEMU connects when it starts.
struct Listener(UnixListener);

impl Listener {
    fn bind(run_dir: &Path, name: &str) -> Result<Self> {
        let path = run_dir.join(name);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("{} can't be bound (is the path of TMPDIR too long?)", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }
}

/// A QEMU that has not built its machine yet.
struct Starting<'a> {
    child: Option<Child>,
    messages: &'a Path,
}

impl Starting<'_> {
    fn accept(&mut self, listener: &Listener) -> Result<UnixStream> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match listener.0.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(self.failure(anyhow::anyhow!("QEMU ended with {status}")));
            }
            if Instant::now() >= deadline {
                return Err(self.failure(anyhow::anyhow!("QEMU did not start within {START_TIMEOUT:?}")));
            }
            let mut sockets = [PollFd::new(listener.0.as_fd(), PollFlags::POLLIN)];
            poll(&mut sockets, PollTimeout::from(20_u8))?;
        }
    }

    fn failure(&mut self, error: anyhow::Error) -> anyhow::Error {
        // A moment for QEMU's last words.
        thread::sleep(Duration::from_millis(50));
        let messages = read_lossy(self.messages);
        match messages.trim() {
            "" => error,
            messages => error.context(format!("QEMU says: {messages}")),
        }
    }

    fn into_child(mut self) -> Result<Child> {
        self.child.take().context("QEMU was taken already")
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// Finds a forward in the table that `info usernet` prints.
fn host_port(usernet: &str, protocol: Protocol, node_port: u16) -> Option<u16> {
    let kind = format!("{}[HOST_FORWARD]", protocol.name().to_uppercase());
    usernet.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [first, _fd, _source, host, _node, node, ..] = columns[..] else { return None };
        (first == kind && node.parse() == Ok(node_port)).then(|| host.parse().ok())?
    })
}

/// Returns user and system time of `/proc/PID/stat` (fields 14 and 15 of proc(5)).
fn cpu_ticks(stat: &str) -> Option<u64> {
    // Field 2 is the program's name in parentheses and may contain spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Returns the resident set of `/proc/PID/status`.
fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn read_lossy(path: &Path) -> String {
    let mut bytes = Vec::new();
    // A file that can't be read has nothing to say.
    let _ = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERNET: &str =
        "Hub -1 (n0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[ESTABLISHED]   20        127.0.0.1   999       10.0.2.15    80     0     0\r
  TCP[HOST_FORWARD]  11        127.0.0.1 38465       10.0.2.15    80     0     0\r
  UDP[HOST_FORWARD]  12        127.0.0.1 51320       10.0.2.15     7     0     0\r\n";

    #[test]
    fn forwards_are_found_by_protocol_and_port() {
        assert_eq!(host_port(USERNET, Protocol::Tcp, 80), Some(38465));
        assert_eq!(host_port(USERNET, Protocol::Udp, 7), Some(51320));
        assert_eq!(host_port(USERNET, Protocol::Tcp, 7), None);
    }

    #[test]
    fn processor_time_is_read_behind_a_name_with_spaces() {
        let stat = "77 (qemu (x) y) S 1 77 77 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 3 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("garbage"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(rss_bytes("Name:\tqemu\nVmRSS:\t   1234 kB\n"), Some(1_263_616));
        assert_eq!(rss_bytes("Name:\tqemu\n"), None);
    }
}
