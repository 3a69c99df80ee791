//! node.toml, authorized_keys and rack.key.
#![no_main]

use config::{Config, Files};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Three files and a command line, with bytes between them that are in none.
    let mut parts = data.split(|byte| *byte == 0xFF);
    let files = Files { node_toml: parts.next(), authorized_keys: parts.next(), rack_key: parts.next() };
    let line = parts.next().unwrap_or_default();
    let config = Config::read(files, line);
    let lines = |file: Option<&[u8]>| file.map_or(0, |file| 1 + file.iter().filter(|byte| **byte == b'\n').count());
    for warning in &config.warnings {
        let text = warning.to_string();
        // It goes to consoles, logs and pages.
        assert!(!text.contains(char::is_control) && text.len() < 1000, "{text:?}");
        if let config::Place::File { name, line } = warning.place {
            let file = match name {
                config::NODE_TOML => files.node_toml,
                config::AUTHORIZED_KEYS => files.authorized_keys,
                _ => files.rack_key,
            };
            assert!(line >= 1 && line <= lines(file), "{text}");
        }
    }
    assert_eq!(config.workloads.len(), config.workload_places.len());
    assert!(config.workloads.iter().all(|text| !text.contains(char::is_control)), "{:?}", config.workloads);
    // The same again, and with a comment behind it if it was understood.
    assert_eq!(Config::read(files, line), config);
    if let Some(file) = files.node_toml.filter(|_| config.warnings.is_empty()) {
        let longer = [file, b"\n# a comment"].concat();
        if longer.len() <= config::FILE_LEN_MAX {
            assert_eq!(Config::read(Files { node_toml: Some(&longer), ..files }, line), config);
        }
    }
});
