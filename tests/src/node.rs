//! A booted node, and what can be asked of it from the other side of the wire.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use qemu::{Console, Machine, Network, NicKind, Node, NodeConfig, Protocol, Qemu};

use crate::dhcp::{DhcpServer, Policy};
use crate::http;
use crate::lab::{DEVICE, Lab, NODE, Wire};
use crate::metrics::Metrics;
use crate::packet::Mac;
use crate::slots::{self, Slot};
use crate::wait;

/// Longest that a node may take from QEMU's start until it answers, on a machine that is busy with other things.
pub const BOOT: Duration = Duration::from_secs(60);
/// Longest that a node may take for anything else that has no deadline of its own.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The node's Ethernet address.
pub const MAC: Mac = qemu::config::DEFAULT_MAC;
/// The node's name when it is given none: `pi-` and the end of its Ethernet address.
pub const NAME: &str = "pi-123456";
/// Seconds after which a node has what it needs: all its tasks run, and what it announces has been said.
const SETTLED_S: f64 = 5.0;
/// How a Prometheus server introduces itself.
const PROMETHEUS: &str = "Prometheus/2.42.0";
/// Ports that are forwarded where there is no wire.
const TCP_PORTS: [u16; 5] = [7, 9, 19, 22, 80];
const UDP_PORTS: [u16; 3] = [7, 9, 19];
/// Environment variable with the NIC for a run of the tests.
const NIC_VARIABLE: &str = "MINIPIRACK_NIC";

/// What every node of a run is started from.
#[derive(Debug)]
pub struct Kit {
    /// The emulator.
    pub qemu: Qemu,
    /// The image, built once for all tests of a run.
    pub image: PathBuf,
    /// The same packed, as boards load it.
    pub packed: PathBuf,
    /// The image with its symbols.
    pub elf: PathBuf,
}

/// Finds QEMU and builds the image, once per run. Must come before the first private network: both may need the
/// machine's own.
///
/// # Errors
/// When QEMU can't be found or installed, or the image does not build.
pub fn kit() -> Result<&'static Kit> {
    static KIT: OnceLock<Result<Kit, String>> = OnceLock::new();
    let kit = KIT.get_or_init(|| make_kit().map_err(|error| format!("{error:#}")));
    kit.as_ref().map_err(|error| anyhow!("{error}"))
}

fn make_kit() -> Result<Kit> {
    let mut log = |line: &str| crate::lab::say(line);
    let qemu = Qemu::find_or_install(&mut log)?;
    let machine = machine()?;
    if std::env::var_os(MACHINE_VARIABLE).is_none() && qemu.require(machine).is_err() {
        // An older QEMU is good enough for everything else.
        crate::lab::say(&format!("NOT TESTED (needs QEMU 9): everything on {machine}"));
        std::process::exit(0);
    }
    let built = qemu::build::kernel(&mut |_| ())?;
    Ok(Kit { qemu, image: built.image, packed: built.packed, elf: built.elf })
}

/// Names the board of a run.
const MACHINE_VARIABLE: &str = "MINIPIRACK_MACHINE";

/// Returns the board that this run is about: the one that the environment names, or the one that the test binary is named
/// after, or a raspi3b.
///
/// # Errors
/// When the environment names one that does not exist.
pub fn machine() -> Result<Machine> {
    if let Ok(name) = std::env::var(MACHINE_VARIABLE) {
        return name.parse().context(MACHINE_VARIABLE);
    }
    Ok(program_name()?.parse().unwrap_or_default())
}

/// Returns the NIC that nodes have when a test does not ask for one: that of `MINIPIRACK_NIC`, or the one that the test binary
/// is named after, or QEMU's own.
///
/// # Errors
/// When the variable names none.
pub fn nic_kind() -> Result<NicKind> {
    match std::env::var(NIC_VARIABLE) {
        Ok(name) => name.parse().map_err(|error| anyhow!("{NIC_VARIABLE}: {error}")),
        Err(_) => Ok(program_name()?.parse().unwrap_or_default()),
    }
}

/// Returns the test binary's name, without the hash that cargo puts behind it.
fn program_name() -> Result<String> {
    let program = std::env::current_exe().context("the test binary's name")?;
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(name.split('-').next().unwrap_or_default().to_owned())
}

/// A running node.
pub struct TestNode {
    node: Node,
    wire: Wire,
    address: Ipv4Addr,
    _slot: Slot,
}

impl TestNode {
    /// Starts a node with its NIC on the lab's wire. It will have the address [`NODE`] if it is given one by DHCP.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start(lab: &Lab, command_line: &str) -> Result<Self> {
        Self::start_with(lab, command_line, |_| ())
    }

    /// Starts a node whose board `change` has changed.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start_with(lab: &Lab, command_line: &str, change: impl FnOnce(&mut NodeConfig)) -> Result<Self> {
        Self::start_in(lab, slots::take()?, command_line, change)
    }

    /// Starts such a node in a slot that was taken before.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start_in(lab: &Lab, slot: Slot, command_line: &str, change: impl FnOnce(&mut NodeConfig)) -> Result<Self> {
        let kit = kit()?;
        let mut config = NodeConfig::new(&kit.image);
        config.machine = machine()?;
        command_line.clone_into(&mut config.command_line);
        config.network = match lab.wire() {
            Wire::Tap => Network::Tap { ifname: DEVICE.to_owned() },
            Wire::User => {
                let network = TCP_PORTS.iter().fold(Network::user(), |network, port| network.forward_tcp(*port));
                UDP_PORTS.iter().fold(network, |network, port| network.forward_udp(*port))
            }
        };
        change(&mut config);
        if let Some(nic) = &mut config.nic
            && nic.kind == NicKind::default()
        {
            nic.kind = nic_kind()?;
        }
        let node = Node::start(&kit.qemu, config)?;
        Ok(Self { node, wire: lab.wire(), address: NODE, _slot: slot })
    }

    /// Returns the virtual board.
    #[must_use]
    pub fn board(&self) -> &Node {
        &self.node
    }

    /// Returns the serial console.
    #[must_use]
    pub fn console(&self) -> &Console {
        self.node.console()
    }

    /// Tells under which address the node is to be reached from now on.
    pub fn set_address(&mut self, address: Ipv4Addr) {
        self.address = address;
    }

    /// Returns where a TCP port of the node is reached.
    ///
    /// # Errors
    /// When the port is not forwarded.
    pub fn tcp(&self, port: u16) -> Result<SocketAddr> {
        self.reach(Protocol::Tcp, port)
    }

    /// Returns where a UDP port of the node is reached.
    ///
    /// # Errors
    /// When the port is not forwarded.
    pub fn udp(&self, port: u16) -> Result<SocketAddr> {
        self.reach(Protocol::Udp, port)
    }

    fn reach(&self, protocol: Protocol, port: u16) -> Result<SocketAddr> {
        match self.wire {
            Wire::Tap => Ok((self.address, port).into()),
            Wire::User => Ok((Ipv4Addr::LOCALHOST, self.node.port(protocol, port)?).into()),
        }
    }

    /// Waits until the node's TCP echo service has returned a few bytes.
    ///
    /// # Errors
    /// When it does not in time; with the end of the console.
    pub fn wait_until_up(&self) -> Result<()> {
        let echo = self.tcp(7)?;
        wait::until("the node's first echo", BOOT, || {
            if let Some(status) = self.node.try_wait()? {
                bail!("QEMU ended ({status}): {}", self.node.messages());
            }
            Ok(tcp_echo(echo).ok())
        })
        .with_context(|| self.last_words())
    }

    /// Returns the end of the console, for error messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        format!("the console ends with:\n  | {}", self.console().last_lines(40).join("\n  | "))
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn get(&self, path: &str) -> Result<http::Response> {
        http::get(self.tcp(80)?, path).with_context(|| format!("GET {path}; {}", self.last_words()))
    }

    /// Scrapes `/metrics` as a Prometheus server does, which gets node_exporter's names as well.
    ///
    /// # Errors
    /// When the node does not answer, or not with metrics.
    pub fn metrics(&self) -> Result<Metrics> {
        let response = http::HttpClient::connect_as(self.tcp(80)?, PROMETHEUS)
            .and_then(|mut client| client.get("/metrics"))
            .with_context(|| format!("GET /metrics; {}", self.last_words()))?;
        if response.status != 200 {
            bail!("GET /metrics: status {}", response.status);
        }
        Metrics::parse(&response.text())
    }

    /// Scrapes `/metrics` when the node has taken a sample, which it does once a second, after it came up for good.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn settled_metrics(&self) -> Result<Metrics> {
        wait::until("a sample of a node that is up", PATIENCE, || {
            let metrics = self.metrics()?;
            let is_up = metrics.sum("node_network_up", &[]) == 1.0;
            Ok((is_up && metrics.one("minipirack_uptime_seconds", &[])? > SETTLED_S).then_some(metrics))
        })
    }

    /// Scrapes a sample that is taken after this call: samples are taken once a second.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn fresh_metrics(&self) -> Result<Metrics> {
        let uptime = "minipirack_uptime_seconds";
        let last = self.metric(uptime, &[])?;
        wait::until("another sample", PATIENCE, || {
            let metrics = self.metrics()?;
            Ok((metrics.one(uptime, &[])? > last).then_some(metrics))
        })
    }

    /// Waits until the node answers again after its NIC was started anew, which it counts.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_restart(&self, before: f64) -> Result<()> {
        wait::until("the NIC to be started anew", BOOT, || {
            let Ok(metrics) = self.metrics() else { return Ok(None) };
            Ok((metrics.sum("minipirack_network_restarts_total", &[]) > before).then_some(()))
        })
    }

    /// Returns the one value of a metric.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        self.metrics()?.one(name, labels)
    }

    /// Waits until a figure of the node's metrics is as it should be, and returns it.
    ///
    /// # Errors
    /// When it does not become so in time.
    pub fn wait_for_metric(
        &self,
        what: &str,
        deadline: Duration,
        mut is: impl FnMut(&Metrics) -> Result<Option<f64>>,
    ) -> Result<f64> {
        let mut last = None;
        wait::until(what, deadline, || {
            let metrics = self.metrics()?;
            let found = is(&metrics)?;
            last = Some(metrics);
            Ok(found)
        })
        .with_context(|| format!("the last scrape was {last:#?}"))
    }
}

/// A node that got its address from the tests' DHCP server, and what it lives in.
pub struct Rig {
    /// The node; first, so that it is switched off first.
    pub node: TestNode,
    /// The server, where there is a wire.
    pub dhcp: Option<DhcpServer>,
    /// The network.
    pub lab: Lab,
}

impl Rig {
    /// Boots a node and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub fn boot(command_line: &str) -> Result<Self> {
        Self::boot_in(Lab::new()?, command_line, |_| ())
    }

    /// Boots a node whose board `change` has changed, in a network that is already there.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn boot_in(lab: Lab, command_line: &str, change: impl FnOnce(&mut NodeConfig)) -> Result<Self> {
        let rig = Self::start_in(lab, command_line, change)?;
        rig.node.wait_until_up()?;
        Ok(rig)
    }

    /// Starts such a node without waiting for it.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start_in(lab: Lab, command_line: &str, change: impl FnOnce(&mut NodeConfig)) -> Result<Self> {
        let dhcp = match lab.wire() {
            Wire::Tap => Some(DhcpServer::start(Policy::default())?),
            Wire::User => None,
        };
        let node = TestNode::start_with(&lab, command_line, change)?;
        Ok(Self { node, dhcp, lab })
    }
}

/// Sends a few bytes to an echo service and compares what comes back.
///
/// # Errors
/// When something else comes back, or nothing within two seconds.
pub fn tcp_echo(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"are you there?")?;
    let mut answer = [0; 14];
    stream.read_exact(&mut answer)?;
    if answer != *b"are you there?" {
        bail!("{answer:?} came back");
    }
    Ok(())
}

/// Sends datagrams until one comes back.
///
/// # Errors
/// When something else comes back, or nothing in time.
pub fn udp_echo(address: SocketAddr, data: &[u8]) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut answer = vec![0; 2000];
    let len = wait::until("an echoed datagram", PATIENCE, || {
        socket.send(data)?;
        Ok(socket.recv(&mut answer).ok())
    })?;
    if answer[..len] != *data {
        bail!("sent {} bytes, {len} others came back", data.len());
    }
    Ok(())
}

/// Runs `ping` and returns how many answers it received.
///
/// # Errors
/// When the program can't be run or understood.
pub fn ping(address: impl Into<IpAddr>, count: u32, payload_len: u32) -> Result<u32> {
    let address = address.into();
    let mut command = Command::new("ping");
    command.args(["-n", "-i", "0.05", "-W", "5", "-c", &count.to_string(), "-s", &payload_len.to_string()]);
    if let IpAddr::V6(address) = address
        && address.is_unicast_link_local()
    {
        command.arg(format!("{address}%{DEVICE}"));
    } else {
        command.arg(address.to_string());
    }
    let output = command.output().context("running ping (package iputils-ping)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "3 packets transmitted, 3 received, 0% packet loss, time 401ms"
    let summary = text.lines().find(|line| line.contains("packets transmitted"));
    let received = summary.and_then(|line| line.split(", ").nth(1)).and_then(|part| part.split(' ').next());
    let Some(received) = received else {
        bail!("ping {address}: {text}{}", String::from_utf8_lossy(&output.stderr));
    };
    received.parse().with_context(|| format!("ping said {summary:?}"))
}

/// Sends a single ping and returns whether it was answered within a second: 1 or 0.
///
/// # Errors
/// When the program can't be run.
pub fn ping_now(address: Ipv4Addr) -> Result<u32> {
    let arguments = ["-n", "-c", "1", "-W", "1", &address.to_string()];
    let output = Command::new("ping").args(arguments).output().context("running ping (package iputils-ping)")?;
    Ok(u32::from(output.status.success()))
}
