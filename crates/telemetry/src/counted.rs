//! A count with a name: how the kernel hands over counters whose kinds other crates define.

/// How often `what` has happened since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What is counted: a short lower-case word, used as a label.
    pub what: &'static str,
    /// How often.
    pub count: u64,
}
