//! What USB adapters send.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| nic::fuzz::run(data));
