//! The real image in QEMU against real clients. Every assertion is on what the other side received.
//!
//! One file per thing that a user relies on. Each test boots a node of its own in a network of its own.
// Not here: it/nics.rs, about models of chips. They have tests of their own, see lan.rs.
#![forbid(unsafe_code)]

mod addresses;
mod board;
mod boot;
mod certify;
mod config;
mod crash;
mod defmt;
mod discovery;
mod faults;
mod health;
mod hostile;
mod http;
mod http_workload;
mod image;
mod iperf3;
mod kv;
mod load;
mod malformed;
mod mqtt;
mod network;
mod page;
mod pipeline;
mod plug;
mod restart;
mod services;
mod shell;
mod ssh;
mod syslog;
mod telemetry;
mod usb_net;
mod workload;
