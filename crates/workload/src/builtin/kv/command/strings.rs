//! Commands for strings.

use super::{Call, Text};
use crate::builtin::kv::store::Store;
use crate::builtin::kv::value::{Expiry, Kind, Refusal, Value};

pub(super) fn get(call: &mut Call<'_>) -> Result<(), Refusal> {
    let found = call.store.look_up_kind(call.request.bytes(1)?, Kind::String)?;
    call.text(found.map(Text::String))
}

pub(super) fn getdel(call: &mut Call<'_>) -> Result<(), Refusal> {
    let key = call.request.bytes(1)?;
    let found = call.store.look_up_kind(key, Kind::String)?;
    call.text(found.map(Text::String))?;
    call.store.delete(key);
    Ok(())
}

pub(super) fn getset(call: &mut Call<'_>) -> Result<(), Refusal> {
    let key = call.request.bytes(1)?;
    let found = call.store.look_up_kind(key, Kind::String)?;
    let value = call.request.take(2)?;
    // The old value leaves only if the new one fits: the same room is asked for again, and is still there.
    let cells = Store::key_cells(key) + Store::value_cells(key.len(), value.len());
    if let Err(full) = call.store.make_room(cells, 0) {
        give_back(call, value);
        return Err(full.into());
    }
    call.text(found.map(Text::String))?;
    call.store.set(key, value, Expiry::Never)
}

pub(super) fn mget(call: &mut Call<'_>) -> Result<(), Refusal> {
    let count = call.request.len();
    call.array(count - 1);
    for index in 1..count {
        let key = call.request.bytes(index).unwrap_or_default();
        // A key of another type has no string either.
        let found = call.store.look_up(key).filter(|id| call.store.kind(*id) == Kind::String);
        call.text(found.map(Text::String))?;
    }
    Ok(())
}

pub(super) fn strlen(call: &mut Call<'_>) -> Result<(), Refusal> {
    let found = call.store.look_up_kind(call.request.bytes(1)?, Kind::String)?;
    call.count(found.map_or(0, |id| call.store.string(id).len()))
}

/// On which keys SET works.
enum Condition {
    Exists(bool),
    /// The argument with what it has to hold (Redis 8.4, Valkey 8.1).
    Holds(usize),
}

/// `SET key value [NX | XX | IFEQ value] [EX s | PX ms | KEEPTTL]`.
pub(super) fn set(call: &mut Call<'_>) -> Result<(), Refusal> {
    let key = call.request.bytes(1)?;
    let (mut expiry, mut condition) = (None, None);
    let mut index = 3;
    while index < call.request.len() {
        let is = |word| call.request.is(index, word);
        if (is("ex") || is("px")) && expiry.is_none() {
            let unit = if is("ex") { 1000 } else { 1 };
            index += 1;
            expiry = Some(Expiry::At(end(call, index, unit, "set")?));
        } else if is("keepttl") && expiry.is_none() {
            expiry = Some(Expiry::Keep);
        } else if (is("nx") || is("xx")) && condition.is_none() {
            condition = Some(Condition::Exists(is("xx")));
        } else if is("ifeq") && condition.is_none() && index + 1 < call.request.len() {
            index += 1;
            condition = Some(Condition::Holds(index));
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    let is_met = match condition {
        None => true,
        Some(Condition::Exists(must)) => call.store.find(key).is_some() == must,
        Some(Condition::Holds(index)) => {
            let value = call.request.bytes(index)?;
            call.store.find_kind(key, Kind::String)?.is_some_and(|id| call.store.string(id).is(value))
        }
    };
    if !is_met {
        return call.null();
    }
    let value = call.request.take(2)?;
    call.store.set(key, value, expiry.unwrap_or(Expiry::Never))?;
    call.ok()
}

pub(super) fn setex(call: &mut Call<'_>) -> Result<(), Refusal> {
    set_until(call, 1000, "setex")
}

pub(super) fn psetex(call: &mut Call<'_>) -> Result<(), Refusal> {
    set_until(call, 1, "psetex")
}

fn set_until(call: &mut Call<'_>, unit_ms: i64, name: &'static str) -> Result<(), Refusal> {
    let key = call.request.bytes(1)?;
    let end = end(call, 2, unit_ms, name)?;
    let value = call.request.take(3)?;
    call.store.set(key, value, Expiry::At(end))?;
    call.ok()
}

pub(super) fn setnx(call: &mut Call<'_>) -> Result<(), Refusal> {
    let key = call.request.bytes(1)?;
    if call.store.find(key).is_some() {
        return call.integer(0);
    }
    let value = call.request.take(2)?;
    call.store.set(key, value, Expiry::Never)?;
    call.integer(1)
}

/// All or none: room for all of it is made first.
pub(super) fn mset(call: &mut Call<'_>) -> Result<(), Refusal> {
    let count = call.request.len();
    if count.is_multiple_of(2) {
        return Err(Refusal::ArgumentCount("mset"));
    }
    let mut cells = 0;
    for index in (1..count).step_by(2) {
        let key = call.request.bytes(index)?;
        if key.len() > crate::builtin::kv::store::KEY_LEN_MAX {
            return Err(Refusal::KeyLength);
        }
        cells += Store::key_cells(key) + Store::value_cells(key.len(), call.request.value_len(index + 1));
    }
    call.store.make_room(cells, 0)?;
    for index in (1..count).step_by(2) {
        let key = call.request.bytes(index)?;
        let value = call.request.take(index + 1)?;
        call.store.set(key, value, Expiry::Never)?;
    }
    call.ok()
}

pub(super) fn append(call: &mut Call<'_>) -> Result<(), Refusal> {
    let key = call.request.bytes(1)?;
    let value = call.request.take(2)?;
    let len = call.store.append(key, value)?;
    call.count(len)
}

pub(super) fn incr(call: &mut Call<'_>) -> Result<(), Refusal> {
    add(call, 1)
}

pub(super) fn decr(call: &mut Call<'_>) -> Result<(), Refusal> {
    add(call, -1)
}

pub(super) fn incrby(call: &mut Call<'_>) -> Result<(), Refusal> {
    let by = call.request.integer(2)?;
    add(call, by)
}

pub(super) fn decrby(call: &mut Call<'_>) -> Result<(), Refusal> {
    let by = call.request.integer(2)?.checked_neg().ok_or(Refusal::Overflow)?;
    add(call, by)
}

fn add(call: &mut Call<'_>, by: i64) -> Result<(), Refusal> {
    let sum = call.store.add(call.request.bytes(1)?, by)?;
    call.integer(sum)
}

/// Returns when a key ends that an argument gives the rest of its life, in the store's ms.
fn end(call: &Call<'_>, index: usize, unit_ms: i64, name: &'static str) -> Result<u64, Refusal> {
    let refusal = Refusal::ExpireTime(name);
    let ms = call.request.integer(index)?.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or(refusal)?;
    call.store.now_ms().checked_add(ms.unsigned_abs()).filter(|end| *end < u64::MAX / 2).ok_or(refusal)
}

fn give_back(call: &mut Call<'_>, value: Value<'_>) {
    if let Value::Chain(chain) = value {
        call.store.cells.give_back_chain(chain);
    }
}
