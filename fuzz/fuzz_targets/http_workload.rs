//! The web server that the workload http runs.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| workload::fuzz::http(data));
