//! Who the node is: known once at boot, then fixed.

use core::fmt;

use heapless::String;

/// Identity of a node and of the image that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Name on the network, such as `pi-123456`.
    pub name: String<63>,
    /// Board model, such as `Raspberry Pi 3 Model B`.
    pub board: String<63>,
    /// System on chip, such as `BCM2837`.
    pub soc: String<15>,
    /// Revision code of the board.
    pub revision: u32,
    /// Serial number of the board; 0 if it has none.
    pub serial: u64,
    /// Whether the board is an emulator's.
    pub is_emulated: bool,
    /// Version of the image.
    pub version: &'static str,
    /// What identifies the build, such as an abbreviated commit; empty if not known.
    pub build: &'static str,
    /// Who may change the node over the network.
    pub access: Access,
}

/// Who may change the node over the network. Displays as a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nobody: there is no SSH server.
    #[default]
    Off,
    /// Nobody: no key was given.
    NoKey,
    /// Who holds one of some keys, by SSH.
    Keys {
        /// How many there are.
        count: usize,
        /// The fingerprint of the node's own key.
        host_key: String<50>,
        /// Whether the node's own key will be the same after a restart.
        is_lasting: bool,
    },
}

impl Access {
    /// Returns whether nobody can change the node over the network.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        !matches!(self, Self::Keys { .. })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("read-only: SSH is switched off (ssh=off)"),
            Self::NoKey => {
                f.write_str("read-only: no SSH key was given (ssh-key=... on the command line or in node.toml)")
            }
            Self::Keys { count, host_key, is_lasting } => {
                write!(f, "SSH, {count} key{}; host key {host_key}", if *count == 1 { "" } else { "s" })?;
                if *is_lasting { Ok(()) } else { f.write_str(" until the next start (no rack-secret=... was given)") }
            }
        }
    }
}

impl NodeInfo {
    /// Displays the serial number as it is printed on boards, or that there is none.
    #[must_use]
    pub fn serial(&self) -> impl fmt::Display + use<> {
        let serial = self.serial;
        fmt::from_fn(move |f| if serial == 0 { f.write_str("unknown") } else { write!(f, "{serial:016x}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_serial_number_is_not_shown_as_zeros() {
        let mut node = NodeInfo { serial: 0xcafe, ..NodeInfo::default() };
        assert_eq!(node.serial().to_string(), "000000000000cafe");
        node.serial = 0;
        assert_eq!(node.serial().to_string(), "unknown");
    }
}
