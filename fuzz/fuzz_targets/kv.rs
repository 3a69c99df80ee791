//! The key-value store.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| workload::fuzz::kv(data));
