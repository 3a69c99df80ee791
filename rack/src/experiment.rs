//! `experiment`: nodes, workloads, faults and what is expected, in one file: checked, run, judged.
//!
//! | module | what |
//! |---|---|
//! | `file` | the file as it is meant, checked with the node's own parsers |
//! | `reader`, `mistake` | TOML read key by key; what is wrong, with line and mark |
//! | `measure` | what can be measured and expected |
//! | `plan` | what would be done, shown |
//! | `runner` | a run, from finding nodes to the end of the last workload |
//! | `assign`, `crew` | which node plays which part |
//! | `own_rack`, `stop` | a virtual rack for one run; Ctrl-C |
//! | `provision` | what has to be before the first phase, and after the last |
//! | `hand` | one node's orders, one after the other |
//! | `timeline`, `control` | what happens when, and by what is measured |
//! | `sample`, `series` | what nodes tell, several times a second |
//! | `watch` | whether a node is still the one that it was, and well |
//! | `book` | what has happened |
//! | `judge`, `outcome` | what has come of it, and whether that was expected |
//! | `report` | the same as a page |

mod assign;
mod book;
mod control;
mod crew;
mod file;
mod hand;
mod judge;
mod measure;
mod mistake;
mod outcome;
mod own_rack;
#[cfg(test)]
mod pages;
mod plan;
mod provision;
mod reader;
mod report;
mod runner;
mod sample;
mod series;
mod stop;
mod timeline;
mod watch;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use self::file::Experiment;
use crate::fleet::{Login, Selection};
use crate::progress::say;

/// Which experiment, and what is done with it.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The experiment: see docs/experiments.md.
    file: PathBuf,
    /// Only looks for mistakes in the file, and shows what it would do.
    #[arg(long)]
    check: bool,
    /// Starts a virtual rack of the size that is needed, and ends it with the experiment. Without it that is done when there are no
    /// nodes at all.
    #[arg(long, conflicts_with_all = ["rack", "lan"])]
    up: bool,
    /// For a rack that is started: runs the image that was built last.
    #[arg(long)]
    no_build: bool,
    /// Ends whatever runs on the nodes, and their faults, before it begins.
    #[arg(long)]
    force: bool,
    /// Writes all figures as JSON to a file, or to standard output (-).
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Writes the report, one page that needs nothing else, here, and not to NAME-report.html in the current directory.
    #[arg(long, value_name = "FILE|-")]
    report: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    login: Login,
}

const EXAMPLES: &str = "\
The exit status is 0 if all was as expected, 1 if not, 2 if the run is void or could not be made.

Examples:
  cargo run -- experiment --check rack/experiments/pipeline-worker-lost.toml
  cargo run -- experiment --up rack/experiments/pipeline-worker-lost.toml
  cargo run -- experiment --lan --identity ~/.ssh/rack rack/experiments/pipeline-worker-lost.toml";

/// The experiment can't be run, or its run is void.
const WRONG: u8 = 2;

/// Checks an experiment, and runs it.
///
/// # Errors
/// When the file can't be read, or nobody reads what is shown.
pub(crate) fn experiment(options: &Options) -> Result<ExitCode> {
    let path = options.file.display().to_string();
    let text = fs::read_to_string(&options.file).with_context(|| format!("{path} can't be read"));
    let text = match text {
        Ok(text) => text,
        Err(error) => return Ok(fail(&error)),
    };
    let experiment = match Experiment::read(&text) {
        Ok(experiment) => experiment,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| say(&mistake.show(&path, &text)));
            return Ok(ExitCode::from(WRONG));
        }
    };
    if options.check {
        io::stdout().lock().write_all(plan::show(&experiment).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let code = runner::run(&experiment, options, |crew, outcome| {
        let page = options.report.clone().unwrap_or_else(|| format!("{}-report.html", experiment.name).into());
        // First of all: a file that can't be written takes nothing from it.
        let shown = outcome.show(crew);
        // Standard output may be for others.
        if [options.json.as_ref(), Some(&page)].into_iter().flatten().any(|file| file.as_os_str() == "-") {
            say(shown.trim_end());
        } else {
            io::stdout().lock().write_all(shown.as_bytes())?;
        }
        if let Some(file) = &options.json {
            write(file, &format!("{:#}\n", outcome.json(crew)))?;
        }
        write(&page, &report::write(outcome, crew))?;
        if page.as_os_str() != "-" {
            say(&format!("report: {}", page.display()));
        }
        Ok(outcome.code())
    });
    match code {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => Ok(fail(&error)),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {error:#}"));
    ExitCode::from(WRONG)
}

fn write(file: &PathBuf, text: &str) -> Result<()> {
    if file.as_os_str() == "-" {
        return io::stdout().lock().write_all(text.as_bytes()).context("standard output");
    }
    fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
}
