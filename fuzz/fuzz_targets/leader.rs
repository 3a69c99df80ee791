//! What a store answers to a candidate.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| workload::fuzz::leader(data));
