//! What a node is told at boot: the command line.
//!
//! `name=web-1 ip=10.0.0.7/24,10.0.0.1 workload=cpu:load=50%` becomes a [`Config`]. Nothing on it can stop a node from
//! booting: what is not understood is left at its default and kept as a [`Warning`] that names key and value and says
//! what is allowed.
//!
//! Words are separated by white space; in double quotes it is part of the word (`workload="ping:peer=a b"`). When a key
//! is repeated the last one counts, as in Linux, except for `workload` and `ssh-key`. The firmware of a Pi adds words of its own for Linux, which
//! are skipped: see [`keys::is_for_linux`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod keys;
mod value;
mod warning;
mod words;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use heapless::{String, Vec};
pub use warning::{Reason, Warning};

/// Longest node name: a DNS label (RFC 1035, section 2.3.4).
pub const NAME_LEN: usize = 63;
/// Longest text that describes a workload.
pub const WORKLOAD_LEN: usize = 120;
/// How many workloads a node can be given: one for each core that runs them.
pub const MAX_WORKLOADS: usize = 3;
/// How many SSH keys a node can be given.
pub const MAX_SSH_KEYS: usize = 4;
/// How many warnings are kept; further ones are counted.
pub const MAX_WARNINGS: usize = 8;

/// What a node is told at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `name`: the node's name. Without it, it is made from the MAC address.
    pub name: Option<String<NAME_LEN>>,
    /// `ip`: where the IPv4 address comes from.
    pub ip: Ip,
    /// `syslog`: where log lines go besides the console.
    pub syslog: Option<SocketAddr>,
    /// `ntp`: the time server. Without it, the one from DHCP.
    pub ntp: Option<IpAddr>,
    /// `log`: the least important level that is logged.
    pub log: Level,
    /// `usbnet`: the protocol to prefer with USB network interfaces that speak several.
    pub usbnet: Option<UsbNet>,
    /// `workload`: what to run, as it was written.
    pub workloads: Vec<String<WORKLOAD_LEN>, MAX_WORKLOADS>,
    /// `report`: seconds between the telemetry lines on the console; 0 for none.
    pub report_s: u16,
    /// `watchdog`: whether a node that hangs is reset.
    pub watchdog: bool,
    /// `ssh-key`: who may change the node. Without one it is read-only.
    pub ssh_keys: Vec<SshKey, MAX_SSH_KEYS>,
    /// What was not understood, in the order it was written.
    pub warnings: Vec<Warning, MAX_WARNINGS>,
    /// How many more warnings there were than are kept.
    pub warnings_dropped: usize,
}

/// Where the IPv4 address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ip {
    /// A DHCP server.
    #[default]
    Dhcp,
    /// The command line.
    Static {
        /// The node's address.
        address: Ipv4Addr,
        /// Length of the network's prefix: 1 to 30.
        prefix_len: u8,
        /// The way out of the network.
        gateway: Option<Ipv4Addr>,
    },
}

/// A public Ed25519 key (RFC 8032, section 5.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SshKey(pub [u8; 32]);

/// How important a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something is wrong, but works.
    Warn,
    /// What a user wants to know.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// A protocol of USB network interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsbNet {
    /// CDC-ECM.
    Ecm,
    /// CDC-NCM.
    Ncm,
    /// RNDIS.
    Rndis,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            ip: Ip::default(),
            syslog: None,
            ntp: None,
            log: Level::default(),
            usbnet: None,
            workloads: Vec::new(),
            report_s: 10,
            watchdog: true,
            ssh_keys: Vec::new(),
            warnings: Vec::new(),
            warnings_dropped: 0,
        }
    }
}

impl Config {
    /// Reads a command line.
    #[must_use]
    pub fn parse(line: &[u8]) -> Self {
        let mut config = Self::default();
        for word in words::split(line) {
            if let Err(reason) = config.apply(word) {
                let warning = Warning::new(word, reason);
                if config.warnings.push(warning).is_err() {
                    config.warnings_dropped += 1;
                }
            }
        }
        config
    }

    fn apply(&mut self, word: &[u8]) -> Result<(), Reason> {
        let (key, value) = words::key_and_value(word);
        let Some(value) = value else {
            return if keys::is_for_linux(key) { Ok(()) } else { Err(Reason::UnknownKey) };
        };
        let text = str::from_utf8(value).map_err(|_| Reason::NotText);
        match key {
            b"name" => self.name = Some(value::name(text?)?),
            b"ip" => self.ip = value::ip(text?)?,
            b"syslog" => self.syslog = Some(value::socket(text?)?),
            b"ntp" => self.ntp = Some(value::address(text?)?),
            b"log" => self.log = value::level(text?)?,
            b"usbnet" => self.usbnet = Some(value::usbnet(text?)?),
            b"report" => self.report_s = value::report(text?)?,
            b"watchdog" => self.watchdog = value::switch(text?)?,
            b"workload" => {
                let workload = value::workload(text?)?;
                self.workloads.push(workload).map_err(|_| Reason::TooManyWorkloads)?;
            }
            b"ssh-key" => {
                let key = value::ssh_key(text?)?;
                self.ssh_keys.push(key).map_err(|_| Reason::TooManySshKeys)?;
            }
            _ if keys::is_for_linux(key) => {}
            _ => return Err(Reason::UnknownKey),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
