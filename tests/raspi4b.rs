//! The same tests on a virtual Raspberry Pi 4B: what this binary is called is the board that its nodes are
//! (`tests::node::machine`). What is not here says why: see the test of the architecture that looks for it.
// Not here: it/nics.rs, about models of USB controllers, which no Pi 4 has; it/health.rs and it/hostile.rs, in which
// nothing depends on the board.
#![forbid(unsafe_code)]

#[path = "it/addresses.rs"]
mod addresses;
#[path = "it/board.rs"]
mod board;
#[path = "it/boot.rs"]
mod boot;
#[path = "it/certify.rs"]
mod certify;
#[path = "it/config.rs"]
mod config;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/defmt.rs"]
mod defmt;
#[path = "it/discovery.rs"]
mod discovery;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/http.rs"]
mod http;
#[path = "it/http_workload.rs"]
mod http_workload;
#[path = "it/image.rs"]
mod image;
#[path = "it/iperf3.rs"]
mod iperf3;
#[path = "it/kv.rs"]
mod kv;
#[path = "it/load.rs"]
mod load;
#[path = "it/malformed.rs"]
mod malformed;
#[path = "it/mqtt.rs"]
mod mqtt;
#[path = "it/network.rs"]
mod network;
#[path = "it/page.rs"]
mod page;
#[path = "it/pipeline.rs"]
mod pipeline;
#[path = "it/plug.rs"]
mod plug;
#[path = "it/restart.rs"]
mod restart;
#[path = "it/services.rs"]
mod services;
#[path = "it/shell.rs"]
mod shell;
#[path = "it/ssh.rs"]
mod ssh;
#[path = "it/syslog.rs"]
mod syslog;
#[path = "it/telemetry.rs"]
mod telemetry;
#[path = "it/usb_net.rs"]
mod usb_net;
#[path = "it/workload.rs"]
mod workload;
