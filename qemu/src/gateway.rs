//! The way between the host and the nodes at a switch, without root: TCP ports of 127.0.0.1 that lead to ports of nodes, and
//! ports of the gateway's own address that lead to the host.
//!
//! It is a station at the switch with smoltcp in it. One thread moves bytes between sockets of the host and smoltcp's; it sleeps
//! while nothing moves. Flow control goes through: while one side does not read, nothing is read from the other.

mod pipe;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpCidr, Ipv4Cidr,
};

use self::pipe::Pipe;
use crate::switch::{Station, Switch};

/// The gateway's Ethernet address: of the range that is for local use (IEEE 802-2014, section 8.4).
const MAC: EthernetAddress = EthernetAddress([0x02, 0x4d, 0x50, 0x52, 0, 1]);
/// Connections at a time up to which more are accepted from the host; others wait in its queue.
const CONNECTIONS_MAX: usize = if cfg!(test) { 64 } else { 256 };
/// Connections at a time up to which more are accepted from nodes; others are refused, because there is no queue.
const CONNECTIONS_LIMIT: usize = 2 * CONNECTIONS_MAX;
/// Of each direction of a connection, in bytes: what a node can have under way in 2 ms at 200 Mbit/s, and more.
const BUFFER_LEN: usize = 64 * 1024;
/// Sockets of smoltcp that listen for nodes at a port of the gateway. Each that is taken is replaced before the next frame is read.
const LISTENING: usize = 2;
/// Ports that connections to nodes come from (RFC 6335, section 6: dynamic ports).
const OWN_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// How long a node may take to accept a connection. Its stack sends a lost SYN again after one, three and seven seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// A node that says nothing is asked whether it is there after so long,
const KEEP_ALIVE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(15);
/// and is given up when nothing has been heard of it for so long.
const SILENCE_MAX: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(60);

/// Where a forwarded port leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node's Ethernet address, so that nobody has to be asked for it.
    pub mac: [u8; 6],
    /// Its address and port.
    pub address: SocketAddrV4,
}

/// See the module. Dropping it ends all connections.
#[derive(Debug)]
pub struct Gateway {
    orders: Sender<Order>,
    wake: UnixStream,
}

enum Order {
    /// Take what comes to a port of the host to a node.
    Forward(TcpListener, Target),
    /// Take a stream to a node.
    Connect(UnixStream, Target),
    /// Take what comes from nodes to a port of the gateway to the host.
    Expose(u16, SocketAddr),
}

impl Gateway {
    /// Starts a gateway at a port of its own of the switch.
    ///
    /// # Errors
    /// When the system has no more sockets or threads.
    pub fn start(switch: &Switch, address: Ipv4Addr, prefix_len: u8) -> Result<Self> {
        Self::start_as(switch, MAC, address, prefix_len)
    }

    fn start_as(switch: &Switch, mac: EthernetAddress, address: Ipv4Addr, prefix_len: u8) -> Result<Self> {
        let (_, link) = switch.connect()?;
        let mut station = Station::new(link)?;
        let (wake, woken) = UnixStream::pair().context("no socket pair")?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (orders, inbox) = mpsc::channel();
        let now = smoltcp::time::Instant::now();
        let mut config = Config::new(mac.into());
        // For sequence numbers, which nobody at this network guesses.
        config.random_seed = now.total_micros().unsigned_abs();
        let mut interface = Interface::new(config, &mut station, now);
        interface.update_ip_addrs(|addresses| {
            // There is room for the first address.
            let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(address, prefix_len)));
        });
        let sockets = SocketSet::new(Vec::new());
        let (pipes, forwards, exposed) = (BTreeMap::new(), Vec::new(), Vec::new());
        let own_ports = OWN_PORTS.cycle();
        let own = (mac, address);
        let pump = Pump { station, interface, sockets, pipes, forwards, exposed, own_ports, own, inbox, woken };
        // Its end is that of the switch, or of this gateway.
        thread::Builder::new().name("gateway".into()).spawn(move || _ = pump.run()).context("no thread")?;
        Ok(Self { orders, wake })
    }

    /// Has a TCP port of 127.0.0.1 lead to a port of a node, and returns it; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn forward(&self, host_port: u16, target: Target) -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, host_port))
            .with_context(|| format!("port {host_port} of this machine can't be had"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        self.order(Order::Forward(listener, target))?;
        Ok(address)
    }

    /// Connects to a port of a node. Whether the node accepts shows when the stream is used: it ends if not.
    ///
    /// # Errors
    /// When the system has no more sockets.
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
        stream.set_nonblocking(true)?;
        self.order(Order::Connect(stream, target))
    }

    /// Has a TCP port of the gateway's address lead to `host`, for nodes.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn expose(&self, port: u16, host: SocketAddr) -> Result<()> {
        self.order(Order::Expose(port, host))
    }

    fn order(&self, order: Order) -> Result<()> {
        self.orders.send(order).ok().context("the gateway is gone")?;
        // Full means that it will wake anyway.
        let _ = (&self.wake).write(&[0]);
        Ok(())
    }
}

/// A port of the gateway that leads to the host.
struct Exposed {
    port: u16,
    host: SocketAddr,
    /// Those that listen, and those whose connection has not quite begun.
    sockets: Vec<SocketHandle>,
}

/// The thread.
struct Pump {
    station: Station,
    interface: Interface,
    sockets: SocketSet<'static>,
    pipes: BTreeMap<SocketHandle, Pipe>,
    forwards: Vec<(TcpListener, Target)>,
    exposed: Vec<Exposed>,
    own_ports: std::iter::Cycle<std::ops::RangeInclusive<u16>>,
    own: (EthernetAddress, Ipv4Addr),
    inbox: Receiver<Order>,
    woken: UnixStream,
}

impl Pump {
    /// Moves bytes until the gateway is dropped or the switch is gone.
    fn run(mut self) -> Result<()> {
        loop {
            self.station.turn()?;
            if !self.obey()? {
                return Ok(());
            }
            self.accept();
            self.answer();
            let (polled, now) = (smoltcp::time::Instant::now(), Instant::now());
            loop {
                let device = &mut self.station;
                if self.interface.poll_ingress_single(polled, device, &mut self.sockets)
                    == PollIngressSingleResult::None
                {
                    break;
                }
                self.answer();
            }
            // The last acknowledgement of a connection has to be on its way before its socket goes.
            self.interface.poll_egress(polled, &mut self.station, &mut self.sockets);
            self.pipes.retain(|handle, pipe| {
                let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
                let is_alive = pipe.turn(socket, now);
                if !is_alive {
                    self.sockets.remove(*handle);
                }
                is_alive
            });
            // What the pipes have put into smoltcp's buffers.
            self.interface.poll(polled, &mut self.station, &mut self.sockets);
            self.station.flush()?;
            self.wait()?;
        }
    }

    /// Takes the orders that have come. Returns whether the gateway is still there.
    fn obey(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 64];
        let is_alive = loop {
            match io::Read::read(&mut self.woken, &mut bytes) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) => return Err(error),
            }
        };
        while let Ok(order) = self.inbox.try_recv() {
            match order {
                Order::Forward(listener, target) => self.forwards.push((listener, target)),
                Order::Connect(stream, target) => self.connect(Box::new(stream), target),
                Order::Expose(port, host) => self.exposed.push(Exposed { port, host, sockets: Vec::new() }),
            }
        }
        Ok(is_alive)
    }

    /// Accepts on the host's side, as long as there are places.
    fn accept(&mut self) {
        for index in 0..self.forwards.len() {
            while self.pipes.len() < CONNECTIONS_MAX {
                let (listener, target) = &self.forwards[index];
                // No more for now, or one that has gone already.
                let Ok((stream, _)) = listener.accept() else { break };
                let target = *target;
                if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_ok() {
                    self.connect(Box::new(stream), target);
                }
            }
        }
    }

    /// Begins a connection to a node. One that can't be begun ends at once for whoever asked.
    fn connect(&mut self, host: Box<dyn pipe::Host>, target: Target) {
        let mut socket = socket();
        let Some(port) = self.own_ports.next() else { return };
        self.station.inject(arp_reply(target, self.own));
        let (ip, node_port) = (*target.address.ip(), target.address.port());
        // The frame that was made up has to be seen first, or smoltcp asks for the address, and for one a second only.
        self.interface.poll(smoltcp::time::Instant::now(), &mut self.station, &mut self.sockets);
        if socket.connect(self.interface.context(), (ip, node_port), port).is_ok() {
            let handle = self.sockets.add(socket);
            self.pipes.insert(handle, Pipe::new(host, Instant::now() + CONNECT_TIMEOUT));
        }
    }

    /// Connects to the host for the nodes that have come, and keeps sockets that listen for the next.
    fn answer(&mut self) {
        for exposed in &mut self.exposed {
            let mut listening = 0;
            for handle in std::mem::take(&mut exposed.sockets) {
                let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
                match socket.state() {
                    tcp::State::SynReceived => exposed.sockets.push(handle),
                    tcp::State::Listen => {
                        exposed.sockets.push(handle);
                        listening += 1;
                    }
                    // Reset before it was there.
                    tcp::State::Closed => drop(self.sockets.remove(handle)),
                    _ => match host(exposed.host) {
                        Ok(host) => {
                            let pipe = Pipe::new(Box::new(host), Instant::now() + CONNECT_TIMEOUT);
                            self.pipes.insert(handle, pipe);
                        }
                        Err(_) => {
                            socket.abort();
                            self.pipes.insert(handle, Pipe::refused());
                        }
                    },
                }
            }
            let room = CONNECTIONS_LIMIT.saturating_sub(self.pipes.len() + exposed.sockets.len());
            for _ in listening..LISTENING.min(listening + room) {
                let mut socket = socket();
                if socket.listen(exposed.port).is_err() {
                    break;
                }
                exposed.sockets.push(self.sockets.add(socket));
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> Result<()> {
        let now = smoltcp::time::Instant::now();
        let delay = self.interface.poll_delay(now, &self.sockets).map(Duration::from);
        let deadline = self.pipes.values().filter_map(Pipe::deadline).min();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = [delay, left].into_iter().flatten().min();

        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, self.station.is_behind());
        let mut fds =
            vec![PollFd::new(self.station.as_fd(), flags), PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        if self.pipes.len() < CONNECTIONS_MAX {
            fds.extend(self.forwards.iter().map(|(listener, _)| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        }
        for (handle, pipe) in &self.pipes {
            fds.extend(pipe.poll_fd(self.sockets.get::<tcp::Socket<'_>>(*handle)));
        }
        match ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("waiting for the gateway's sockets"),
        }
    }
}

fn host(address: SocketAddr) -> io::Result<TcpStream> {
    // On this machine it is accepted or refused at once.
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_LEN]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(SILENCE_MAX));
    socket
}

/// Returns what a node would answer if it were asked for its Ethernet address.
fn arp_reply(target: Target, (mac, address): (EthernetAddress, Ipv4Addr)) -> Vec<u8> {
    let node = EthernetAddress(target.mac);
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: node,
        source_protocol_addr: *target.address.ip(),
        target_hardware_addr: mac,
        target_protocol_addr: address,
    };
    let mut bytes = vec![0; EthernetFrame::<&[u8]>::buffer_len(arp.buffer_len())];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    EthernetRepr { src_addr: node, dst_addr: mac, ethertype: EthernetProtocol::Arp }.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

#[cfg(test)]
mod tests;
