//! Commands for lists.

use super::{Call, Text};
use crate::builtin::kv::cells::NIL;
use crate::builtin::kv::list::{End, node_cells};
use crate::builtin::kv::store::KEY_LEN_MAX;
use crate::builtin::kv::value::{Kind, Refusal};

/// Elements of an answer at most: 10,000 take about half a millisecond.
const ELEMENTS_MAX: usize = 10_000;

pub(super) fn lpush(call: &mut Call<'_>) -> Result<(), Refusal> {
    push(call, End::Left)
}

pub(super) fn rpush(call: &mut Call<'_>) -> Result<(), Refusal> {
    push(call, End::Right)
}

/// All or none: room for all elements is made first.
fn push(call: &mut Call<'_>, end: End) -> Result<(), Refusal> {
    let key = call.request.bytes(1)?;
    if key.len() > KEY_LEN_MAX {
        return Err(Refusal::KeyLength);
    }
    let cells = (2..call.request.len()).map(|index| node_cells(call.request.value_len(index))).sum();
    let list = call.store.open_list(key, cells)?;
    let mut len = 0;
    for index in 2..call.request.len() {
        let value = call.request.take(index)?;
        len = call.store.push(list, end, value)?;
    }
    call.count(len)
}

pub(super) fn lpop(call: &mut Call<'_>) -> Result<(), Refusal> {
    pop(call, End::Left, "lpop")
}

pub(super) fn rpop(call: &mut Call<'_>) -> Result<(), Refusal> {
    pop(call, End::Right, "rpop")
}

/// `LPOP key [count]`.
fn pop(call: &mut Call<'_>, end: End, name: &'static str) -> Result<(), Refusal> {
    if call.request.len() > 3 {
        return Err(Refusal::ArgumentCount(name));
    }
    let count = match call.request.len() {
        3 => Some(usize::try_from(call.request.integer(2)?).map_err(|_| Refusal::Index)?),
        _ => None,
    };
    let found = call.store.look_up_kind(call.request.bytes(1)?, Kind::List)?;
    let Some(list) = found else {
        if count.is_some() {
            // The array that is none.
            resp::Sink::put(&mut call.reply(), b"*-1\r\n");
            return Ok(());
        }
        return call.null();
    };
    let len = call.store.cells.entry(list).len as usize;
    let takes = count.unwrap_or(1).min(len);
    if takes > ELEMENTS_MAX {
        return Err(Refusal::TooMany(ELEMENTS_MAX));
    }
    if count.is_some() {
        call.array(takes);
    }
    for _ in 0..takes {
        let node = call.store.end_node(list, end);
        call.text(Some(Text::Element(node)))?;
        call.store.drop_end(list, end);
    }
    Ok(())
}

pub(super) fn llen(call: &mut Call<'_>) -> Result<(), Refusal> {
    let found = call.store.look_up_kind(call.request.bytes(1)?, Kind::List)?;
    call.count(found.map_or(0, |list| call.store.cells.entry(list).len as usize))
}

pub(super) fn lindex(call: &mut Call<'_>) -> Result<(), Refusal> {
    let index = call.request.integer(2)?;
    let Some(list) = call.store.look_up_kind(call.request.bytes(1)?, Kind::List)? else { return call.null() };
    let len = call.store.cells.entry(list).len as usize;
    let node = position(index, len).map_or(NIL, |index| call.store.nth_node(list, index));
    call.text((node != NIL).then_some(Text::Element(node)))
}

pub(super) fn lrange(call: &mut Call<'_>) -> Result<(), Refusal> {
    let (start, stop) = (call.request.integer(2)?, call.request.integer(3)?);
    let Some(list) = call.store.look_up_kind(call.request.bytes(1)?, Kind::List)? else {
        call.array(0);
        return Ok(());
    };
    let len = call.store.cells.entry(list).len as usize;
    let start = position(start, len).unwrap_or(0);
    let stop = if stop < 0 { position(stop, len) } else { usize::try_from(stop).ok() };
    let count = stop.map_or(0, |stop| (stop.saturating_add(1)).min(len).saturating_sub(start));
    if count > ELEMENTS_MAX {
        return Err(Refusal::TooMany(ELEMENTS_MAX));
    }
    call.array(count);
    let mut node = call.store.nth_node(list, start);
    for _ in 0..count {
        call.text(Some(Text::Element(node)))?;
        node = call.store.cells.node(node).after;
    }
    Ok(())
}

/// Returns the position that an index means, which counts from the end if it is negative; `None` before the first element.
fn position(index: i64, len: usize) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    if index < 0 { len.checked_sub(distance) } else { Some(distance) }
}
