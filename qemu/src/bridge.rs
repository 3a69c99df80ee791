//! A network of Linux's own for nodes: a bridge with a tap interface for each, in a network namespace without a name, and dnsmasq
//! as its DHCP server. It needs root. The namespace ends with the last thread and program in it, and dnsmasq with whoever started
//! it, so nothing is left when the owner is killed.
//!
//! Sockets of this machine's own network don't reach it. TCP connections are passed on by the kernel's two ends of them, see
//! `bridge/relay.rs`.

mod relay;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{Shutdown, shutdown};

use self::relay::{Places, relay};
use crate::Target;
use crate::namespace::{self, Namespace, ip};
use crate::process;
use crate::switch::dhcp::Subnet;

/// The bridge's name inside the namespace.
pub const DEVICE: &str = "rack0";
const DNSMASQ: &str = "dnsmasq";
/// How long a node may take to accept a connection, as in the user-space gateway.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long this machine may take to accept one, or to refuse it.
const HOST_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at the leases.
const LOOK: Duration = Duration::from_millis(20);
/// How long dnsmasq may take to listen, or to say why it does not.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Bridge {
    host: Namespace,
    directory: PathBuf,
    dnsmasq: Mutex<Child>,
    places: Places,
    /// All that listen, to wake those who wait for connections.
    listeners: Mutex<Vec<TcpListener>>,
}

/// Frames at a tap interface, in both directions.
pub type Frames = BTreeMap<String, u64>;

/// Says why there can be no such network on this machine, and what to do.
///
/// # Errors
/// That is the error.
pub fn require() -> Result<()> {
    if let Some(obstacle) = namespace::obstacle() {
        bail!(
            "a bridge needs root (sudo), /dev/net/tun and iproute2, and there is: {obstacle}; the switch that racks have without \
             --bridge needs none of these"
        );
    }
    if std::process::Command::new(DNSMASQ).arg("--version").stdout(Stdio::null()).status().is_err() {
        bail!(
            "a bridge needs dnsmasq as DHCP server: `apt install dnsmasq-base`, and /usr/sbin in PATH, where that has it"
        );
    }
    Ok(())
}

/// Returns the name of the tap interface of a node.
#[must_use]
pub fn tap(number: u8) -> String {
    format!("port{number}")
}

impl Bridge {
    /// Moves the calling thread into a new namespace with a bridge, which has the address `subnet.gateway`, tap interfaces for `nodes`,
    /// by number with their Ethernet addresses, and DHCP, by which each gets the address beside it. Threads and programs that are
    /// started from now on by this thread are in there. Files are in `directory`, which is made.
    ///
    /// # Errors
    /// As [`require`], and when a step fails.
    pub fn start(directory: &Path, subnet: &Subnet, nodes: &[(u8, [u8; 6], Ipv4Addr)]) -> Result<Self> {
        require()?;
        let gateway = subnet.gateway.context("a bridge has an address")?;
        DirBuilder::new().mode(0o700).create(directory).with_context(|| format!("{}", directory.display()))?;
        let host = Namespace::leave_for_new()?;
        ip("link set lo up")?;
        // A plain switch passes multicasts on to everybody.
        ip(&format!("link add {DEVICE} type bridge mcast_snooping 0"))?;
        ip(&format!("address add {gateway}/{} dev {DEVICE}", subnet.prefix_len))?;
        ip(&format!("link set {DEVICE} up"))?;
        for (number, ..) in nodes {
            let tap = tap(*number);
            ip(&format!("tuntap add dev {tap} mode tap"))?;
            ip(&format!("link set {tap} master {DEVICE} up"))?;
        }
        let dnsmasq = Mutex::new(serve_dhcp(directory, subnet, nodes)?);
        let (directory, listeners) = (directory.to_owned(), Mutex::default());
        Ok(Self { host, directory, dnsmasq, places: Places::default(), listeners })
    }

    /// Waits until a node has taken an address; `None` if it has not within `timeout`.
    ///
    /// # Errors
    /// When dnsmasq has ended.
    pub fn wait(&self, mac: [u8; 6], timeout: Duration) -> Result<Option<Ipv4Addr>> {
        let deadline = Instant::now() + timeout;
        loop {
            // There is no file before the first lease.
            let leases = fs::read_to_string(self.directory.join(LEASES)).unwrap_or_default();
            if let Some(address) = address_in(&leases, mac) {
                return Ok(Some(address));
            }
            let mut dnsmasq = self.dnsmasq.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(status) = dnsmasq.try_wait()? {
                bail!("dnsmasq has ended with {status}: {}", messages(&self.directory));
            }
            drop(dnsmasq);
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(LOOK);
        }
    }

    /// Returns how many frames have passed each interface. Only for a thread in the namespace.
    #[must_use]
    pub fn frames(&self) -> Frames {
        frames_in(&fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default())
    }

    /// Has a free TCP port of this machine's 127.0.0.1 lead to a port of a node, and returns it. Only for a thread in the namespace.
    ///
    /// # Errors
    /// When the system has no more ports or threads.
    pub fn forward(&self, target: Target) -> Result<SocketAddr> {
        let listener = self.host.visit(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = listener.context("no port of this machine can be had")?;
        let address = listener.local_addr()?;
        let run = move |client: TcpStream| match to_node(target) {
            Ok(node) => relay(client.into(), node.into()),
            Err(_) => relay::reset(&client),
        };
        self.serve(listener, None, run)?;
        Ok(address)
    }

    /// Connects to a port of a node. Whether the node accepts shows when the stream is used: it ends if not. Only for a thread in the
    /// namespace.
    ///
    /// # Errors
    /// When the system has no more sockets or threads.
    pub fn connect(&self, target: Target) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair().context("no socket pair")?;
        self.join(ours, target)?;
        Ok(theirs)
    }

    /// Connects a stream that somebody has the other end of to a port of a node, as [`connect`](Self::connect) does.
    ///
    /// # Errors
    /// As there.
    pub fn join(&self, stream: UnixStream, target: Target) -> Result<()> {
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        let run = move || {
            if let Ok(node) = to_node(target) {
                relay(stream.into(), node.into());
            }
        };
        thread::Builder::new().name("connection".into()).spawn(run)?;
        Ok(())
    }

    /// Has a TCP port of the bridge's address lead to one of this machine's, for nodes. Only for a thread in the namespace.
    ///
    /// # Errors
    /// When the port can't be had.
    pub fn expose(&self, at: SocketAddr, host: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(at).with_context(|| format!("{at} can't be had"))?;
        let run = move |node: TcpStream| match TcpStream::connect_timeout(&host, HOST_TIMEOUT) {
            // A node that is started anew does not say good-bye.
            Ok(server) if relay::expect_life(&node).is_ok() => relay(node.into(), server.into()),
            _ => relay::reset(&node),
        };
        // What listens was made inside; what is made from now on is outside.
        self.serve(listener, Some(self.host.try_clone()?), run)
    }

    /// Runs each connection in a thread of its own, in `namespace`, if not in that of the calling thread.
    fn serve(
        &self,
        listener: TcpListener,
        namespace: Option<Namespace>,
        run: impl Fn(TcpStream) + Clone + Send + 'static,
    ) -> Result<()> {
        self.listeners().push(listener.try_clone()?);
        let places = self.places.clone();
        let accept = move || -> io::Result<()> {
            namespace.map_or(Ok(()), |namespace| namespace.enter())?;
            loop {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (run, place) = (run.clone(), places.take());
                        let run = move || {
                            run(stream);
                            drop(place);
                        };
                        // Where there is no thread, the client sees an end.
                        let _ = thread::Builder::new().name("connection".into()).spawn(run);
                    }
                    // It does not listen any more (accept(2)).
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
                    // Somebody has gone already, or there are no descriptors for now.
                    Err(_) => thread::sleep(LOOK),
                }
            }
        };
        thread::Builder::new().name("port".into()).spawn(move || _ = accept())?;
        Ok(())
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<TcpListener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let dnsmasq = self.dnsmasq.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended.
        let _ = dnsmasq.kill();
        let _ = dnsmasq.wait();
        for listener in self.listeners().iter() {
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
    }
}

fn to_node(target: Target) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target.address.into(), CONNECT_TIMEOUT)?;
    relay::expect_life(&stream)?;
    Ok(stream)
}

/// What dnsmasq reads and writes in the directory.
const HOSTS: &str = "hosts";
const LEASES: &str = "leases";
const MESSAGES: &str = "messages";

/// Starts dnsmasq, and returns when it serves.
fn serve_dhcp(directory: &Path, subnet: &Subnet, nodes: &[(u8, [u8; 6], Ipv4Addr)]) -> Result<Child> {
    let line = |(_, mac, address): &(u8, [u8; 6], Ipv4Addr)| format!("{},{address}\n", mac_text(*mac));
    let path = |name| directory.join(name).display().to_string();
    fs::write(directory.join(HOSTS), nodes.iter().map(line).collect::<String>())?;
    let last = Ipv4Addr::from_bits(subnet.first.to_bits() + subnet.count.saturating_sub(1));
    let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(subnet.prefix_len)).unwrap_or(0));
    let mut command = process::dying_with_parent(Path::new(DNSMASQ));
    // As root: with another user the kernel would forget that it is to end with us (prctl(2), PR_SET_PDEATHSIG).
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--group=root"]);
    command.args(["--log-facility=-", "--port=0", "--bind-interfaces", "--except-interface=lo"]);
    // Nobody else is on this network: no address has to be looked for first, and what a client asks for is so or not at once.
    command.args(["--no-ping", "--dhcp-authoritative", &format!("--interface={DEVICE}")]);
    command.arg(format!("--dhcp-range={},{last},{mask},24h", subnet.first));
    command.args(subnet.gateway.map(|gateway| format!("--dhcp-option=option:router,{gateway}")));
    command.arg(format!("--dhcp-hostsfile={}", path(HOSTS))).arg(format!("--dhcp-leasefile={}", path(LEASES)));
    let messages_file = fs::File::create(directory.join(MESSAGES))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages_file);
    let mut child = process::spawn(command).context("dnsmasq can't be run")?;
    let deadline = Instant::now() + START_TIMEOUT;
    // It says so when its sockets are there (dnsmasq.c, `main`).
    while !messages(directory).contains("started") {
        if let Some(status) = child.try_wait()? {
            bail!("dnsmasq has ended with {status}: {}", messages(directory));
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("dnsmasq did not start within {START_TIMEOUT:?}: {}", messages(directory));
        }
        thread::sleep(LOOK);
    }
    Ok(child)
}

fn messages(directory: &Path) -> String {
    fs::read_to_string(directory.join(MESSAGES)).unwrap_or_default().trim().to_owned()
}

/// Finds an address in dnsmasq's file of leases: time of the end, Ethernet address, address, name, client identifier.
fn address_in(leases: &str, mac: [u8; 6]) -> Option<Ipv4Addr> {
    let mac = mac_text(mac);
    leases.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == mac).then(|| words.next()?.parse().ok())?
    })
}

/// Reads the table of interfaces (proc_pid_net(5)): after the name eight figures of what was received, then eight of what was sent; of
/// each the second is packets.
fn frames_in(table: &str) -> Frames {
    let interface = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<u64> = figures.split_whitespace().map_while(|figure| figure.parse().ok()).collect();
        Some((name.trim().to_owned(), figures.get(1)? + figures.get(9)?))
    };
    table.lines().filter_map(interface).collect()
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_found_by_its_ethernet_address() {
        let leases =
            "1763931600 52:54:00:12:34:56 10.77.0.11 pi-123456 *\n1763931601 52:54:00:12:34:57 10.77.0.12 * *\n";
        let address = |last| address_in(leases, [0x52, 0x54, 0, 0x12, 0x34, last]);
        assert_eq!(address(0x57), Some(Ipv4Addr::new(10, 77, 0, 12)));
        assert_eq!(address(0x58), None);
        assert_eq!(address_in("176", [0; 6]), None);
    }

    #[test]
    fn frames_are_those_of_both_directions() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
 port1:    1200      12    0    0    0     0          0         0      700       7    0    0    0     0       0          0
";
        assert_eq!(frames_in(table), Frames::from([("lo".into(), 0), ("port1".into(), 19)]));
    }
}
