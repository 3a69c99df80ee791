//! `top`: what all nodes do, live, on the whole screen; or once, as a table.

use std::env;
use std::io::{self, IsTerminal, Write, stdout};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{DefaultTerminal, Terminal};
use serde_json::{Value, json};

use self::column::Column;
use self::feed::{Feed, State, Watched};
use self::figures::Figures;
use self::view::{View, Wish};
use super::interrupt::{self, Interrupt};
use super::ls::lined_up;
use super::node::{Node, Origin};
use super::parallel;
use super::selection::{self, Login, Selection};
use super::ssh;
use crate::progress::say;
use crate::terminal;

mod column;
mod feed;
mod figures;
mod pane;
mod view;

/// Between two looks at what has come; nodes say something once a second.
const REDRAW: Duration = Duration::from_millis(250);
/// Between two looks at whether a console was left.
const LOOK: Duration = Duration::from_millis(50);

/// What is shown.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Keys: h shows them. The exit status of --once is 1 if a node does not answer.")]
pub(crate) struct Options {
    /// The nodes; all if none is named, and then also those that come later.
    nodes: Vec<String>,
    /// What nodes are sorted by at first.
    #[arg(long, value_enum, value_name = "COLUMN", default_value_t)]
    sort: Column,
    /// Prints one table and ends.
    #[arg(long)]
    once: bool,
    /// As --once, but as JSON: a list of nodes.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    selection: Selection,
}

/// Shows what nodes do.
pub(crate) fn top(options: &Options) -> Result<ExitCode> {
    let is_live = !options.once && !options.json;
    if is_live && !(io::stdin().is_terminal() && stdout().is_terminal()) {
        bail!("top needs a terminal; --once prints one table, --json one for programs");
    }
    let login = Login::default();
    let nodes = match options.nodes.as_slice() {
        [] => options.selection.all(&login)?,
        names => options.selection.named(names, &login)?,
    };
    if nodes.is_empty() {
        return Err(selection::nothing(&options.selection));
    }
    if is_live { live(nodes, options) } else { once(&nodes, options) }
}

fn once(nodes: &[Node], options: &Options) -> Result<ExitCode> {
    let watched = parallel::map(nodes, |node| {
        let state = Figures::of(node)
            .map_or_else(|error| State::Away(format!("{error:#}")), |figures| State::Live(Box::new(figures)));
        Watched { state, ..Watched::new(node.clone()) }
    });
    let sorted: Vec<&Watched> =
        column::order(&watched, options.sort, false).into_iter().map(|index| &watched[index]).collect();
    if options.json {
        let list: Vec<Value> = sorted.iter().map(|watched| entry(watched)).collect();
        writeln!(stdout(), "{:#}", Value::from(list))?;
    } else {
        let rows = sorted.iter().map(|watched| column::row(watched));
        let rows: Vec<Vec<String>> = [column::headings(options.sort, false)].into_iter().chain(rows).collect();
        stdout().write_all(lined_up(&rows).as_bytes())?;
    }
    let is_whole = watched.iter().all(|watched| watched.figures().is_some());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn entry(watched: &Watched) -> Value {
    let node = &watched.node;
    let mut entry = watched.figures().map_or_else(|| json!({}), Figures::json);
    entry["node"] = node.name.as_str().into();
    entry["address"] = json!(node.address.ip());
    entry["origin"] = node.origin.to_string().into();
    entry["number"] = node.number.into();
    entry["error"] = match &watched.state {
        State::Away(why) => why.as_str().into(),
        State::Asked | State::Live(_) => Value::Null,
    };
    entry
}

fn live(nodes: Vec<Node>, options: &Options) -> Result<ExitCode> {
    let interrupt = Interrupt::catch()?;
    let feed = Feed::start(nodes, options.nodes.is_empty().then(|| options.selection.clone()))?;
    let mut view = View::new(options.sort);
    let mut screen = Screen::open()?;
    loop {
        if interrupt.is_set() {
            return Ok(ExitCode::from(interrupt::STATUS));
        }
        let nodes = feed.look();
        screen.0.draw(|frame| view.draw(frame, &nodes))?;
        if !event::poll(REDRAW)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match view.press(key, &nodes) {
            Wish::None => {}
            Wish::End => return Ok(ExitCode::SUCCESS),
            Wish::Console(index) => {
                let Some(watched) = nodes.get(index) else { continue };
                if let Err(error) = screen.aside(|| console(&watched.node, &interrupt))? {
                    view.notify(format!(" {}: {error:#}", watched.node.name));
                }
            }
        }
    }
}

/// Has a node's console on this terminal until the user leaves it.
fn console(node: &Node, interrupt: &Interrupt) -> Result<()> {
    let _saved = terminal::Saved::new();
    // The file of host keys stays until the end.
    let (mut command, _hosts) = match (&node.origin, node.number) {
        (Origin::Rack(rack), Some(number)) => {
            let mut command = Command::new(env::current_exe().context("the path of this program")?);
            command.args(["console", "--rack", &rack.to_string(), &number.to_string()]);
            (command, None)
        }
        _ => {
            say(&format!("A shell of {} over SSH; exit leaves.", node.name));
            ssh::shell(node)?
        }
    };
    let mut child = command.spawn().context("its console can't be started")?;
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("its console ended with {status}");
        }
        if interrupt.is_set() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM);
            child.wait()?;
            return Ok(());
        }
        thread::sleep(LOOK);
    }
}

/// The whole terminal; given back when dropped, and before the message of a panic.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                // What of it was done is undone.
                let _ = ratatui::try_restore();
                Err(error).context("this terminal can't show it; --once prints one table")
            }
        }
    }

    /// Gives the terminal back for a while.
    ///
    /// # Errors
    /// When it can't be given back or taken again; what `action` returns is inside.
    fn aside<T>(&mut self, action: impl FnOnce() -> T) -> io::Result<T> {
        self.0.show_cursor()?;
        ratatui::try_restore()?;
        let result = action();
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        // One that has drawn nothing yet. To clear the old one would ask the terminal where its cursor is, and wait for an answer.
        self.0 = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(result)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // All fail only when the terminal is gone.
        let _ = self.0.show_cursor();
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen);
    }
}
