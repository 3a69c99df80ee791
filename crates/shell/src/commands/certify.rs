//! `certify`: the report of the last acceptance test of the board.

use telemetry::sinks;

use super::{Command, Next, look, never, offer_nothing};

pub(super) const COMMAND: Command = Command {
    name: "certify",
    usage: &[""],
    help: "shows the last test of the board; 'workload start certify' runs it",
    changes: never,
    run: |arguments, node, out| {
        arguments.end()?;
        look(node, |snapshot| sinks::certificate::render(snapshot, out))?;
        Ok(Next::Prompt)
    },
    offer: offer_nothing,
};
