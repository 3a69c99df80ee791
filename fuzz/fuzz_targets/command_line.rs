//! The command line of a node.
#![no_main]

use config::Config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let config = Config::parse(data);
    for warning in &config.warnings {
        let text = warning.to_string();
        assert!(!text.contains(char::is_control) && text.len() < 1000, "{text:?}");
    }
    assert!(config.workloads.iter().all(|text| !text.contains(char::is_control)), "{:?}", config.workloads);
    assert_eq!(config.workloads.len(), config.workload_places.len());
    // White space in front changes nothing, and a word of Linux's neither.
    assert_eq!(Config::parse(&[b" \t", data].concat()), config);
    assert_eq!(Config::parse(&[b"8250.nr_uarts=1 ", data].concat()), config);
});
