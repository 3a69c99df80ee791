//! `exit`: ends the session.

use super::{Command, Next, offer_nothing};

pub(super) const COMMAND: Command = Command {
    name: "exit",
    usage: &[""],
    help: "ends the session; on the serial line a new one begins",
    run: |arguments, _, _| {
        arguments.end()?;
        Ok(Next::End)
    },
    offer: offer_nothing,
};
