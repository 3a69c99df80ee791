//! Where telemetry goes. A sink is one file here and one line in the table.

use core::fmt;

use crate::snapshot::Snapshot;

/// One way to show a snapshot as text.
pub struct Sink {
    /// Name of the sink and of its file.
    pub name: &'static str,
    /// Media type of the text, for HTTP.
    pub content_type: &'static str,
    /// Writes the text. The only error is one of the writer.
    pub render: fn(&Snapshot<'_>, &mut dyn fmt::Write) -> fmt::Result,
}

macro_rules! sinks {
    ($($name:ident),+ $(,)?) => {
        $(pub mod $name;)+
        /// Every sink.
        pub static SINKS: &[Sink] = &[$($name::SINK),+];
    };
}

sinks! {
    certificate,
    console,
    json,
    mqtt,
    page,
    prometheus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sinks");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            // A sink of several files has a folder beside its own.
            .filter(|path| path.is_file())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        let mut names: Vec<_> = SINKS.iter().map(|sink| sink.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }
}
