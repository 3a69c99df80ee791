//! Commands between stores of which one follows the other.

use super::Call;
use crate::builtin::kv::session::Fate;
use crate::builtin::kv::value::Refusal;

/// `REPLICATE 1` turns the connection into a stream of commands that make a copy of the store and keep it up to date.
pub(super) fn replicate(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.request.integer(1)? != 1 {
        return Err(Refusal::Protocol);
    }
    let link = call.store.feed.open(call.store.now_ms()).ok_or(Refusal::Replicas)?;
    *call.fate = Fate::Replica(link);
    Ok(())
}

/// `COPIED`: all that there was at the beginning has come.
pub(super) fn copied(call: &mut Call<'_>) -> Result<(), Refusal> {
    if let Some(replica) = &mut call.facts.replica {
        replica.is_copied = true;
    }
    call.ok()
}

/// `OFFSET n`: the other store has told `n` bytes before this.
pub(super) fn offset(call: &mut Call<'_>) -> Result<(), Refusal> {
    let told = call.request.integer(1)?.unsigned_abs();
    let now_ms = call.store.now_ms();
    if let Some(replica) = &mut call.facts.replica {
        replica.is_asked = true;
        replica.heard_ms = now_ms;
        replica.lag_bytes = told.saturating_sub(replica.offset);
    }
    call.ok()
}
