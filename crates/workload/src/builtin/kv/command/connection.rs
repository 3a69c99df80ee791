//! Commands about the connection.

use super::{COMMANDS, Call};
use crate::builtin::kv::session::Fate;
use crate::builtin::kv::value::{Refusal, Value};

pub(super) fn ping(call: &mut Call<'_>) -> Result<(), Refusal> {
    match call.request.len() {
        1 => call.simple("PONG"),
        2 => echo(call),
        _ => Err(Refusal::ArgumentCount("ping")),
    }
}

pub(super) fn echo(call: &mut Call<'_>) -> Result<(), Refusal> {
    match call.request.take(1)? {
        Value::Bytes(bytes) => call.bulk(bytes),
        Value::Chain(chain) => {
            call.text(Some(super::Text::Chain(chain)))?;
            call.store.cells.give_back_chain(chain);
            Ok(())
        }
    }
}

pub(super) fn quit(call: &mut Call<'_>) -> Result<(), Refusal> {
    *call.fate = Fate::Closing;
    call.ok()
}

pub(super) fn select(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.request.integer(1)? != 0 {
        return Err(Refusal::Database);
    }
    call.ok()
}

/// Only version 2 is spoken; clients that ask for 3 fall back.
pub(super) fn hello(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.request.len() > 1 && !call.request.is(1, "2") {
        return Err(Refusal::Protocol);
    }
    call.array(8);
    for (name, value) in [("server", "minipirack"), ("version", env!("CARGO_PKG_VERSION")), ("mode", "standalone")] {
        call.bulk(name.as_bytes())?;
        call.bulk(value.as_bytes())?;
    }
    call.bulk(b"proto")?;
    call.integer(2)
}

/// What clients say about themselves is taken note of by nobody.
pub(super) fn client(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.request.is(1, "setname") || call.request.is(1, "setinfo") || call.request.is(1, "no-evict") {
        call.ok()
    } else if call.request.is(1, "getname") {
        call.null()
    } else if call.request.is(1, "id") {
        call.integer(1)
    } else {
        Err(Refusal::Subcommand)
    }
}

/// Clients ask for help texts and arguments of commands here: there are none.
pub(super) fn command(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.request.is(1, "count") {
        return call.count(COMMANDS.len());
    }
    call.array(0);
    Ok(())
}
