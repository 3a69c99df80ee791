//! What a node knows about its lives before this one, from memory that survives a reset.

use crash::Kept;
use heapless::String;

use crate::log_ring::LogLine;

/// Everything since power-on. It does not change after boot.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Boots since power-on, with this one; 0 if the black box can't be used.
    pub boots: u32,
    /// What the last reset was due to, in words: what the last life has left; where it left nothing, what the hardware says.
    pub reset: String<47>,
    /// The last crashes, the oldest first.
    pub crashes: &'static [Kept],
    /// The last log lines of the life before this one, the oldest first.
    pub log: &'static [LogLine],
}

impl Past {
    /// A node that has no past, or knows nothing about it.
    pub const NONE: Self = Self { boots: 0, reset: String::new(), crashes: &[], log: &[] };
}
