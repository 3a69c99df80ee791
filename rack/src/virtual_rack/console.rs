//! `console`: a node's serial line on this terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use super::place::{Place, RackName};
use super::protocol::{self, Request};
use crate::annotate::{self, Annotator};
use crate::progress::say;
use crate::symbols::Symbols;
use crate::terminal;

/// Leaves the console: Ctrl-], as in telnet.
const LEAVE: u8 = 0x1d;
/// How long answers are waited for behind the last line, when these do not come from a terminal.
const LINGER: Duration = Duration::from_secs(1);

/// Which console.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The node: its number, name or address.
    node: String,
    /// The rack.
    #[arg(long, value_name = "NAME", default_value_t)]
    rack: RackName,
}

/// Connects this terminal, or what is piped in, to a node's console.
pub(crate) fn console(options: &Options) -> Result<ExitCode> {
    let place = Place::of(&options.rack)?;
    let request = Request::Console { node: options.node.clone() };
    let Some((_, stream)) = protocol::ask(&place, &request)? else { bail!("rack {} is not up", options.rack) };
    let is_terminal = io::stdin().is_terminal();
    if is_terminal {
        say("Ctrl-] leaves.");
    }
    let saved = terminal::Saved::new();
    if is_terminal {
        let mut settings = tcgetattr(io::stdin()).context("the terminal")?;
        cfmakeraw(&mut settings);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &settings).context("the terminal")?;
    }
    let keys = stream.try_clone()?;
    thread::spawn(move || {
        // An error is an end, too.
        let _ = pass_keys(&keys, is_terminal);
        let _ = keys.shutdown(Shutdown::Both);
    });
    // Without an ELF file a report is still a report.
    let symbols = qemu::build::existing().and_then(|built| Symbols::load(&built.elf)).ok();
    let (mut output, mut screen) = (stream, terminal::Patient(io::stdout().lock()));
    let copied = annotate::copy(&mut output, &mut screen, &mut Annotator::new(symbols));
    drop(saved);
    say("");
    copied?;
    Ok(ExitCode::SUCCESS)
}

/// Sends what is typed, until the user leaves. A line that does not come from a terminal ends as if Enter was pressed.
fn pass_keys(mut stream: &UnixStream, is_terminal: bool) -> io::Result<()> {
    let mut chunk = [0; 256];
    loop {
        let len = io::stdin().lock().read(&mut chunk)?;
        let mut typed = chunk[..len].to_vec();
        if !is_terminal {
            typed.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'\r');
        }
        let leave = typed.iter().position(|byte| is_terminal && *byte == LEAVE);
        stream.write_all(&typed[..leave.unwrap_or(len)])?;
        if leave.is_some() {
            return Ok(());
        }
        if len == 0 {
            thread::sleep(LINGER);
            return Ok(());
        }
    }
}
