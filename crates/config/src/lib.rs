//! What a node is told at boot: its command line, and node.toml, authorized_keys and rack.key of its initramfs.
//!
//! `name=web-1 ip=10.0.0.7/24,10.0.0.1 workload=cpu:load=50%` becomes a [`Config`], and so does the same in node.toml: one
//! table of keys ([`keys::KEYS`]) serves both, and the command line overrides the file. Nothing in them can stop a node from
//! booting: what is not understood is left as it was and kept as a [`Warning`] that names line, key and value and says
//! what is allowed or may have been meant.
//!
//! Words are separated by white space; in double quotes it is part of the word (`workload="ping:peer=a b"`). When a key
//! is repeated the last one counts, as in Linux, except for `workload` and `ssh-key`. The firmware of a Pi adds words of its own for Linux, which
//! are skipped: see [`keys::is_for_linux`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod file;
pub mod keys;
mod nearest;
mod toml;
mod types;
mod value;
mod warning;
mod words;

use core::net::IpAddr;

pub use file::{AUTHORIZED_KEYS, FILE_LEN_MAX, Files, NODE_TOML, RACK_KEY};
use heapless::{String, Vec};
use keys::{Key, Section};
pub use types::{HOST_LEN, Host, Ip, Level, Mqtt, Peer, RackSecret, SHORT_LEN, SshKey, Syslog, Transport, UsbNet};
pub use warning::{Place, Reason, Warning};

/// Longest node name: a DNS label (RFC 1035, section 2.3.4).
pub const NAME_LEN: usize = 63;
/// Longest text that describes a workload.
pub const WORKLOAD_LEN: usize = 256;
/// How many workloads a node can be given.
pub const MAX_WORKLOADS: usize = 8;
/// How many SSH keys a node can be given.
pub const MAX_SSH_KEYS: usize = 16;
/// How many warnings are kept; further ones are counted.
pub const MAX_WARNINGS: usize = 16;

/// What a node is told at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `name`: the node's name. Without it, it is made from the MAC address.
    pub name: Option<String<NAME_LEN>>,
    /// `ip`: where the IPv4 address comes from.
    pub ip: Ip,
    /// `syslog`: where log lines go besides the console.
    pub syslog: Option<Syslog>,
    /// `mqtt` and others: the broker that telemetry goes to.
    pub mqtt: Mqtt,
    /// `defmt`: the TCP port that serves the log as defmt frames.
    pub defmt: Option<u16>,
    /// `metrics`: whether HTTP has telemetry for Prometheus.
    pub metrics: bool,
    /// `api`: whether HTTP has telemetry as JSON and events.
    pub api: bool,
    /// `http`: whether there is an HTTP server.
    pub http: bool,
    /// `mdns`: whether the node answers for its name.
    pub mdns: bool,
    /// `echo`: whether there are echo, discard and chargen.
    pub echo: bool,
    /// `ssh`: whether there is an SSH server.
    pub ssh: bool,
    /// `ssh-idle`: seconds after which an idle SSH session ends.
    pub ssh_idle_s: u32,
    /// `ntp`: the time server. Without it, the one from DHCP.
    pub ntp: Option<IpAddr>,
    /// `log`: the least important level that is logged.
    pub log: Level,
    /// `usbnet`: the protocol to prefer with USB network interfaces that speak several.
    pub usbnet: Option<UsbNet>,
    /// `workload`: what to run, as it was written on the command line.
    pub workloads: Vec<String<WORKLOAD_LEN>, MAX_WORKLOADS>,
    /// Where each of them stands, for who finds out what is wrong with it.
    pub workload_places: Vec<Place, MAX_WORKLOADS>,
    /// `report`: seconds between the telemetry lines on the console; 0 for none.
    pub report_s: u16,
    /// `watchdog`: whether a node that hangs is reset.
    pub watchdog: bool,
    /// `ssh-key`: who may change the node. Without one it is read-only.
    pub ssh_keys: Vec<SshKey, MAX_SSH_KEYS>,
    /// `rack-secret`: what the node's SSH host key comes from.
    pub rack_secret: Option<RackSecret>,
    /// What was not understood, in the order it was written.
    pub warnings: Vec<Warning, MAX_WARNINGS>,
    /// How many more warnings there were than are kept.
    pub warnings_dropped: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            ip: Ip::default(),
            syslog: None,
            mqtt: Mqtt::default(),
            defmt: None,
            metrics: true,
            api: true,
            http: true,
            mdns: true,
            echo: true,
            ssh: true,
            ssh_idle_s: 600,
            ntp: None,
            log: Level::default(),
            usbnet: None,
            workloads: Vec::new(),
            workload_places: Vec::new(),
            report_s: 10,
            watchdog: true,
            ssh_keys: Vec::new(),
            rack_secret: None,
            warnings: Vec::new(),
            warnings_dropped: 0,
        }
    }
}

impl Config {
    /// Reads a command line.
    #[must_use]
    pub fn parse(line: &[u8]) -> Self {
        Self::read(Files::default(), line)
    }

    /// Returns whether nobody can change the node over the network.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.ssh_keys.is_empty() || !self.ssh
    }

    fn apply_line(&mut self, line: &[u8]) {
        let mut has_workload = false;
        for word in words::split(line) {
            let (key, value) = words::key_and_value(word);
            let is_workload = Key::find(key).is_some_and(|key| key.section == Section::Workload);
            if is_workload && !has_workload {
                // Those of the file.
                self.workloads.clear();
                self.workload_places.clear();
                has_workload = true;
            }
            if let Err(reason) = self.apply(key, value) {
                self.warn(Warning::new(Place::CommandLine, key, value, reason));
            }
            self.place_workloads(Place::CommandLine);
        }
    }

    /// Notes the place of the workloads that have come since it was called last.
    fn place_workloads(&mut self, place: Place) {
        // There is room for as many places as workloads.
        let _ = self.workload_places.resize(self.workloads.len(), place);
    }

    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Reason> {
        match (Key::find(key), value) {
            (Some(key), Some(value)) => key.read(self, value),
            (Some(_), None) => Err(Reason::NoValue),
            (None, _) if keys::is_for_linux(key) => Ok(()),
            (None, _) => Err(Reason::UnknownKey),
        }
    }
}

#[cfg(test)]
mod tests;
