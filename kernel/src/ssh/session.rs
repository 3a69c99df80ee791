//! A session: the shell, or one command, behind an SSH channel.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::fmt::{self, Write};

use ::ssh::server::Application;
use ::ssh::{Output, PublicKey, Terminal};
use embassy_time::{Duration, Instant};
use shell::{Flow, Script, Shell};

use super::Visit;
use crate::shell_node::CommandNode;

/// Bytes of output beyond which no input is taken: a short line can make forty times as much.
const ENOUGH: usize = 4096;
/// Bytes of output that a session may have waiting. The longest that a command makes is the whole log, 40 kB.
const OUTPUT_LEN_MAX: usize = 128 * 1024;
/// How long the last words before a restart may take to reach the user.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// See the module.
pub(super) struct Session<'v> {
    visit: &'v mut Visit,
    node: CommandNode,
    runs: Runs,
    out: Queue,
    errors: Queue,
    status: Option<u32>,
    /// When the order of a command is carried out.
    order_at: Option<Instant>,
}

/// What the session runs.
enum Runs {
    Nothing,
    Shell(Box<Shell>),
    /// One command; with a terminal, a key ends what it shows.
    Command {
        script: Script,
        has_terminal: bool,
    },
    /// Commands that come line by line, without a terminal.
    Lines(Script),
}

impl<'v> Session<'v> {
    pub(super) fn new(node: CommandNode, visit: &'v mut Visit) -> Self {
        let (out, errors) = (Queue::default(), Queue::default());
        Self { visit, node, runs: Runs::Nothing, out, errors, status: None, order_at: None }
    }

    fn end(&mut self, is_success: bool) {
        self.status = Some(if is_success { 0 } else { 1 });
    }

    /// Ends a session that has nothing more to do.
    fn conclude(&mut self, flow: Flow) {
        let script = match &self.runs {
            Runs::Shell(_) if flow == Flow::End => return self.end(true),
            Runs::Command { script, .. } if !script.is_showing() => script,
            Runs::Lines(script) if flow == Flow::End => script,
            _ => return,
        };
        self.end(script.is_success());
    }

    fn try_input(&mut self, byte: u8) -> Result<Flow, fmt::Error> {
        let Self { runs, node, out, errors, .. } = self;
        match runs {
            Runs::Shell(shell) => shell.feed(byte, node, out),
            Runs::Lines(script) => script.feed(byte, node, out, errors),
            Runs::Command { script, has_terminal: true } => script.feed(byte, node, out, errors),
            Runs::Command { .. } | Runs::Nothing => Ok(Flow::Continue),
        }
    }
}

impl Application for Session<'_> {
    fn admit(&mut self, key: PublicKey) -> bool {
        self.visit.admit(key)
    }

    fn deny(&mut self) -> Duration {
        self.visit.deny()
    }

    fn start(&mut self, command: Option<&str>, terminal: Option<Terminal>) {
        let has_terminal = terminal.is_some();
        (self.out, self.errors) = (Queue::new(has_terminal), Queue::new(has_terminal));
        self.status = None;
        let Self { node, out, errors, .. } = self;
        // Output that does not fit is cut off.
        match command {
            Some(command) => {
                let mut script = Script::new(has_terminal);
                let _ = script.run(command, node, out, errors);
                self.runs = Runs::Command { script, has_terminal };
            }
            None if has_terminal => {
                let mut shell = Box::new(Shell::new(shell::Terminal::Remote));
                let _ = out.write_str("'help' shows what there is, 'exit' ends the session\n");
                let _ = shell.start(node, out);
                self.runs = Runs::Shell(shell);
            }
            None => self.runs = Runs::Lines(Script::new(false)),
        }
        self.conclude(Flow::Continue);
    }

    fn stop(&mut self) {
        self.runs = Runs::Nothing;
        (self.out, self.errors) = (Queue::default(), Queue::default());
    }

    fn wants_input(&self) -> bool {
        let is_reading = match &self.runs {
            Runs::Lines(script) => !script.is_showing(),
            _ => true,
        };
        is_reading && self.out.waiting.len() < ENOUGH && self.node.order.get().is_none()
    }

    fn input(&mut self, byte: u8) {
        let flow = self.try_input(byte).unwrap_or(Flow::End);
        self.conclude(flow);
    }

    fn end_input(&mut self) {
        let Self { runs, node, out, errors, .. } = self;
        match runs {
            Runs::Lines(script) => {
                // Output that does not fit is cut off.
                let _ = script.end_line(node, out, errors);
                if !script.is_showing() {
                    self.conclude(Flow::End);
                }
            }
            Runs::Shell(_) => self.conclude(Flow::End),
            // A command goes on without input.
            Runs::Command { .. } | Runs::Nothing => {}
        }
    }

    fn tick(&mut self) {
        let Self { runs, node, out, .. } = self;
        let is_full = out.waiting.len() >= ENOUGH;
        // A client that does not read misses views, and log lines are told as lost when it does again.
        let _ = match runs {
            _ if is_full => Ok(()),
            Runs::Shell(shell) => shell.tick(node, out),
            Runs::Command { script, .. } | Runs::Lines(script) => script.tick(node, out),
            Runs::Nothing => Ok(()),
        };
        match (self.node.order.get(), self.order_at) {
            (Some(order), Some(at)) if Instant::now() >= at => {
                self.node.order.set(None);
                self.order_at = None;
                order.carry_out();
            }
            (Some(_), None) => self.order_at = Some(Instant::now() + LAST_WORDS),
            _ => {}
        }
    }

    fn due(&self) -> Option<Instant> {
        let is_full = self.out.waiting.len() >= ENOUGH;
        let due_us = match &self.runs {
            _ if is_full => None,
            Runs::Shell(shell) => shell.due_us(),
            Runs::Command { script, .. } | Runs::Lines(script) => script.due_us(),
            Runs::Nothing => None,
        };
        due_us.map(Instant::from_micros).into_iter().chain(self.order_at).min()
    }

    fn output(&mut self, output: Output) -> &[u8] {
        self.queue(output).waiting.as_slices().0
    }

    fn written(&mut self, output: Output, len: usize) {
        self.queue(output).waiting.drain(..len);
    }

    fn is_busy(&self) -> bool {
        match &self.runs {
            Runs::Shell(shell) => shell.due_us().is_some(),
            Runs::Command { script, .. } | Runs::Lines(script) => script.is_showing(),
            Runs::Nothing => false,
        }
    }

    fn status(&self) -> Option<u32> {
        self.status
    }
}

impl Session<'_> {
    fn queue(&mut self, output: Output) -> &mut Queue {
        match output {
            Output::Normal => &mut self.out,
            Output::Error => &mut self.errors,
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // The user went before it was due.
        if let Some(order) = self.node.order.take() {
            order.carry_out();
        }
    }
}

/// Output that waits for the client. For a terminal line ends become CR LF.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<u8>,
    has_terminal: bool,
}

impl Queue {
    fn new(has_terminal: bool) -> Self {
        Self { waiting: VecDeque::with_capacity(ENOUGH), has_terminal }
    }
}

impl Write for Queue {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.waiting.len() + 2 * text.len() > OUTPUT_LEN_MAX {
            return Err(fmt::Error);
        }
        for byte in text.bytes() {
            if byte == b'\n' && self.has_terminal {
                self.waiting.push_back(b'\r');
            }
            self.waiting.push_back(byte);
        }
        Ok(())
    }
}
