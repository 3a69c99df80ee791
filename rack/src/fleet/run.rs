//! `run`: one command of the nodes' shell on many nodes at once.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::interrupt::{self, Interrupt};
use super::lan::plain;
use super::node::Node;
use super::parallel;
use super::selection::{self, Login, Selection};
use super::ssh::{self, Kind, Output};
use crate::progress::say;

/// What is run where.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The node or nodes (pi-1,pi-2), unless --all is given, and the command. Options of this program come before them.
    #[arg(value_name = "[NODE,...] COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
    /// On every node.
    #[arg(long, short)]
    all: bool,
    /// Shows what a node says when it has ended, all at once, and not each line as it comes.
    #[arg(long, short)]
    group: bool,
    /// How long the command may take, in seconds; 0 is for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
    /// As JSON: a list of nodes with status, stdout, stderr, error and ms.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    login: Login,
}

const EXAMPLES: &str = "\
The exit status is 0 if the command succeeded on every node, 1 if not, 130 after Ctrl-C.

Examples:
  cargo run -- run --all status
  cargo run -- run --timeout 0 pi-123456 log -f
  cargo run -- run pi-123456,pi-123457 workload start cpu:load=50%
  cargo run -- run --rack web 1 reboot                    a node of a virtual rack by its number
  cargo run -- run --lan --all --identity ~/.ssh/rack --rack-secret own status";

/// How it went on one node.
struct Run {
    result: Result<Output>,
    took: Duration,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let (names, command) = options.names_and_command()?;
    let interrupt = Interrupt::catch()?;
    let nodes = match &names {
        Some(names) => options.selection.named(names, &options.login)?,
        None => options.selection.all(&options.login)?,
    };
    if nodes.is_empty() {
        return Err(selection::nothing(&options.selection));
    }
    let screen = Screen::new(&nodes, !options.group && !options.json);
    let timeout = match options.timeout {
        0 => Duration::MAX,
        seconds => Duration::from_secs(seconds.into()),
    };
    let runs = parallel::map(&nodes, |node| {
        let begin = Instant::now();
        let show = |kind, line: &str| screen.line(node, kind, line);
        let result = match &node.trouble {
            Some(trouble) => Err(anyhow::anyhow!("{trouble}")),
            None => ssh::run(node, &command, timeout, &|| interrupt.is_set(), &show),
        };
        let run = Run { result, took: begin.elapsed() };
        screen.end(node, &run, options.group);
        run
    });
    if options.json {
        let list: Vec<Value> = nodes.iter().zip(&runs).map(|(node, run)| run.json(node)).collect();
        writeln!(io::stdout(), "{:#}", Value::from(list))?;
    }
    let failed: Vec<&str> =
        nodes.iter().zip(&runs).filter(|(_, run)| !run.is_success()).map(|(node, _)| node.name.as_str()).collect();
    if interrupt.is_set() {
        return Ok(ExitCode::from(interrupt::STATUS));
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if nodes.len() > 1 {
        say(&format!("failed on {} of {} nodes: {}", failed.len(), nodes.len(), failed.join(", ")));
    }
    Ok(ExitCode::FAILURE)
}

impl Options {
    /// Returns the nodes' names, `None` for all of them, and the command.
    fn names_and_command(&self) -> Result<(Option<Vec<String>>, String)> {
        if self.all {
            return Ok((None, self.words.join(" ")));
        }
        let Some((names, command)) = self.words.split_first().filter(|(_, command)| !command.is_empty()) else {
            bail!(
                "a command is missing behind the node: run {} status; for every node: run --all COMMAND",
                self.words.join(" ")
            );
        };
        let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok((Some(names), command.join(" ")))
    }
}

impl Run {
    fn is_success(&self) -> bool {
        self.result.as_ref().is_ok_and(Output::is_success)
    }

    fn json(&self, node: &Node) -> Value {
        let output = self.result.as_ref().ok();
        json!({
            "node": node.name,
            "address": node.address.ip(),
            "origin": node.origin.to_string(),
            "status": output.map(|output| output.status),
            "stdout": output.map(|output| &output.stdout),
            "stderr": output.map(|output| &output.stderr),
            "error": self.result.as_ref().err().map(|error| format!("{error:#}")),
            "ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// Standard output and error, a line at a time, whoever speaks.
struct Screen {
    width: usize,
    is_live: bool,
    /// Whether lines begin with a name.
    has_names: bool,
    turn: Mutex<()>,
}

impl Screen {
    fn new(nodes: &[Node], is_live: bool) -> Self {
        let width = nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0);
        Self { width, is_live, has_names: nodes.len() > 1, turn: Mutex::new(()) }
    }

    fn line(&self, node: &Node, kind: Kind, line: &str) {
        if !self.is_live {
            return;
        }
        let prefix =
            if self.has_names { format!("{:width$} | ", node.name, width = self.width) } else { String::new() };
        let line = format!("{prefix}{}\n", plain(line));
        let _turn = self.turn.lock();
        // When nobody listens any more, the end is near.
        let _ = match kind {
            Kind::Out => io::stdout().write_all(line.as_bytes()),
            Kind::Error => io::stderr().write_all(line.as_bytes()),
        };
    }

    /// Shows what has not been shown, and what went wrong.
    fn end(&self, node: &Node, run: &Run, is_grouped: bool) {
        let _turn = self.turn.lock();
        match &run.result {
            Ok(output) if is_grouped => {
                let lines = output.stdout.lines().chain(output.stderr.lines());
                let text: String = lines.map(|line| format!("{}\n", plain(line))).collect();
                let heading = if self.has_names { format!("== {}\n", node.name) } else { String::new() };
                // As above.
                let _ = io::stdout().write_all(format!("{heading}{text}").as_bytes());
            }
            Ok(_) => {}
            Err(error) => say(&format!("{}: error: {error:#}", node.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn words(arguments: &[&str]) -> Result<(Option<Vec<String>>, String)> {
        Cli::try_parse_from([&["run"], arguments].concat()).unwrap().options.names_and_command()
    }

    #[test]
    fn nodes_come_before_the_command_unless_all_are_meant() {
        assert_eq!(words(&["--all", "workload", "list"]).unwrap(), (None, "workload list".into()));
        let names = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(words(&["a,b", "log", "-f"]).unwrap(), (names, "log -f".into()));
        assert!(words(&["status"]).unwrap_err().to_string().contains("run --all COMMAND"));
    }
}
