//! Answers to questions for an address.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzz::names(data));
