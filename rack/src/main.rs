//! The host tool: builds the image, runs virtual nodes, makes cards for real ones, reads crash reports.
//!
//! | module | what |
//! |---|---|
//! | `experiment` | nodes, workloads, faults and what is expected, from one file |
//! | `firmware` | the Pi's own firmware files |
//! | `flash` | an image put on a card |
//! | `fleet` | nodes, real and virtual ones: found, asked, told |
//! | `history` | what clients of a store see, checked for lost writes and linearizability |
//! | `image` | what a board boots, and the image of a card |
//! | `netboot` | a directory that boards boot from over the network |
//! | `node_files` | what a node is given: node.toml, keys, files |
//! | `run` | one virtual node on this terminal |
//! | `symbols` | names and places of code addresses, from the ELF file |
//! | `annotate` | text that passes through, with the names put to its addresses |
//! | `progress` | what is being done, as a spinner or as plain lines |
//! | `terminal` | the terminal as it was before QEMU had it |
//! | `virtual_rack` | many virtual nodes on one network |
//! | `workloads` | what a node would say about its workloads |
#![forbid(unsafe_code)]

mod annotate;
mod experiment;
mod firmware;
mod flash;
mod fleet;
mod history;
mod image;
mod netboot;
mod node_files;
mod progress;
mod run;
mod symbols;
mod terminal;
mod virtual_rack;
mod workloads;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::annotate::Annotator;
use crate::progress::Progress;
use crate::symbols::Symbols;

/// MiniPiRack's host tool. Without a command it runs one virtual node.
#[derive(Debug, Parser)]
#[command(name = "rack", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    run: run::Options,
}

const EXAMPLES: &str = "\
Examples:
  cargo run                                        a node on this terminal; Ctrl-A X leaves
  cargo run -- --name blinky --append log=debug    the same with a command line for the node
  cargo run -- --pcap node.pcap                    the same, recording its network traffic
  cargo run -- build                               only the image: target/kernel8.img (.gz), target/kernel.elf
  cargo run -- image --cmdline name=web-1          an SD card for a real board: rack.img
  cargo run -- image --config node.toml --ssh-key ~/.ssh/id_ed25519.pub
                                                   the same with settings and a key; docs/configuration.md
  cargo run -- check node.toml                     finds mistakes in settings
  cargo run -- flash /dev/sdX --image rack.img     puts it on a card; without a device it lists the cards
  cargo run -- netboot /srv/tftp                   the same for boards that boot from the network
  cargo run -- symbolize < report.txt              names for the addresses of a real board's crash report
  cargo run -- up 3                                a rack of three virtual nodes; ps, console NODE, down
  cargo run -- run --all status                    a command on every node, virtual or real
  cargo run -- ls                                  every node, and how it is; top: live; logs -f: their logs
  cargo run -- experiment --up rack/experiments/pipeline-worker-lost.toml
                                                   five nodes, faults on purpose, and what came of it; docs/experiments.md
  cargo run -- bench                               measures a virtual node";

#[derive(Debug, Subcommand)]
enum Action {
    /// Builds the image: target/kernel8.img for QEMU, packed for SD cards, target/kernel.elf for debuggers.
    Build,
    /// Makes the image of an SD card for real boards.
    Image(image::Options),
    /// Writes an SD card and reads it back; lists the cards that are plugged in when none is named.
    Flash(flash::Options),
    /// Lays out a directory for a TFTP server that boards boot from, and says how to serve it.
    Netboot(netboot::Options),
    /// Says what a node would say about a node.toml; fails when that is anything.
    Check(CheckOptions),
    /// Boots one virtual node: its console on this terminal, its ports on localhost. The default command.
    Boot(run::Options),
    /// Starts a rack of virtual nodes on one network, and waits until they are up.
    Up(virtual_rack::UpOptions),
    /// Lists the racks that are up, their nodes, and the ports that lead to them.
    Ps(virtual_rack::PsOptions),
    /// Connects this terminal to the console of a node of a rack.
    Console(virtual_rack::ConsoleOptions),
    /// Lists nodes, virtual ones and those on this network: how they are and what they run.
    Ls(fleet::LsOptions),
    /// Shows live what nodes do: processors, network, temperature, health, workloads; their logs and consoles.
    Top(fleet::TopOptions),
    /// Shows the log lines of nodes as one log, and follows them.
    Logs(fleet::LogsOptions),
    /// Lists nodes for Prometheus: printed, in a file, or served.
    Targets(fleet::TargetsOptions),
    /// Prints what makes a shell complete this program's commands: bash, zsh, fish, elvish, powershell.
    Completions(CompletionsOptions),
    /// Has a board's LED blink, to find it among others.
    Blink(fleet::BlinkOptions),
    /// Runs a command of the nodes' shell on one, several or all nodes, over SSH.
    Run(fleet::RunOptions),
    /// Ends a rack.
    Down(virtual_rack::DownOptions),
    /// Runs an experiment: nodes, workloads, faults and what is expected, in one file. Exit status 0 as expected, 1 not, 2 void.
    Experiment(experiment::Options),
    /// Has clients write to and read from key-value stores, and checks what they saw: is it linearizable, is a write lost?
    History(history::Options),
    /// What `up` starts in the background.
    #[command(hide = true)]
    Supervise(virtual_rack::SupervisorOptions),
    /// What OpenSSH is given to reach a virtual node.
    #[command(hide = true)]
    Dial(fleet::DialOptions),
    /// Puts function names and source lines to the addresses of a crash report on standard input.
    Symbolize(SymbolizeOptions),
    /// Measures a virtual node (boot, ping, throughput, HTTP, idle cost). Takes minutes.
    Bench(BenchOptions),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example, for bash:\n  cargo build && target/debug/rack completions bash > ~/.local/share/bash-completion/completions/rack"
)]
struct CompletionsOptions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, Args)]
struct CheckOptions {
    /// The file.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct SymbolizeOptions {
    /// The ELF file of the image that crashed; by default the one that was built last.
    elf: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct BenchOptions {
    /// Passed on to the benchmarks.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.action {
        None => run::run(&cli.run),
        Some(Action::Boot(options)) => run::run(&options),
        Some(Action::Run(options)) => fleet::run(&options),
        Some(Action::Build) => build(),
        Some(Action::Check(options)) => {
            node_files::check(&options.file).map(|is_good| if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(Action::Image(options)) => image::image(&options),
        Some(Action::Flash(options)) => flash::flash(&options),
        Some(Action::Netboot(options)) => netboot::netboot(&options),
        Some(Action::Up(options)) => virtual_rack::up(&options),
        Some(Action::Ps(options)) => virtual_rack::ps(&options),
        Some(Action::Console(options)) => virtual_rack::console(&options),
        Some(Action::Down(options)) => virtual_rack::down(&options),
        Some(Action::Experiment(options)) => experiment::experiment(&options),
        Some(Action::History(options)) => history::history(&options),
        Some(Action::Supervise(options)) => virtual_rack::supervise(&options),
        Some(Action::Ls(options)) => fleet::ls(&options),
        Some(Action::Top(options)) => fleet::top(&options),
        Some(Action::Logs(options)) => fleet::logs(&options),
        Some(Action::Targets(options)) => fleet::targets(&options),
        Some(Action::Completions(options)) => completions(&options),
        Some(Action::Blink(options)) => fleet::blink(&options),
        Some(Action::Dial(options)) => fleet::dial(&options),
        Some(Action::Symbolize(options)) => symbolize(options.elf),
        Some(Action::Bench(options)) => bench(&options.arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            progress::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<ExitCode> {
    let progress = Progress::start("building the image");
    let built = progress.follow(|line| qemu::build::kernel(line))?;
    progress::say(&format!("{}\n{}\n{}", built.image.display(), built.packed.display(), built.elf.display()));
    progress::say(&progress::sizes(&built.sizes));
    Ok(ExitCode::SUCCESS)
}

fn completions(options: &CompletionsOptions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "rack", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

fn symbolize(elf: Option<PathBuf>) -> Result<ExitCode> {
    let elf = elf.map_or_else(|| qemu::build::existing().map(|built| built.elf), Ok)?;
    let symbols = Symbols::load(&elf)?;
    let mut annotator = Annotator::new(Some(symbols));
    annotate::copy(&mut io::stdin().lock(), &mut io::stdout().lock(), &mut annotator)?;
    Ok(ExitCode::SUCCESS)
}

fn bench(arguments: &[String]) -> Result<ExitCode> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(qemu::build::workspace_root()?).args(["bench", "--package", "tests", "--bench", "*", "--"]);
    let status = command.args(arguments).status().context("cargo can't be run")?;
    if !status.success() {
        bail!("the benchmarks failed ({status})");
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn boot_is_the_default_command() {
        let short = Cli::try_parse_from(["rack", "--name", "x", "--append", "log=debug"]).unwrap();
        assert!(short.action.is_none());
        assert_eq!(short.run.command_line(), "name=x log=debug");
        let long = Cli::try_parse_from(["rack", "boot", "--name", "x", "--cmdline", "log=debug"]).unwrap();
        let Some(Action::Boot(options)) = long.action else { unreachable!("boot was asked for") };
        assert_eq!(options.command_line(), "name=x log=debug");
    }

    #[test]
    fn arguments_of_the_benchmarks_are_passed_on() {
        let cli = Cli::try_parse_from(["rack", "bench", "boot", "--quick"]).unwrap();
        let Some(Action::Bench(options)) = cli.action else { unreachable!("bench was asked for") };
        assert_eq!(options.arguments, ["boot", "--quick"]);
    }
}
