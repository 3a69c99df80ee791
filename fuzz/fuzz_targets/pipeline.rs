//! What stages of a pipeline say to each other.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| workload::fuzz::pipeline(data));
