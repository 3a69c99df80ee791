//! `blink`: which board is it?

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;

use super::lan::plain;
use super::parallel;
use super::selection::{Login, Selection};
use crate::progress::say;

/// How long a node may take to obey.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Which board.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The nodes: name, address, or the number of a virtual one.
    #[arg(required = true)]
    nodes: Vec<String>,
    /// How long its green LED blinks, in seconds; 0 ends it.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    time: u16,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    login: Login,
}

/// Has the LEDs of boards blink.
pub(crate) fn blink(options: &Options) -> Result<ExitCode> {
    let nodes = options.selection.named(&options.nodes, &options.login)?;
    let command = match options.time {
        0 => "locate off".to_owned(),
        time => format!("locate {time}"),
    };
    let results = parallel::map(&nodes, |node| {
        let output = node.ssh(&command, TIMEOUT)?;
        let said = plain([output.stdout.trim(), output.stderr.trim()].join(" ").trim());
        if output.is_success() { Ok(said) } else { Err(anyhow!(said)) }
    });
    for (node, result) in nodes.iter().zip(&results) {
        match result {
            Ok(said) => say(&format!("{}: {said}", node.name)),
            Err(error) => say(&format!("{}: error: {error:#}", node.name)),
        }
    }
    Ok(if results.iter().all(Result::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
