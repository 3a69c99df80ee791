//! One virtual node on this terminal.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use qemu::{Machine, Network, NicKind, Node, NodeConfig, Qemu, Serial, UsbNet};
use tempfile::NamedTempFile;

use crate::annotate::{self, Annotator};
use crate::node_files::NodeFiles;
use crate::progress::{self, Progress, say};
use crate::symbols::Symbols;
use crate::terminal;

/// What a shell shows for a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// How long QEMU may take to end after it closed its output.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of what QEMU printed is shown when it has ended.
const MESSAGE_LINES: usize = 20;

/// TCP ports of the node that are forwarded: HTTP, SSH, and the classic services echo, discard and chargen.
const TCP_PORTS: [u16; 5] = [80, 22, 7, 9, 19];
/// UDP ports of the node that are forwarded: echo.
const UDP_PORTS: [u16; 1] = [7];

/// How a virtual node is run.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Options {
    /// The board: raspi3b (Raspberry Pi 3B) or raspi4b (Raspberry Pi 4B).
    #[arg(long, value_name = "BOARD", default_value_t)]
    machine: Machine,
    /// The node's command line, as on a real board's cmdline.txt: `ip=dhcp log=debug workload=cpu:load=50%`.
    #[arg(long, visible_alias = "cmdline", value_name = "TEXT")]
    append: Option<String>,
    /// The node's name (the same as `name=` on its command line).
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    node_files: NodeFiles,
    /// The node's NIC: usb-net (QEMU's own), or a model of a Pi's: lan9514, lan7800.
    #[arg(long, value_name = "NIC", default_value = "usb-net")]
    nic: NicKind,
    /// Plugs the node into an existing tap interface instead of QEMU's own network.
    #[arg(long, value_name = "INTERFACE")]
    tap: Option<String>,
    /// Records the node's network traffic in a file for Wireshark.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Waits for a debugger on a TCP port of localhost before the first instruction.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "1234")]
    gdb: Option<u16>,
    /// Runs the image that was built last.
    #[arg(long)]
    no_build: bool,
    /// Passes one more argument to QEMU; can be given several times.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    qemu_arg: Vec<OsString>,
}

impl Options {
    /// Returns the node's whole command line.
    pub(crate) fn command_line(&self) -> String {
        let name = self.name.as_ref().map(|name| format!("name={name}"));
        [name, self.append.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Writes the archive for the node into a file that only this user reads and that ends with the program.
    fn archive(&self) -> Result<Option<NamedTempFile>> {
        let Some(bytes) = self.node_files.pack(&self.command_line(), None)?.bytes else { return Ok(None) };
        let mut file = NamedTempFile::new().context("no file for the node's settings")?;
        file.write_all(&bytes).context("the node's settings can't be written")?;
        Ok(Some(file))
    }

    fn node_config(&self, image: PathBuf, archive: Option<&Path>) -> NodeConfig {
        let mut config = NodeConfig::new(image);
        config.initramfs = archive.map(Path::to_owned);
        config.machine = self.machine;
        config.command_line = self.command_line();
        config.network = match &self.tap {
            Some(ifname) => Network::Tap { ifname: ifname.clone() },
            None => {
                let network = TCP_PORTS.into_iter().fold(Network::user(), Network::forward_tcp);
                UDP_PORTS.into_iter().fold(network, Network::forward_udp)
            }
        };
        config.nic = Some(UsbNet { kind: self.nic, ..UsbNet::default() });
        config.pcap = self.pcap.clone();
        config.serial = Serial::Terminal;
        config.gdb = self.gdb;
        config.is_stopped = self.gdb.is_some();
        config.extra = self.qemu_arg.clone();
        config
    }
}

/// Finds QEMU, builds the image and runs a node until the user leaves or the node's QEMU ends.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let (events, inbox) = mpsc::channel();
    let interrupted = events.clone();
    ctrlc::set_handler(move || {
        // The other end is gone only when the program is ending anyway.
        let _ = interrupted.send(Event::Interrupted);
    })
    .context("Ctrl-C can't be caught")?;

    let archive = options.archive()?;
    let prepared = prepare(options);
    if is_interrupted(&inbox) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let (qemu, built) = prepared?;
    // Without names a report is still a report.
    let symbols = Symbols::load(&built.elf).map_err(|error| say(&format!("warning: no names: {error:#}"))).ok();

    let _terminal = terminal::Saved::new();
    let mut node = Node::start(&qemu, options.node_config(built.image, archive.as_ref().map(NamedTempFile::path)))?;
    say(&things_to_try(options, &node)?);
    let output = node.take_stdout().context("QEMU has no output")?;
    let pump = thread::spawn(move || pass_on(output, Annotator::new(symbols), &events));
    match inbox.recv().context("the console ended without a word")? {
        Event::Interrupted => {
            say(""); // Away from the node's prompt.
            Ok(ExitCode::from(INTERRUPTED))
        }
        Event::Ended(result) => {
            // The thread has sent its last message.
            let _ = pump.join();
            result.context("the console can't be shown")?;
            let status = node.wait(END_TIMEOUT)?;
            outcome(status, &node.messages())
        }
    }
}

enum Event {
    /// Ctrl-C, or the system asks this program to end.
    Interrupted,
    /// QEMU closed its output, or it could not be shown.
    Ended(io::Result<()>),
}

fn prepare(options: &Options) -> Result<(Qemu, qemu::build::Built)> {
    let qemu = match Qemu::find() {
        Ok(qemu) => qemu,
        Err(_) => Progress::start("installing QEMU").follow(|line| Qemu::find_or_install(line))?,
    };
    if options.no_build {
        return Ok((qemu, qemu::build::existing()?));
    }
    let built = Progress::start("building the image").follow(|line| qemu::build::kernel(line))?;
    say(&progress::sizes(&built.sizes));
    Ok((qemu, built))
}

/// Returns whether Ctrl-C was pressed. Children get the same signal and fail a moment before or after our handler runs.
fn is_interrupted(inbox: &Receiver<Event>) -> bool {
    const MOMENT: Duration = Duration::from_millis(20);
    inbox.recv_timeout(MOMENT).is_ok()
}

fn pass_on(mut output: ChildStdout, mut annotator: Annotator<Symbols>, events: &Sender<Event>) {
    let mut screen = terminal::Patient(io::stdout().lock());
    let result = annotate::copy(&mut output, &mut screen, &mut annotator);
    // The main thread is gone only when the program is ending anyway.
    let _ = events.send(Event::Ended(result));
}

fn outcome(status: ExitStatus, messages: &str) -> Result<ExitCode> {
    let messages = last_lines(messages, MESSAGE_LINES);
    if !status.success() {
        say(""); // Away from the node's prompt.
        let colon = if messages.is_empty() { "" } else { ": " };
        bail!("QEMU ended with {status}{colon}{messages}");
    }
    if !messages.is_empty() {
        say(&format!("QEMU says: {messages}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn things_to_try(options: &Options, node: &Node) -> Result<String> {
    let mut lines = vec!["Ctrl-A X leaves, Ctrl-A C changes between the console and QEMU's monitor.".to_owned()];
    if let Some(ifname) = &options.tap {
        lines.push(format!("The node is on {ifname}: whoever answers DHCP there gives it an address."));
    } else {
        let [http, ssh, echo, discard, chargen] = TCP_PORTS.map(|port| node.tcp_port(port));
        let (http, echo) = (http?, echo?);
        let tries = [
            (format!("curl http://localhost:{http}/metrics"), "telemetry; / is the status page"),
            (format!("ssh -p {} localhost status", ssh?), "the shell's commands, with a key (--ssh-key)"),
            (format!("printf hi | nc -q1 localhost {echo}"), "echo, TCP"),
            (format!("printf hi | nc -u -w1 localhost {}", node.udp_port(7)?), "echo, UDP"),
            (format!("nc localhost {}", chargen?), "chargen, TCP"),
            (format!("head -c 1M /dev/zero | nc -N localhost {}", discard?), "discard, TCP"),
        ];
        lines.push(
            "To try from another terminal (ping can't reach a node on QEMU's own network; these can):".to_owned(),
        );
        lines.extend(tries.map(|(command, what)| format!("  {command:<44} {what}")));
    }
    if let Some(port) = options.gdb {
        lines.push(format!(
            "The node waits for: gdb-multiarch target/kernel.elf -ex 'target remote :{port}' -ex continue"
        ));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_gets_its_ports_and_its_command_line() {
        let options = Options { name: Some("pi".into()), append: Some("log=debug".into()), ..Options::default() };
        let config = options.node_config("i".into(), None);
        assert_eq!(config.command_line, "name=pi log=debug");
        let Network::User { forwards } = config.network else { unreachable!("no tap was asked for") };
        assert_eq!(forwards.iter().map(|forward| forward.node_port).collect::<Vec<_>>(), [80, 22, 7, 9, 19, 7]);
        assert_eq!(config.serial, Serial::Terminal);
        assert!(!config.is_stopped);
    }

    #[test]
    fn the_last_words_are_the_ones_to_show() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a\n", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_tap_replaces_the_forwards() {
        let options = Options { tap: Some("tap0".into()), gdb: Some(1), ..Options::default() };
        let config = options.node_config("i".into(), None);
        assert_eq!(config.network, Network::Tap { ifname: "tap0".into() });
        assert!(config.is_stopped);
    }
}
