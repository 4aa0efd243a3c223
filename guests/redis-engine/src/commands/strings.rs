//! Strings.

use alloc::vec::Vec;

use super::{Context, Outcome, range};
use crate::error::{Refused, other};
use crate::number::{self, print_double};
use crate::value::Value;

/// Longest string (`proto-max-bulk-len`).
const MAX_STRING: i64 = 512 * 1024 * 1024;

pub(crate) fn get(c: &mut Context<'_>) -> Outcome {
    let bytes = match c.store.string(c.arg(1), c.now)? {
        Some(value) => value.len(),
        None => 0,
    };
    c.reserve_reply(bytes, 1);
    c.out.maybe_bulk(c.store.string(c.args.get(1), c.now)?.map(Vec::as_slice));
    Ok(())
}

/// The words behind the value of `SET`.
#[derive(Default)]
struct SetOptions {
    only_new: bool,
    only_old: bool,
    keep_expiry: bool,
    get: bool,
    expires: Option<u64>,
}

fn set_options(c: &Context<'_>) -> Result<SetOptions, Refused> {
    let mut options = SetOptions::default();
    let mut at = 3;
    while at < c.args.len() {
        let is = |word| c.args.is(at, word);
        let has_time = options.expires.is_some() || options.keep_expiry;
        match () {
            () if is("nx") && !options.only_old => options.only_new = true,
            () if is("xx") && !options.only_new => options.only_old = true,
            () if is("get") => options.get = true,
            () if is("keepttl") && options.expires.is_none() => options.keep_expiry = true,
            () if at + 1 < c.args.len() && !has_time => {
                let (unit, absolute) = match () {
                    () if is("ex") => (1000, false),
                    () if is("px") => (1, false),
                    () if is("exat") => (1000, true),
                    () if is("pxat") => (1, true),
                    () => return Err(Refused::Syntax),
                };
                at += 1;
                options.expires = Some(deadline(c, at, unit, absolute, "set")?);
            }
            () => return Err(Refused::Syntax),
        }
        at += 1;
    }
    Ok(options)
}

/// A positive time as milliseconds after the epoch.
fn deadline(
    c: &Context<'_>,
    index: usize,
    unit: i64,
    absolute: bool,
    command: &'static str,
) -> Result<u64, Refused> {
    let invalid = || Refused::InvalidExpire(command);
    let time = c.integer(index)?;
    let base = if absolute { 0 } else { i64::try_from(c.now).unwrap_or(i64::MAX) };
    let at = time.checked_mul(unit).and_then(|ms| ms.checked_add(base));
    match at.filter(|_| time > 0).and_then(|at| u64::try_from(at).ok()) {
        Some(at) => Ok(at),
        None => Err(invalid()),
    }
}

pub(crate) fn set(c: &mut Context<'_>) -> Outcome {
    let options = set_options(c)?;
    let (key, now) = (c.arg(1), c.now);
    let there = c.store.get(key, now).is_some();
    if options.get {
        let old = c.store.string(key, now)?.map_or(0, Vec::len);
        c.reserve_reply(old, 1);
        c.out.maybe_bulk(c.store.string(key, now)?.map(Vec::as_slice));
    }
    if (options.only_new && there) || (options.only_old && !there) {
        if !options.get {
            c.out.null();
        }
        return Ok(());
    }
    c.store.set(key, Value::String(c.arg(2).to_vec()), options.keep_expiry, now)?;
    if let Some(at) = options.expires {
        c.store.expire_at(key, at)?;
    }
    if !options.get {
        c.out.ok();
    }
    Ok(())
}

pub(crate) fn setnx(c: &mut Context<'_>) -> Outcome {
    let there = c.store.get(c.arg(1), c.now).is_some();
    if !there {
        c.store.set(c.arg(1), Value::String(c.arg(2).to_vec()), false, c.now)?;
    }
    c.out.flag(!there);
    Ok(())
}

fn set_for(c: &mut Context<'_>, unit: i64, command: &'static str) -> Outcome {
    let at = deadline(c, 2, unit, false, command)?;
    c.store.set(c.arg(1), Value::String(c.arg(3).to_vec()), false, c.now)?;
    c.store.expire_at(c.arg(1), at)?;
    c.out.ok();
    Ok(())
}

pub(crate) fn setex(c: &mut Context<'_>) -> Outcome {
    set_for(c, 1000, "setex")
}

pub(crate) fn psetex(c: &mut Context<'_>) -> Outcome {
    set_for(c, 1, "psetex")
}

pub(crate) fn getset(c: &mut Context<'_>) -> Outcome {
    get(c)?;
    c.store.set(c.arg(1), Value::String(c.arg(2).to_vec()), false, c.now)
}

pub(crate) fn getdel(c: &mut Context<'_>) -> Outcome {
    get(c)?;
    c.store.remove(c.arg(1));
    Ok(())
}

pub(crate) fn mget(c: &mut Context<'_>) -> Outcome {
    let now = c.now;
    c.out.array(c.args.len() - 1);
    for key in c.args.from(1) {
        let length = match c.store.get(key, now) {
            Some(Value::String(value)) => value.len(),
            _ => 0,
        };
        c.reserve_reply(length, 1);
        match c.store.get(key, now) {
            Some(Value::String(value)) => c.out.bulk(value),
            _ => c.out.null(),
        }
    }
    Ok(())
}

fn set_pairs(c: &mut Context<'_>) -> Outcome {
    for pair in (1..c.args.len()).step_by(2) {
        c.store.set(c.arg(pair), Value::String(c.arg(pair + 1).to_vec()), false, c.now)?;
    }
    Ok(())
}

pub(crate) fn mset(c: &mut Context<'_>) -> Outcome {
    if c.args.len().is_multiple_of(2) {
        return c.arity();
    }
    set_pairs(c)?;
    c.out.ok();
    Ok(())
}

pub(crate) fn msetnx(c: &mut Context<'_>) -> Outcome {
    if c.args.len().is_multiple_of(2) {
        return c.arity();
    }
    for pair in (1..c.args.len()).step_by(2) {
        if c.store.get(c.arg(pair), c.now).is_some() {
            c.out.integer(0);
            return Ok(());
        }
    }
    set_pairs(c)?;
    c.out.integer(1);
    Ok(())
}

fn add(c: &mut Context<'_>, by: i64) -> Outcome {
    let old = match c.store.string(c.arg(1), c.now)? {
        Some(value) => number::integer(value)?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Refused::Overflow)?;
    let value = c.store.make_string(c.arg(1), c.now)?;
    value.clear();
    value.extend_from_slice(alloc::format!("{new}").as_bytes());
    c.out.integer(new);
    Ok(())
}

pub(crate) fn incr(c: &mut Context<'_>) -> Outcome {
    add(c, 1)
}

pub(crate) fn decr(c: &mut Context<'_>) -> Outcome {
    add(c, -1)
}

pub(crate) fn incrby(c: &mut Context<'_>) -> Outcome {
    let by = c.integer(2)?;
    add(c, by)
}

pub(crate) fn decrby(c: &mut Context<'_>) -> Outcome {
    match c.integer(2)?.checked_neg() {
        Some(by) => add(c, by),
        None => other("ERR decrement would overflow"),
    }
}

pub(crate) fn incrbyfloat(c: &mut Context<'_>) -> Outcome {
    let by = c.float(2)?;
    let old = match c.store.string(c.arg(1), c.now)? {
        Some(value) => number::float(value).ok_or(Refused::NotAFloat)?,
        None => 0.0,
    };
    let new = old + by;
    if !new.is_finite() {
        return other("ERR increment would produce NaN or Infinity");
    }
    let text = print_double(new);
    let value = c.store.make_string(c.arg(1), c.now)?;
    value.clear();
    value.extend_from_slice(text.as_bytes());
    c.out.bulk(text.as_bytes());
    Ok(())
}

pub(crate) fn append(c: &mut Context<'_>) -> Outcome {
    let more = c.arg(2);
    let old = c.store.string(c.arg(1), c.now)?.map_or(0, Vec::len);
    // The string may have to move, and both copies are held meanwhile.
    c.store.need((old + more.len()) * 2, 1)?;
    let value = c.store.make_string(c.arg(1), c.now)?;
    value.try_reserve(more.len()).map_err(|_| Refused::OutOfMemory)?;
    value.extend_from_slice(more);
    c.out.count(old + more.len());
    Ok(())
}

pub(crate) fn strlen(c: &mut Context<'_>) -> Outcome {
    let length = c.store.string(c.arg(1), c.now)?.map_or(0, Vec::len);
    c.out.count(length);
    Ok(())
}

pub(crate) fn getrange(c: &mut Context<'_>) -> Outcome {
    let (start, end) = (c.integer(2)?, c.integer(3)?);
    let length = c.store.string(c.arg(1), c.now)?.map_or(0, Vec::len);
    let range = range(start, end, length);
    c.reserve_reply(range.len(), 1);
    match c.store.string(c.args.get(1), c.now)? {
        Some(value) => c.out.bulk(&value[range]),
        None => c.out.bulk(b""),
    }
    Ok(())
}

pub(crate) fn setrange(c: &mut Context<'_>) -> Outcome {
    let (offset, bytes) = (c.integer(2)?, c.arg(3));
    if offset < 0 {
        return other("ERR offset is out of range");
    }
    let end = offset.saturating_add(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    if end > MAX_STRING {
        return other("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    }
    let old = c.store.string(c.arg(1), c.now)?.map_or(0, Vec::len);
    if bytes.is_empty() {
        c.out.count(old);
        return Ok(());
    }
    let (offset, end) =
        (usize::try_from(offset).unwrap_or(0), usize::try_from(end).unwrap_or(usize::MAX));
    let length = old.max(end);
    if length > old {
        c.store.need(length * 2, 1)?;
    }
    let value = c.store.make_string(c.arg(1), c.now)?;
    value.try_reserve(length - old).map_err(|_| Refused::OutOfMemory)?;
    value.resize(length, 0);
    value[offset..end].copy_from_slice(bytes);
    c.out.count(length);
    Ok(())
}
