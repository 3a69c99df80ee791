//! `experiment`: nodes, workloads, faults and what is expected, in one file; so far it is checked, and what it would do is shown.
//!
//! | module | what |
//! |---|---|
//! | `file` | the file as it is meant, checked with the node's own parsers |
//! | `reader`, `mistake` | TOML read key by key; what is wrong, with line and mark |
//! | `measure` | what can be measured and expected |
//! | `plan` | what would be done, shown |

mod file;
mod measure;
mod mistake;
mod plan;
mod reader;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use self::file::Experiment;
use crate::progress::say;

/// Which experiment, and what is done with it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The experiment: see docs/experiments.md.
    file: PathBuf,
    /// Looks for mistakes in the file, and shows what it would do. Experiments can't be run yet.
    #[arg(long, required = true)]
    check: bool,
}

/// The experiment can't be run.
const WRONG: u8 = 2;

/// Checks an experiment.
///
/// # Errors
/// When the file can't be read, or nobody reads what is shown.
pub(crate) fn experiment(options: &Options) -> Result<ExitCode> {
    let path = options.file.display().to_string();
    let text = fs::read_to_string(&options.file).with_context(|| format!("{path} can't be read"))?;
    match Experiment::read(&text) {
        Ok(experiment) => {
            io::stdout().lock().write_all(plan::show(&experiment).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| say(&mistake.show(&path, &text)));
            Ok(ExitCode::from(WRONG))
        }
    }
}
