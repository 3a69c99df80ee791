//! The network's tests for a board whose NIC is a chip that QEMU does not have: the real driver runs over a model of it, from
//! `usb-models`. The chip is what the test binary is called (`tests::node::nic_kind`).
// Not here: what has nothing to do with the NIC (board, certify, crash, faults, hostile, http_workload, image, iperf3, kv, load,
// page, pipeline, shell, telemetry, workload), and usb_net.

#[path = "it/addresses.rs"]
mod addresses;
#[path = "it/boot.rs"]
mod boot;
#[path = "it/discovery.rs"]
mod discovery;
#[path = "it/http.rs"]
mod http;
#[path = "it/malformed.rs"]
mod malformed;
#[path = "it/network.rs"]
mod network;
#[path = "it/nics.rs"]
mod nics;
#[path = "it/plug.rs"]
mod plug;
#[path = "it/restart.rs"]
mod restart;
#[path = "it/services.rs"]
mod services;
