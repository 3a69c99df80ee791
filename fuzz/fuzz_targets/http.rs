//! The node's web server.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzz::http(data));
