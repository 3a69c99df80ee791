//! `exit`: ends the session.

use super::{Command, Next, never, offer_nothing};

pub(super) const COMMAND: Command = Command {
    name: "exit",
    usage: &[""],
    help: "ends the session; on the serial line a new one begins",
    changes: never,
    run: |arguments, _, _| {
        arguments.end()?;
        Ok(Next::End)
    },
    offer: offer_nothing,
};
