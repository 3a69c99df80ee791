//! Slow and hostile clients at a node's ports, all at once, and clients that behave among them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::frames::FrameSocket;
use crate::lab::{HOST, Lab, NODE, say};
use crate::malformed::Random;
use crate::node::{self, PATIENCE, Rig};
use crate::openssh::User;
use crate::packet;

/// The ports that are crowded: the status page, SSH, the workloads `http` and `kv`, and echo.
pub const PORTS: [u16; 5] = [80, 22, 8080, STORE, 7];
const STORE: u16 = 6379;
/// How many clients `http` and `kv` serve at once.
const SEATS: u16 = 16;
/// Connections that are asked for and never confirmed, by each crowd: at once, and then a hundred a second.
const HALF_OPEN: u16 = 500;
/// Clients of each kind and port: 40 at a port that has 12 to 17 sockets. Each comes again when it was sent away, once a second.
/// More would measure how fast QEMU emulates a processor.
const CLIENTS: usize = 8;
/// Threads that play them.
const THREADS: usize = 2;
/// How often each service is asked, and SSH.
const QUESTIONS: usize = 40;
const LOGINS: usize = 6;
/// Where hostile clients come from: who behaves is known by coming from elsewhere.
const CROWD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
/// How long a crowd takes until it is all there.
const GATHERING: Duration = Duration::from_secs(2);

/// A node with services at all [`PORTS`], and who may log in.
pub struct Place {
    /// The node.
    pub rig: Rig,
    user: User,
}

impl Place {
    /// Boots the node, and returns when all services answer: what is made for the first client is not made again.
    ///
    /// # Errors
    /// When it does not come up, or does not answer.
    pub fn boot(lab: Lab) -> Result<Self> {
        lab.add_address(&format!("{CROWD}/24"))?;
        let user = User::new()?;
        let [http, kv] = ["http:port=8080", "kv:memory=2M"].map(|of| format!("workload={of},clients={SEATS},cores=1"));
        let rig = Rig::boot_in(lab, &format!("{http} {kv} {}", user.setting()?), |_| ())?;
        rig.node.wait_for_metric("servers that run", PATIENCE, |metrics| {
            let running =
                |workload| metrics.sum("minipirack_workload_state", &[("workload", workload), ("state", "running")]);
            let both = running("http") + running("kv");
            Ok((both == 2.0).then_some(both))
        })?;
        let place = Self { rig, user };
        place.ask_all()?;
        Ok(place)
    }

    /// Asks each service again and again, each time on a new connection; returns the sorted times for each of [`PORTS`].
    ///
    /// # Errors
    /// When a service does not answer, or anything but what was asked for.
    pub fn ask_all(&self) -> Result<[Vec<Duration>; PORTS.len()]> {
        let mut times = [const { Vec::new() }; PORTS.len()];
        for (times, port) in times.iter_mut().zip(PORTS) {
            for _ in 0..if port == 22 { LOGINS } else { QUESTIONS } {
                let start = Instant::now();
                self.ask(port).with_context(|| format!("asking port {port}: {}", self.rig.node.last_words()))?;
                times.push(start.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            times.sort_unstable();
        }
        Ok(times)
    }

    /// Asks each service while a crowd is at all ports; crowds with different numbers ask in the name of other stations.
    ///
    /// # Errors
    /// Like [`Place::ask_all`], and when there was no crowd.
    pub fn ask_all_in_a_crowd(&self, number: u16) -> Result<[Vec<Duration>; PORTS.len()]> {
        let crowd = Crowd::gather(number);
        std::thread::sleep(GATHERING);
        let times = self.ask_all();
        crowd.leave()?;
        times
    }

    /// Checks the node's counters: who does not go on made room.
    ///
    /// # Errors
    /// When they kept sockets.
    pub fn check_that_sockets_were_not_taken(&self) -> Result<()> {
        let metrics = self.rig.node.fresh_metrics()?;
        let count = |event| metrics.sum("minipirack_events_total", &[("event", event)]);
        ensure!(count("tcp_answered") > 500.0, "half-open connections took sockets: {metrics:#?}");
        ensure!(count("tcp_stalled_dropped") > 50.0, "slow clients made no room: {metrics:#?}");
        for name in ["minipirack_http_unseated_total", "minipirack_kv_unseated_total"] {
            let unseated = metrics.sum(name, &[]);
            say(&format!("{name}: {unseated}"));
            // Each seat, on average; two to seven times as many were seen.
            ensure!(unseated > f64::from(SEATS), "slow clients made no room, by {name}: {metrics:#?}");
        }
        Ok(())
    }

    fn ask(&self, port: u16) -> Result<()> {
        if port == 22 {
            let said = self.user.run_as(&self.rig.node, "good", &["-b", &HOST.to_string()], "status")?;
            ensure!(said.status == Some(0), "{said:?}");
            return Ok(());
        }
        let mut stream = connect(HOST, port, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut talk = |question: &[u8], expected: &[u8]| {
            stream.write_all(question)?;
            let mut answer = vec![0; expected.len()];
            stream.read_exact(&mut answer)?;
            ensure!(answer == expected, "{}", String::from_utf8_lossy(&answer));
            Ok(())
        };
        match port {
            7 => return talk(b"all is well", b"all is well"),
            STORE => {
                talk(b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n")?;
                talk(b"*3\r\n$3\r\nSET\r\n$3\r\nall\r\n$4\r\nwell\r\n", b"+OK\r\n")?;
                return talk(b"*2\r\n$3\r\nGET\r\n$3\r\nall\r\n", b"$4\r\nwell\r\n");
            }
            _ => {}
        }
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}

/// Connects to a port of the node from one of our addresses.
fn connect(from: Ipv4Addr, port: u16, timeout: Duration) -> Result<TcpStream> {
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Holds for connecting as well, see socket(7).
    socket::setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(i64::try_from(timeout.as_millis())?))?;
    socket::bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    socket::connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(NODE, port)))?;
    Ok(TcpStream::from(socket))
}

/// Slow and hostile clients at work.
struct Crowd {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
    connections: Arc<AtomicU64>,
}

impl Crowd {
    fn gather(number: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        let first = number * HALF_OPEN;
        let stop = Arc::clone(&is_over);
        threads.push(std::thread::spawn(move || {
            let mut frames = FrameSocket::open()?;
            // All ask at once, and then again, one after the other, so that there are always as many.
            (first..first + HALF_OPEN).for_each(|number| half_open(&mut frames, number));
            for number in (first..first + HALF_OPEN).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                half_open(&mut frames, number);
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }));
        for thread in 0..THREADS {
            let (stop, connections) = (Arc::clone(&is_over), Arc::clone(&connections));
            threads.push(std::thread::spawn(move || {
                let kinds = PORTS.into_iter().flat_map(|port| Kind::ALL.map(|kind| (port, kind)));
                let clients = kinds.flat_map(|of| (0..CLIENTS / THREADS).map(move |_| of));
                let mut clients: Vec<_> = clients.map(|(port, kind)| Client::new(port, kind)).collect();
                let mut random = Random::new(thread as u64 + 1);
                while !stop.load(Ordering::Relaxed) {
                    for client in &mut clients {
                        if client.act(&mut random) {
                            connections.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            }));
        }
        Self { is_over, threads, connections }
    }

    fn leave(self) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a hostile client has panicked"))??;
        }
        let connections = self.connections.load(Ordering::Relaxed);
        ensure!(connections > 100, "only {connections} hostile connections were made");
        Ok(())
    }
}

/// Asks for connections in the name of a station that never confirms them.
fn half_open(frames: &mut FrameSocket, number: u16) {
    // One that does not exist: nobody answers for its address.
    let ghost = (Ipv4Addr::new(10, 77, 0, 150 + (number % 100) as u8), 20_000 + number);
    let ghost_mac = [0x02, 0, 0, 0, 0, 200];
    let port = PORTS[usize::from(number) % PORTS.len()];
    let segment = packet::tcp(ghost, (NODE, port), (u32::from(number), 0), 2, &[2, 4, 5, 0xb4]);
    let packet = packet::ipv4(ghost.0, NODE, packet::TCP, &segment);
    frames.send(&packet::ethernet(node::MAC, ghost_mac, 0x0800, &packet));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Says nothing.
    Silent,
    /// Begins a request, and adds a header now and then, for ever.
    Slowloris,
    /// Sends a byte a second.
    Dripping,
    /// Sends a header without an end.
    Oversized,
    /// Sends anything.
    Garbage,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Silent, Self::Slowloris, Self::Dripping, Self::Oversized, Self::Garbage];
}

struct Client {
    port: u16,
    kind: Kind,
    stream: Option<TcpStream>,
    /// When it does something next.
    due: Instant,
    sent: usize,
}

impl Client {
    fn new(port: u16, kind: Kind) -> Self {
        Self { port, kind, stream: None, due: Instant::now(), sent: 0 }
    }

    /// Does what is due; returns whether it has made a connection.
    fn act(&mut self, random: &mut Random) -> bool {
        if Instant::now() < self.due {
            return false;
        }
        self.due = Instant::now() + Duration::from_secs(1);
        let Some(stream) = &mut self.stream else {
            self.stream = connect(CROWD, self.port, Duration::from_millis(100)).ok();
            self.sent = 0;
            if let Some(stream) = &self.stream {
                // Without that it could not be played beside others.
                let _ = stream.set_nonblocking(true);
                self.due = Instant::now();
            }
            return self.stream.is_some();
        };
        let request: &[u8] = match self.port {
            STORE => b"*3\r\n$3\r\nSET\r\n$4\r\nnone\r\n$100000\r\n",
            _ => b"GET / HTTP/1.1\r\nHost: node\r\nX: ",
        };
        let bytes = match self.kind {
            Kind::Silent => Vec::new(),
            Kind::Slowloris if self.sent == 0 => request.to_vec(),
            Kind::Slowloris => b"a\r\nX: ".to_vec(),
            Kind::Dripping => vec![request.get(self.sent).copied().unwrap_or(b'x')],
            Kind::Oversized => [request, &[b'x'; 9000]].concat(),
            Kind::Garbage => random.bytes(300),
        };
        self.sent += bytes.len();
        let is_lost = |error: std::io::Error| error.kind() != ErrorKind::WouldBlock;
        // What does not fit is not sent.
        let is_gone = stream.write(&bytes).is_err_and(is_lost)
            || match stream.read(&mut [0; 4096]) {
                Ok(len) => len == 0,
                Err(error) => is_lost(error),
            };
        if is_gone {
            self.stream = None;
        }
        false
    }
}
