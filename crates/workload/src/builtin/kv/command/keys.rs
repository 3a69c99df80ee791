//! Commands for keys of any type.

use super::{Call, Text, pattern};
use crate::builtin::kv::store::KEY_LEN_MAX;
use crate::builtin::kv::value::Refusal;

/// Keys of a store that KEYS lists at most, and buckets that SCAN looks at in one go: half a millisecond.
const KEYS_MAX: usize = 10_000;
/// Steps of matching that one command may take.
const STEPS_MAX: u32 = 500_000;
/// Keys that SCAN is asked for if nothing is said (redis.io, SCAN).
const SCAN_COUNT: i64 = 10;

pub(super) fn del(call: &mut Call<'_>) -> Result<(), Refusal> {
    let mut deleted = 0;
    for index in 1..call.request.len() {
        deleted += usize::from(call.store.delete(call.request.bytes(index)?));
    }
    call.count(deleted)
}

pub(super) fn exists(call: &mut Call<'_>) -> Result<(), Refusal> {
    let mut found = 0;
    for index in 1..call.request.len() {
        found += usize::from(call.store.look_up(call.request.bytes(index)?).is_some());
    }
    call.count(found)
}

pub(super) fn type_of(call: &mut Call<'_>) -> Result<(), Refusal> {
    let found = call.store.look_up(call.request.bytes(1)?);
    let name = found.map_or("none", |id| call.store.kind(id).name());
    call.simple(name)
}

pub(super) fn expire(call: &mut Call<'_>) -> Result<(), Refusal> {
    end_in(call, 1000, "expire")
}

pub(super) fn pexpire(call: &mut Call<'_>) -> Result<(), Refusal> {
    end_in(call, 1, "pexpire")
}

fn end_in(call: &mut Call<'_>, unit_ms: i64, name: &'static str) -> Result<(), Refusal> {
    let key = call.request.bytes(1)?;
    let refusal = Refusal::ExpireTime(name);
    let ms = call.request.integer(2)?.checked_mul(unit_ms).ok_or(refusal)?;
    let Some(id) = call.store.find(key) else { return call.integer(0) };
    if ms <= 0 {
        // The end is behind us.
        call.store.delete(key);
    } else {
        let end = call.store.now_ms().checked_add(ms.unsigned_abs()).filter(|end| *end < u64::MAX / 2).ok_or(refusal)?;
        call.store.end_at(id, Some(end));
    }
    call.integer(1)
}

pub(super) fn persist(call: &mut Call<'_>) -> Result<(), Refusal> {
    let found = call.store.find(call.request.bytes(1)?);
    let Some(id) = found.filter(|id| call.store.expires_in(*id).is_some()) else { return call.integer(0) };
    call.store.end_at(id, None);
    call.integer(1)
}

pub(super) fn ttl(call: &mut Call<'_>) -> Result<(), Refusal> {
    time_left(call, |ms| ms.saturating_add(500) / 1000)
}

pub(super) fn pttl(call: &mut Call<'_>) -> Result<(), Refusal> {
    time_left(call, |ms| ms)
}

fn time_left(call: &mut Call<'_>, show: impl Fn(u64) -> u64) -> Result<(), Refusal> {
    let found = call.store.look_up(call.request.bytes(1)?);
    let left = found.map(|id| call.store.expires_in(id));
    call.integer(match left {
        None => -2,
        Some(None) => -1,
        Some(Some(ms)) => i64::try_from(show(ms)).unwrap_or(i64::MAX),
    })
}

pub(super) fn dbsize(call: &mut Call<'_>) -> Result<(), Refusal> {
    call.count(call.store.len())
}

pub(super) fn flush(call: &mut Call<'_>) -> Result<(), Refusal> {
    call.store.clear();
    call.ok()
}

pub(super) fn keys(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.store.len() > KEYS_MAX {
        return Err(Refusal::TooMany(KEYS_MAX));
    }
    let pattern = call.request.bytes(1)?;
    let mut count = 0;
    // Once to count, because the number comes first, and once to show.
    for is_shown in [false, true] {
        if is_shown {
            call.array(count);
        }
        let mut steps = STEPS_MAX;
        for bucket in 0..call.store.bucket_count() {
            let fitting = put_fitting(call, bucket, Some(pattern), None, is_shown, &mut steps)?;
            count += if is_shown { 0 } else { fitting };
        }
    }
    Ok(())
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE name]`. The cursor is the number of the next bucket: keys that are there
/// from the first call to the last are found, once each.
pub(super) fn scan(call: &mut Call<'_>) -> Result<(), Refusal> {
    let cursor = call.request.integer(1).ok().and_then(|cursor| usize::try_from(cursor).ok());
    let start = cursor.filter(|cursor| *cursor < call.store.bucket_count()).ok_or(Refusal::Cursor)?;
    let (mut pattern, mut count, mut kind) = (None, SCAN_COUNT, None);
    for index in (2..call.request.len()).step_by(2) {
        if call.request.is(index, "match") {
            pattern = Some(call.request.bytes(index + 1)?);
        } else if call.request.is(index, "count") {
            count = call.request.integer(index + 1)?;
        } else if call.request.is(index, "type") {
            kind = Some(call.request.bytes(index + 1)?);
        } else {
            return Err(Refusal::Syntax);
        }
    }
    let wanted = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Refusal::Syntax)?.min(KEYS_MAX / 10);
    let (mut seen, mut found, mut end) = (0, 0, start);
    let mut steps = STEPS_MAX / 2;
    while end < call.store.bucket_count() && end - start < KEYS_MAX && seen < wanted && steps > STEPS_MAX / 10 {
        let mut entry = call.store.next_in_bucket(end, None);
        while entry.is_some() {
            seen += 1;
            entry = call.store.next_in_bucket(end, entry);
        }
        found += put_fitting(call, end, pattern, kind, false, &mut steps)?;
        end += 1;
    }
    call.array(2);
    let next = if end < call.store.bucket_count() { end } else { 0 };
    call.bulk(resp::IntegerText::new(i64::try_from(next).unwrap_or(0)).as_bytes())?;
    call.array(found);
    let mut steps = STEPS_MAX;
    for bucket in start..end {
        put_fitting(call, bucket, pattern, kind, true, &mut steps)?;
    }
    Ok(())
}

/// Returns how many keys of a bucket fit, and puts them into the reply if they are to be shown.
fn put_fitting(
    call: &mut Call<'_>,
    bucket: usize,
    pattern: Option<&[u8]>,
    kind: Option<&[u8]>,
    is_shown: bool,
    steps: &mut u32,
) -> Result<usize, Refusal> {
    let mut count = 0;
    let mut entry = call.store.next_in_bucket(bucket, None);
    while let Some(id) = entry {
        let mut key = [0; KEY_LEN_MAX];
        let is_kind = kind.is_none_or(|kind| kind.eq_ignore_ascii_case(call.store.kind(id).name().as_bytes()));
        let is_fit = match pattern {
            Some(b"*") | None => true,
            Some(pattern) => pattern::fits(pattern, call.store.key(id).copy_to(&mut key), steps)
                .ok_or(Refusal::TooMany(KEYS_MAX))?,
        };
        if is_kind && is_fit {
            count += 1;
            if is_shown {
                call.text(Some(Text::Key(id)))?;
            }
        }
        entry = call.store.next_in_bucket(bucket, Some(id));
    }
    Ok(count)
}
