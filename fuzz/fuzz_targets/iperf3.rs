//! Settings and results of iperf3.
#![no_main]

use testkit as _;

libfuzzer_sys::fuzz_target!(|data: &[u8]| workload::fuzz::iperf3(data));
