//! A virtual board, as QEMU's command line.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result};
use usb_models::nic::UsbSpeed;

use crate::firmware::Firmware;

/// Id of the network back end on QEMU's command line.
pub const NETDEV: &str = "n0";
/// Id of the NIC, for plugging and unplugging.
pub const NIC: &str = "nic0";
/// Address of a virtual node when nothing else is asked for: locally administered.
pub const DEFAULT_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// A board that QEMU has a model of and that the image runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machine {
    /// Raspberry Pi 3 Model B: four Cortex-A53, 1 GiB, NIC on USB.
    #[default]
    Raspi3b,
    /// Raspberry Pi 4 Model B: four Cortex-A72, 2 GiB, no Ethernet of its own; the NIC is on the DWC2 of the USB-C connector.
    /// QEMU has it since version 9.
    Raspi4b,
}

impl Machine {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Raspi3b, Self::Raspi4b];

    /// Returns QEMU's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raspi3b => "raspi3b",
            Self::Raspi4b => "raspi4b",
        }
    }

    /// Returns where the cores see the GPIO registers.
    #[must_use]
    pub fn gpio(self) -> u32 {
        match self {
            Self::Raspi3b => 0x3f20_0000,
            Self::Raspi4b => 0xfe20_0000,
        }
    }

    /// Returns what its cores say that they are (MIDR_EL1): a Cortex-A53 r0p4, a Cortex-A72 r0p3.
    #[must_use]
    pub fn midr(self) -> u32 {
        match self {
            Self::Raspi3b => 0x410f_d034,
            Self::Raspi4b => 0x410f_d083,
        }
    }

    /// Returns the board's name.
    #[must_use]
    pub fn board(self) -> &'static str {
        match self {
            Self::Raspi3b => "Raspberry Pi 3 Model B",
            Self::Raspi4b => "Raspberry Pi 4 Model B",
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Machine {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = || Self::ALL.map(Self::name).join(" or ");
        let found = Self::ALL.into_iter().find(|machine| machine.name() == name);
        found.with_context(|| format!("there is no machine {name:?}: it is {}", known()))
    }
}

/// Transport of a forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Returns QEMU's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the node that is reached through a port of 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Transport.
    pub protocol: Protocol,
    /// Port on this machine; 0 takes a free one, which [`crate::Node::port`] tells.
    pub host_port: u16,
    /// Port of the node.
    pub node_port: u16,
}

/// What the NIC's cable is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// QEMU's own small network (10.0.2.0/24) with DHCP, DNS and a way out; the node is reached through forwards only.
    User {
        /// Ports that are forwarded.
        forwards: Vec<Forward>,
    },
    /// An existing tap interface, in the network namespace of the thread that starts the node.
    Tap {
        /// Its name.
        ifname: String,
    },
    /// The program that started the node: every frame is sent and received by it through [`crate::Node::peer`].
    Peer,
    /// A stream socket on which somebody listens; each frame follows its length as a 32-bit big-endian number.
    Stream {
        /// Path of the listening unix socket.
        path: PathBuf,
    },
}

impl Network {
    /// Returns the user network without forwards.
    #[must_use]
    pub fn user() -> Self {
        Self::User { forwards: Vec::new() }
    }

    /// Adds a forward from a free port of this machine to TCP port `node_port`. Nothing happens on other networks.
    #[must_use]
    pub fn forward_tcp(self, node_port: u16) -> Self {
        self.forward(Forward { protocol: Protocol::Tcp, host_port: 0, node_port })
    }

    /// Adds a forward from a free port of this machine to UDP port `node_port`. Nothing happens on other networks.
    #[must_use]
    pub fn forward_udp(self, node_port: u16) -> Self {
        self.forward(Forward { protocol: Protocol::Udp, host_port: 0, node_port })
    }

    /// Adds a forward. Nothing happens on other networks.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        if let Self::User { forwards } = &mut self {
            forwards.push(forward);
        }
        self
    }
}

/// Which NIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NicKind {
    /// QEMU's own, which speaks CDC-ECM and RNDIS.
    #[default]
    UsbNet,
    /// A model of the LAN9514's Ethernet function, as on a Pi 3B.
    Lan9514,
    /// A model of the LAN7800, as on a Pi 3B+.
    Lan7800,
}

impl NicKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::UsbNet, Self::Lan9514, Self::Lan7800];

    /// Returns its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UsbNet => "usb-net",
            Self::Lan9514 => "lan9514",
            Self::Lan7800 => "lan7800",
        }
    }
}

impl FromStr for NicKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("there is no NIC {name:?}; there are {}", names()))
    }
}

/// A USB network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsbNet {
    /// Which one.
    pub kind: NicKind,
    /// Its address. A real chip has none on a Pi: the models get the one of the board, which is one of those from
    /// [`DEFAULT_MAC`] on, up to the next multiple of 256; of another only the last byte counts.
    pub mac: [u8; 6],
    /// Whether it sits on a hub instead of the root port.
    pub behind_hub: bool,
    /// Whether it is there when the node starts; otherwise [`crate::Node::plug_nic`] brings it.
    pub is_plugged: bool,
}

impl Default for UsbNet {
    fn default() -> Self {
        Self { kind: NicKind::default(), mac: DEFAULT_MAC, behind_hub: false, is_plugged: true }
    }
}

impl UsbNet {
    /// Returns the port path on the board's USB bus.
    #[must_use]
    pub fn port(&self) -> &'static str {
        if self.behind_hub { "1.1" } else { "1" }
    }

    /// Returns the speed at which a model presents itself: QEMU's hub is a full-speed one.
    #[must_use]
    pub fn speed(&self) -> UsbSpeed {
        if self.behind_hub { UsbSpeed::Full } else { UsbSpeed::High }
    }

    /// Returns the address as text.
    #[must_use]
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// Where the node's console goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serial {
    /// To [`crate::Node::console`].
    #[default]
    Captured,
    /// To the terminal, mixed with QEMU's monitor: Ctrl-A X leaves, Ctrl-A C changes between the two. What the node
    /// says comes out of [`crate::Node::take_stdout`], so that the caller can pass it on.
    Terminal,
}

/// A node to be started.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The board.
    pub machine: Machine,
    /// The flat image.
    pub image: PathBuf,
    /// What enters the image, if it is not QEMU itself. Then there are no command line and no initramfs: QEMU has these only
    /// for its own way.
    pub firmware: Option<Firmware>,
    /// The command line that the node finds through the mailbox.
    pub command_line: String,
    /// A cpio archive that the node finds in memory, as the Pi's firmware loads one.
    pub initramfs: Option<PathBuf>,
    /// The NIC, if there is one.
    pub nic: Option<UsbNet>,
    /// What the NIC is plugged into.
    pub network: Network,
    /// File to which every frame on the cable is written, in pcap format.
    pub pcap: Option<PathBuf>,
    /// Where the console (PL011) goes.
    pub serial: Serial,
    /// Whether the mini UART is captured, for [`crate::Node::mini_uart`].
    pub mini_uart: bool,
    /// TCP port of 127.0.0.1 on which QEMU's gdb stub listens.
    pub gdb: Option<u16>,
    /// Whether the node waits for the debugger's `continue` before its first instruction.
    pub is_stopped: bool,
    /// Whether QEMU ends when the node resets itself, instead of booting it again.
    pub exit_on_reset: bool,
    /// Deterministic time: the node executes one instruction each 2^n ns of virtual time, and time jumps when it idles.
    pub icount_shift: Option<u8>,
    /// QEMU's trace events, as patterns (`usb_dwc2_*`).
    pub trace: Vec<String>,
    /// QEMU's log items (`guest_errors,unimp`).
    pub log: Option<String>,
    /// File for trace events and log items, instead of standard error.
    pub log_file: Option<PathBuf>,
    /// Where the run directory is made, with the sockets between QEMU and its owner; the system's directory for temporary files
    /// when `None`.
    pub run_parent: Option<PathBuf>,
    /// Whether QEMU is started so that [`crate::Node::set_timer_slack`] works without root. Then it finds no tap interface.
    pub has_slack: bool,
    /// More arguments for QEMU.
    pub extra: Vec<OsString>,
}

impl NodeConfig {
    /// Returns a raspi3b that boots `image`, with usb-net on the user network and its console captured.
    #[must_use]
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            machine: Machine::default(),
            image: image.into(),
            firmware: None,
            command_line: String::new(),
            initramfs: None,
            nic: Some(UsbNet::default()),
            network: Network::user(),
            pcap: None,
            serial: Serial::default(),
            mini_uart: false,
            gdb: None,
            is_stopped: false,
            exit_on_reset: false,
            icount_shift: None,
            trace: Vec::new(),
            log: None,
            log_file: None,
            run_parent: None,
            has_slack: false,
            extra: Vec::new(),
        }
    }

    /// Returns QEMU's arguments; the sockets between QEMU and its owner are in `run_dir`.
    #[must_use]
    pub fn arguments(&self, run_dir: &Path) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        arguments.option("-M", self.machine.name());
        if let Some(firmware) = &self.firmware {
            let (file, address) = (escape(&self.image), firmware.load_address);
            let image = format!("loader,file={file},addr={address:#x},force-raw=on");
            arguments.option("-device", image);
            let firmware = escape(&run_dir.join(FIRMWARE));
            arguments.option("-device", format!("loader,file={firmware},addr=0,force-raw=on"));
        } else {
            arguments.option("-kernel", &self.image);
            if !self.command_line.is_empty() {
                arguments.option("-append", &self.command_line);
            }
            if let Some(file) = &self.initramfs {
                arguments.option("-initrd", file);
            }
        }
        arguments.option("-display", "none");
        self.serial_arguments(run_dir, &mut arguments);
        arguments.option("-chardev", socket_chardev("qmp", &run_dir.join(QMP_SOCKET)));
        arguments.option("-mon", "chardev=qmp,mode=control");
        self.network_arguments(run_dir, &mut arguments);
        if let Some(port) = self.gdb {
            arguments.option("-gdb", format!("tcp:127.0.0.1:{port}"));
        }
        // Let go when QEMU has answered for the first time: a node that keeps its devices busy from the first moment keeps it from that.
        arguments.flag("-S");
        if self.exit_on_reset {
            arguments.flag("-no-reboot");
        }
        if let Some(shift) = self.icount_shift {
            arguments.option("-icount", format!("shift={shift},sleep=off"));
        }
        for event in &self.trace {
            arguments.option("-trace", event);
        }
        if let Some(items) = &self.log {
            arguments.option("-d", items);
        }
        if let Some(file) = &self.log_file {
            arguments.option("-D", file);
        }
        arguments.0.extend(self.extra.iter().cloned());
        arguments.0
    }

    fn serial_arguments(&self, run_dir: &Path, arguments: &mut Arguments) {
        match self.serial {
            Serial::Captured => {
                arguments.option("-chardev", socket_chardev("console", &run_dir.join(CONSOLE_SOCKET)));
                arguments.option("-serial", "chardev:console");
                arguments.option("-monitor", "none");
            }
            Serial::Terminal => arguments.option("-serial", "mon:stdio"),
        }
        if self.mini_uart {
            arguments.option("-chardev", socket_chardev("mini_uart", &run_dir.join(MINI_UART_SOCKET)));
            arguments.option("-serial", "chardev:mini_uart");
        }
    }

    fn network_arguments(&self, run_dir: &Path, arguments: &mut Arguments) {
        let Some(nic) = &self.nic else {
            arguments.option("-nic", "none");
            return;
        };
        arguments.option("-netdev", self.network.netdev(run_dir));
        if let Some(file) = &self.pcap {
            arguments.option("-object", format!("filter-dump,id=pcap,netdev={NETDEV},file={}", escape(file)));
        }
        if nic.behind_hub {
            arguments.option("-device", "usb-hub,id=hub0,port=1");
        }
        if nic.kind != NicKind::UsbNet {
            // Frames go over a hub, because a netdev has one other end and it may be any kind of network.
            let (wire, usb) = (escape(&run_dir.join(WIRE_SOCKET)), escape(&run_dir.join(USB_SOCKET)));
            arguments.option("-netdev", format!("hubport,id=hub0,hubid=1,netdev={NETDEV}"));
            arguments.option("-netdev", format!("stream,id=wire,server=off,addr.type=unix,addr.path={wire}"));
            arguments.option("-netdev", "hubport,id=hub1,hubid=1,netdev=wire");
            arguments.option("-chardev", format!("socket,id=usb,path={usb}"));
            arguments.option("-device", format!("usb-redir,id={NIC},chardev=usb,port={}", nic.port()));
            // The board's address is the first that no NIC has taken (QEMU net/net.c, `qemu_macaddr_get_free`). These take those
            // before the wanted one, and are on no bus: QEMU says so, and is right.
            for _ in DEFAULT_MAC[5]..nic.mac[5] {
                arguments.option("-net", "nic");
            }
        } else if nic.is_plugged {
            let (mac, port) = (nic.mac_text(), nic.port());
            arguments.option("-device", format!("usb-net,id={NIC},netdev={NETDEV},mac={mac},port={port}"));
        }
    }
}

/// Machine code of the firmware in the run directory.
pub(crate) const FIRMWARE: &str = "firmware";
/// Socket of the console in the run directory.
pub(crate) const CONSOLE_SOCKET: &str = "console";
/// Socket of the mini UART in the run directory.
pub(crate) const MINI_UART_SOCKET: &str = "mini-uart";
/// Socket of the machine protocol in the run directory.
pub(crate) const QMP_SOCKET: &str = "qmp";
/// QEMU's end of the peer's cable in the run directory.
pub(crate) const CABLE_NODE_SOCKET: &str = "cable-node";
/// Where a model of a NIC is on the USB bus, in the run directory.
pub(crate) const USB_SOCKET: &str = "usb";
/// Where its frames go, in the run directory.
pub(crate) const WIRE_SOCKET: &str = "wire";
/// The peer's end of its cable in the run directory.
pub(crate) const CABLE_PEER_SOCKET: &str = "cable-peer";

impl Network {
    fn netdev(&self, run_dir: &Path) -> String {
        match self {
            Self::User { forwards } => {
                let forwards = forwards.iter().map(|forward| {
                    let Forward { protocol, host_port, node_port } = forward;
                    format!(",hostfwd={}:127.0.0.1:{host_port}-:{node_port}", protocol.name())
                });
                format!("user,id={NETDEV}{}", forwards.collect::<String>())
            }
            Self::Tap { ifname } => format!("tap,id={NETDEV},ifname={ifname},script=no,downscript=no"),
            Self::Peer => format!(
                "dgram,id={NETDEV},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                escape(&run_dir.join(CABLE_NODE_SOCKET)),
                escape(&run_dir.join(CABLE_PEER_SOCKET)),
            ),
            Self::Stream { path } => {
                format!("stream,id={NETDEV},server=off,addr.type=unix,addr.path={}", escape(path))
            }
        }
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

fn socket_chardev(id: &str, path: &Path) -> String {
    format!("socket,id={id},path={}", escape(path))
}

/// Returns `path` for use inside an option list, where a comma is doubled.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(config: &NodeConfig) -> String {
        let arguments = config.arguments(Path::new("/run/x"));
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_plain_node_has_usb_net_on_the_user_network() {
        let line = line(&NodeConfig::new("kernel8.img"));
        assert!(line.starts_with("-M raspi3b -kernel kernel8.img -display none"), "{line}");
        assert!(line.contains("-netdev user,id=n0 -device usb-net,id=nic0,netdev=n0,mac=52:54:00:12:34:56,port=1"));
        assert!(line.contains("-chardev socket,id=console,path=/run/x/console -serial chardev:console"));
        assert!(!line.contains("-append") && !line.contains("-no-reboot") && !line.contains("-icount"), "{line}");
    }

    #[test]
    fn machines_are_known_by_their_names() {
        for machine in Machine::ALL {
            assert!(machine.name().parse::<Machine>().is_ok_and(|parsed| parsed == machine));
        }
        let error = "raspi5b".parse::<Machine>().map_err(|error| error.to_string());
        assert_eq!(error, Err("there is no machine \"raspi5b\": it is raspi3b or raspi4b".to_owned()));
    }

    #[test]
    fn a_firmware_of_ours_takes_the_place_of_qemu_s() {
        let mut config = NodeConfig::new("i");
        config.command_line = "name=x".into();
        config.firmware = Some(Firmware::default());
        let line = line(&config);
        assert!(line.contains("-device loader,file=i,addr=0x80000,force-raw=on"), "{line}");
        assert!(line.contains("-device loader,file=/run/x/firmware,addr=0,force-raw=on"), "{line}");
        assert!(!line.contains("-kernel") && !line.contains("-append"), "{line}");
    }

    #[test]
    fn forwards_listen_on_loopback_only() {
        let mut config = NodeConfig::new("i");
        config.network = Network::user().forward_tcp(80).forward_udp(7);
        assert!(line(&config).contains("user,id=n0,hostfwd=tcp:127.0.0.1:0-:80,hostfwd=udp:127.0.0.1:0-:7"));
    }

    #[test]
    fn the_command_line_is_one_argument() {
        let mut config = NodeConfig::new("i");
        config.command_line = "name=pi-1 ip=dhcp".into();
        let arguments = config.arguments(Path::new("/r"));
        let append = arguments.iter().position(|argument| argument == "-append");
        assert_eq!(append.and_then(|at| arguments.get(at + 1)), Some(&OsString::from("name=pi-1 ip=dhcp")));
    }

    #[test]
    fn a_hub_moves_the_nic_to_its_first_port() {
        let mut config = NodeConfig::new("i");
        config.nic = Some(UsbNet { behind_hub: true, ..UsbNet::default() });
        let line = line(&config);
        assert!(line.contains("-device usb-hub,id=hub0,port=1 -device usb-net,"), "{line}");
        assert!(line.contains("port=1.1"), "{line}");
    }

    #[test]
    fn a_model_is_behind_usbredir_and_a_hub_joins_it_with_any_network() {
        let mut config = NodeConfig::new("i");
        config.nic = Some(UsbNet { kind: NicKind::Lan9514, ..UsbNet::default() });
        let line = line(&config);
        assert!(line.contains("-device usb-redir,id=nic0,chardev=usb,port=1"), "{line}");
        assert!(line.contains("-netdev user,id=n0 -netdev hubport,id=hub0,hubid=1,netdev=n0"), "{line}");
        assert!(line.contains("stream,id=wire,server=off,addr.type=unix,addr.path=/run/x/wire"), "{line}");
        assert!(!line.contains("usb-net") && !line.contains("-net nic"), "{line}");
    }

    #[test]
    fn a_model_has_the_boards_address_which_others_before_it_move() {
        let mut config = NodeConfig::new("i");
        let mut mac = DEFAULT_MAC;
        mac[5] += 2;
        config.nic = Some(UsbNet { kind: NicKind::Lan7800, mac, ..UsbNet::default() });
        assert_eq!(line(&config).matches("-net nic").count(), 2);
    }

    #[test]
    fn nics_have_names() {
        for kind in NicKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "lan9118".parse::<NicKind>();
        assert_eq!(error, Err("there is no NIC \"lan9118\"; there are usb-net, lan9514, lan7800".into()));
    }

    #[test]
    fn an_unplugged_nic_leaves_its_cable() {
        let mut config = NodeConfig::new("i");
        config.nic = Some(UsbNet { is_plugged: false, ..UsbNet::default() });
        let line = line(&config);
        assert!(line.contains("-netdev user,id=n0") && !line.contains("usb-net"), "{line}");
    }

    #[test]
    fn no_nic_means_no_network_at_all() {
        let mut config = NodeConfig::new("i");
        config.nic = None;
        let line = line(&config);
        assert!(line.contains("-nic none") && !line.contains("-netdev"), "{line}");
    }

    #[test]
    fn every_other_network_is_spelled_out() {
        let mut config = NodeConfig::new("i");
        config.network = Network::Tap { ifname: "tap7".into() };
        config.pcap = Some("a,b.pcap".into());
        let tap = line(&config);
        assert!(tap.contains("tap,id=n0,ifname=tap7,script=no,downscript=no"), "{tap}");
        assert!(tap.contains("filter-dump,id=pcap,netdev=n0,file=a,,b.pcap"), "{tap}");
        config.network = Network::Peer;
        assert!(line(&config).contains("dgram,id=n0,local.type=unix,local.path=/run/x/cable-node,remote.type=unix"));
        config.network = Network::Stream { path: "/s".into() };
        assert!(line(&config).contains("stream,id=n0,server=off,addr.type=unix,addr.path=/s"));
    }

    #[test]
    fn the_terminal_shares_the_console_with_the_monitor() {
        let mut config = NodeConfig::new("i");
        config.serial = Serial::Terminal;
        let line = line(&config);
        assert!(line.contains("-serial mon:stdio") && !line.contains("-monitor"), "{line}");
    }

    #[test]
    fn debugging_options_are_passed_on() {
        let mut config = NodeConfig::new("i");
        config.gdb = Some(1234);
        config.is_stopped = true;
        config.exit_on_reset = true;
        config.icount_shift = Some(3);
        config.trace = vec!["usb_dwc2_*".into()];
        config.log = Some("guest_errors".into());
        config.log_file = Some("q.log".into());
        config.extra = vec!["-snapshot".into()];
        let line = line(&config);
        assert!(
            line.ends_with(
                "-gdb tcp:127.0.0.1:1234 -S -no-reboot -icount shift=3,sleep=off -trace usb_dwc2_* -d guest_errors \
                 -D q.log -snapshot"
            ),
            "{line}"
        );
    }
}
