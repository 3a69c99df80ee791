//! The workloads that every node has. A workload is one file here and one line in the table.

use crate::Workload;

macro_rules! workloads {
    ($($name:ident),+ $(,)?) => {
        $(pub(crate) mod $name;)+
        /// Every workload.
        pub static WORKLOADS: &[&dyn Workload] = &[$(&$name::WORKLOAD),+];
    };
}

workloads! {
    certify,
    cpu,
    http,
    idle,
    iperf3,
    kv,
    leader,
    load,
    memory,
    ping,
    pipeline,
}

/// Returns the workload called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Workload> {
    WORKLOADS.iter().copied().find(|workload| workload.name() == name)
}

#[cfg(test)]
mod tests {
    use telemetry::metrics::Kind;

    use super::*;
    use crate::figures::{FIGURES_MAX, HISTOGRAMS_MAX};

    #[test]
    fn every_file_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/builtin");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        // A workload of several files has a folder beside its own.
        files.dedup();
        let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name()).collect();
        assert_eq!(files, names);
    }

    #[test]
    fn every_workload_and_parameter_is_explained() {
        for workload in WORKLOADS {
            assert!(!workload.summary().is_empty() && !workload.operation().is_empty(), "{}", workload.name());
            for parameter in workload.parameters() {
                assert!(parameter.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", parameter.name);
                assert!(!parameter.help.is_empty(), "{} {}", workload.name(), parameter.name);
                assert!(
                    !["cores", "for", "id"].contains(&parameter.name),
                    "{} has a reserved parameter",
                    workload.name()
                );
            }
        }
    }

    #[test]
    fn own_figures_fit_and_are_named_by_the_rules() {
        for workload in WORKLOADS {
            assert!(workload.figures().len() <= FIGURES_MAX, "{}", workload.name());
            assert!(workload.histograms().len() <= HISTOGRAMS_MAX, "{}", workload.name());
            let mut names = std::collections::HashSet::new();
            for metric in workload.figures().iter().chain(workload.histograms()) {
                let (name, beginning) = (metric.name, format!("minipirack_{}_", workload.name()));
                assert!(name.starts_with(&beginning) && names.insert(name), "{name}");
                assert_eq!(metric.complaint(), None, "{name}");
            }
            assert!(workload.figures().iter().all(|metric| metric.kind != Kind::Histogram), "{}", workload.name());
            assert!(workload.histograms().iter().all(|metric| metric.kind == Kind::Histogram), "{}", workload.name());
        }
    }
}
