//! Faults on purpose, and the frames that pass them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fault::fuzz::run(data));
