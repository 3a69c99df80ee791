//! The table of kinds. A kind is one file here and one line in the table.

use crate::effect::Effect;
use crate::spec::SpecError;
use crate::words::{Key, Words};

/// A kind of fault.
pub struct Kind {
    /// Its name: a lower-case word.
    pub name: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// One as it could be typed.
    pub example: &'static str,
    /// What it must be told without a key, such as `WORKLOAD`.
    pub subject: Option<&'static str>,
    /// What only this kind can be told.
    pub own: &'static [Key],
    /// Whether it is about frames, and so can be told which.
    pub is_of_frames: bool,
    /// Makes one.
    pub(crate) make: for<'a> fn(&Words<'a>) -> Result<Effect, SpecError<'a>>,
}

impl core::fmt::Debug for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! kinds {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+
        /// Every kind of fault.
        pub static KINDS: &[Kind] = &[$($name::KIND),+];
    };
}

kinds! {
    drop,
    partition,
    delay,
    reorder,
    duplicate,
    corrupt,
    rate,
    nic_off,
    pause,
    kill,
    stall,
    memory,
    clock,
    crash,
    reset,
}

impl Kind {
    /// Returns the kind of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }
}

/// The key of those that hit some frames and not others.
const fn share(help: &'static str) -> Key {
    Key { name: "share", form: "a share above 0% and up to 100%, such as 2.5%", help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kinds");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().replace('_', "-"))
            .collect();
        files.sort();
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }
}
