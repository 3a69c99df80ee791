//! Metric definitions, samples and sinks.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
