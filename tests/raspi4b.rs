//! The same tests on a virtual Raspberry Pi 4B: what this binary is called is the board that its nodes are
//! (`tests::node::machine`). What is not here says why: see the test of the architecture that looks for it.
// Not here: it/nics.rs, about models of USB controllers, which no Pi 4 has; it/page.rs, it/telemetry.rs, it/defmt.rs,
// it/mqtt.rs, it/syslog.rs, it/http_workload.rs, it/iperf3.rs, it/kv.rs, it/load.rs and it/pipeline.rs, in
// which nothing depends on the board.
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
#[path = "it/discovery.rs"]
mod discovery;
#[path = "it/http.rs"]
mod http;
#[path = "it/image.rs"]
mod image;
#[path = "it/malformed.rs"]
mod malformed;
#[path = "it/network.rs"]
mod network;
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
#[path = "it/usb_net.rs"]
mod usb_net;
#[path = "it/workload.rs"]
mod workload;
