//! `up`: starts a rack and waits until every node of it answers.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qemu::{Machine, NicKind, Qemu};

use super::keys::{self, Keys};
use super::place::{Place, RackName};
use super::plan::{NODES_MAX, Plan};
use super::protocol::{self, State, Status};
use super::supervisor::Orders;
use super::{ps, supervisor};
use crate::fleet::{INTERRUPTED, Interrupt};
use crate::node_files::NodeFiles;
use crate::progress::{self, Progress, say};

/// How long the supervisor may take until it answers.
const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// How long a supervisor that was told to end may take: QEMUs that are just being started are waited for.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// How a rack is started.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How many nodes.
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    count: u8,
    /// The rack's name; racks of different names run side by side and do not see each other.
    #[arg(long, value_name = "NAME", default_value_t)]
    rack: RackName,
    /// The board of every node: raspi3b (Raspberry Pi 3B) or raspi4b (Raspberry Pi 4B).
    #[arg(long, value_name = "BOARD", default_value_t)]
    board: Machine,
    /// The NIC of every node: usb-net (QEMU's own), or a model of a Pi's: lan9514, lan7800.
    #[arg(long, value_name = "NIC", default_value = "usb-net")]
    nic: NicKind,
    /// Names the nodes PREFIX-1, PREFIX-2 and so on, and not by their Ethernet addresses.
    #[arg(long, value_name = "PREFIX")]
    name: Option<String>,
    /// The command line of every node: `log=debug workload=http`.
    #[arg(long, visible_alias = "cmdline", value_name = "TEXT", default_value = "")]
    append: String,
    #[command(flatten)]
    node_files: NodeFiles,
    /// Gives the nodes no key, so that nothing can be changed over the network. Otherwise `run` and other commands have one of
    /// their own, which ends with the rack.
    #[arg(long, conflicts_with = "ssh_key")]
    read_only: bool,
    /// TCP ports of each node that a free port of 127.0.0.1 leads to.
    #[arg(long, value_name = "PORT,...", value_delimiter = ',', default_value = "22,80")]
    forward: Vec<u16>,
    /// TCP ports of 127.0.0.1 that nodes reach at the gateway, 10.77.0.1: a broker, a syslog server.
    #[arg(long, value_name = "PORT,...", value_delimiter = ',')]
    expose: Vec<u16>,
    /// Plugs the nodes into a bridge of Linux, with tap interfaces and dnsmasq, in a network namespace of its own; needs root. As `ps`
    /// says, other programs can enter it: `nsenter -t PROCESS -n ping 10.77.0.11`.
    #[arg(long)]
    bridge: bool,
    /// Records the traffic in this directory for Wireshark: of each node, and all of it (not with --bridge).
    #[arg(long, value_name = "DIRECTORY")]
    pcap: Option<PathBuf>,
    /// Keeps the timers of all nodes exact. Otherwise only those of nodes that have been busy for a second are, and when more than
    /// two nodes per core of this machine are busy, those of none: they may be 4 ms late, which costs a fraction of the time.
    #[arg(long)]
    precise: bool,
    /// Stays in this terminal; Ctrl-C ends the rack.
    #[arg(long)]
    foreground: bool,
    /// Runs the image that was built last.
    #[arg(long)]
    no_build: bool,
}

/// Starts a rack.
pub(crate) fn up(options: &Options) -> Result<ExitCode> {
    let place = Place::of(&options.rack)?;
    if place.lock()?.is_none() {
        bail!(is_up(&place));
    }
    if options.bridge {
        qemu::bridge::require()?;
    }
    let own = if options.read_only { None } else { Keys::make()? };
    let archive = options.node_files.pack(&options.append, own.as_ref().map(|own| &own.for_nodes))?;
    let qemu = match Qemu::find() {
        Ok(qemu) => qemu,
        Err(_) => Progress::start("installing QEMU").follow(|line| Qemu::find_or_install(line))?,
    };
    qemu.require(options.board)?;
    let built = if options.no_build {
        qemu::build::existing()?
    } else {
        Progress::start("building the image").follow(|line| qemu::build::kernel(line))?
    };
    let Some(lock) = place.lock()? else { bail!(is_up(&place)) };
    // Before there is anything that Ctrl-C would leave behind.
    let catch =
        if options.foreground { Catch::Orders(Orders::catch()?) } else { Catch::Interrupt(Interrupt::catch()?) };
    let plan = options.plan(&place, built.image, archive.bytes.is_some())?;
    place.make()?;
    if let Some(bytes) = archive.bytes {
        write_private(&place.archive(), &bytes)?;
    }
    if let Some(own) = own {
        write_private(&place.user_key(), own.private.as_bytes())?;
    }
    if let Some(secret) = archive.rack_secret {
        write_private(&place.known_hosts(), keys::known_hosts(&plan, &secret).as_bytes())?;
    }
    match catch {
        Catch::Orders(orders) => foreground(&place, plan, lock, orders),
        Catch::Interrupt(interrupt) => background(&place, &plan, lock, &interrupt),
    }
}

/// Who is told of Ctrl-C.
enum Catch {
    /// The rack, in this process.
    Orders(Orders),
    /// `up`, which ends its supervisor.
    Interrupt(Interrupt),
}

impl Options {
    fn plan(&self, place: &Place, image: PathBuf, has_archive: bool) -> Result<Plan> {
        let pcap = self.pcap.as_ref().map(|directory| {
            let fails = || format!("{} can't be made", directory.display());
            fs::create_dir_all(directory).and_then(|()| fs::canonicalize(directory)).with_context(fails)
        });
        let mut forward = self.forward.clone();
        forward.sort_unstable();
        forward.dedup();
        Ok(Plan {
            count: self.count,
            board: self.board.name().into(),
            nic: self.nic.name().into(),
            prefix: self.name.clone(),
            command_line: self.append.clone(),
            forward,
            expose: self.expose.clone(),
            pcap: pcap.transpose()?,
            is_bridged: self.bridge,
            is_precise: self.precise,
            image: fs::canonicalize(image)?,
            archive: has_archive.then(|| place.archive()),
        })
    }
}

fn is_up(place: &Place) -> String {
    let name = place.name();
    format!("rack {name} is up already: end it (`down --rack {name}`), or take another name (`--rack NAME`)")
}

/// Runs the supervisor as a process of its own, which takes over the lock, and waits until the nodes are up. If they do not get there,
/// nothing of the rack is left.
fn background(place: &Place, plan: &Plan, lock: File, interrupt: &Interrupt) -> Result<ExitCode> {
    write_private(&place.plan(), &serde_json::to_vec(plan)?)?;
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(place.log())?;
    let mut supervisor = Command::new(env::current_exe().context("the path of this program")?)
        .args(["supervise", "--rack", &place.name().to_string()])
        .current_dir("/")
        .stdin(Stdio::from(lock))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()
        .context("the supervisor can't be started")?;
    let waited = wait(place, Some((&mut supervisor, interrupt)));
    let rack = place.name();
    match waited {
        Ok(status) => {
            show(&status)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if interrupt.is_set() {
                say("interrupted; ending what has been started");
            }
            let ended = end(place, &mut supervisor);
            ended
                .with_context(|| format!("{error:#}; rack {rack} may still be there: `down --rack {rack}` ends it"))?;
            if !interrupt.is_set() {
                return Err(error);
            }
            say(&format!("rack {rack} is down"));
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// Ends a supervisor, however far it is, and all that it has started.
fn end(place: &Place, supervisor: &mut Child) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(supervisor.id())?);
    let deadline = Instant::now() + END_TIMEOUT;
    if supervisor.try_wait()?.is_none() {
        // A supervisor that does not yet catch it has started nothing.
        kill(pid, Signal::SIGTERM).context("the rack's supervisor can't be told to end")?;
    }
    while supervisor.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            supervisor.kill()?;
            supervisor.wait()?;
        }
        thread::sleep(LOOK);
    }
    let Some(_lock) = place.lock()? else { bail!("somebody else has it now") };
    place.clear()
}

/// Is the supervisor, and tells the user how far it is in a thread.
fn foreground(place: &Place, plan: Plan, lock: File, orders: Orders) -> Result<ExitCode> {
    let there = place.clone();
    thread::spawn(move || match wait(&there, None).and_then(|status| show(&status)) {
        Ok(()) => say("Ctrl-C ends the rack."),
        Err(error) => say(&format!("error: {error:#}\nCtrl-C ends the rack.")),
    });
    let result = supervisor::run(place, plan, orders);
    // What is left when it could not even begin.
    let cleared = place.clear();
    drop(lock);
    result.and(cleared)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until every node is up.
///
/// # Errors
/// When one is not, the supervisor is gone, or the user has had enough.
fn wait(place: &Place, mut supervisor: Option<(&mut Child, &Interrupt)>) -> Result<Status> {
    Progress::start("starting nodes").follow(|line| {
        let (begin, mut told) = (Instant::now(), usize::MAX);
        loop {
            if supervisor.as_ref().is_some_and(|(_, interrupt)| interrupt.is_set()) {
                bail!("interrupted");
            }
            if let Some(status) = supervisor.as_mut().and_then(|(child, _)| child.try_wait().ok().flatten()) {
                let log = fs::read_to_string(place.log()).unwrap_or_default();
                bail!("the rack's supervisor ended with {status}: {}", log.trim());
            }
            let Some(status) = protocol::status(place)? else {
                if begin.elapsed() > SUPERVISOR_TIMEOUT {
                    bail!("the rack's supervisor did not start within {SUPERVISOR_TIMEOUT:?}");
                }
                thread::sleep(LOOK);
                continue;
            };
            if let Some(node) = status.nodes.iter().find(|node| node.error.is_some()) {
                bail!("{} is {}: {}", node.name, node.state.name(), node.error.as_deref().unwrap_or_default());
            }
            let up = status.nodes.iter().filter(|node| node.state == State::Up).count();
            if told != up {
                line(&format!("{up} of {} nodes are up after {:.1} s", status.nodes.len(), status.uptime_s));
                told = up;
            }
            if up == status.nodes.len() {
                return Ok(status);
            }
            thread::sleep(LOOK);
        }
    })
}

fn show(status: &Status) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(ps::table(status).as_bytes())?;
    let rack = match status.rack.as_str() {
        "default" => String::new(),
        name => format!(" --rack {}", progress::quoted(name)),
    };
    writeln!(
        out,
        "\nconsole: cargo run -- console{rack} 1    commands: cargo run -- run{rack} --all status\n\
         list: cargo run -- ps    end: cargo run -- down{rack}"
    )?;
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).with_context(|| format!("{} can't be written", path.display()))
}
