//! `reboot`: restarts the node.

use super::{Command, Next, always, offer_nothing};

pub(super) const COMMAND: Command = Command {
    name: "reboot",
    usage: &[""],
    help: "restarts the node",
    changes: always,
    run: |arguments, node, out| {
        arguments.end()?;
        writeln!(out, "restarting")?;
        node.reboot();
        Ok(Next::Prompt)
    },
    offer: offer_nothing,
};
