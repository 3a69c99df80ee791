//! Who the node is: known once at boot, then fixed.

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
    /// Version of the image.
    pub version: &'static str,
    /// What identifies the build, such as an abbreviated commit; empty if not known.
    pub build: &'static str,
}
