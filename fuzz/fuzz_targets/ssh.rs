//! A client of SSH.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ssh::fuzz(data));
