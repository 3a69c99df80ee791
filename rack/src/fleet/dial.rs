//! `dial`: the hidden command that OpenSSH starts to reach a port of a virtual node (`ProxyCommand` in ssh_config(5)).

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::process::{self, ExitCode};
use std::thread;

use anyhow::Result;
use clap::Args;

use super::node;
use crate::virtual_rack::place::RackName;

/// Which port.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The node: its number, name or address.
    node: String,
    /// The port.
    port: u16,
    /// The rack.
    #[arg(long, default_value_t)]
    rack: RackName,
}

/// Moves bytes between standard input and output and the node.
pub(crate) fn dial(options: &Options) -> Result<ExitCode> {
    let mut stream = node::dial_virtual(&options.rack, &options.node, options.port)?;
    let mut to_node = stream.try_clone()?;
    thread::spawn(move || {
        // Its end is told to the node; an error shows in the other direction.
        let _ = copy(&mut io::stdin().lock(), &mut to_node);
        let _ = to_node.shutdown(Shutdown::Write);
    });
    copy(&mut stream, &mut io::stdout().lock())?;
    // Not by returning: the other direction may be waiting for its input.
    process::exit(0)
}

/// As `io::copy`, but what has come is handed on at once.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; 32 * 1024];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(len) => to.write_all(&chunk[..len]).and_then(|()| to.flush())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
