// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands on strings.

use alloc::vec::Vec;

use super::context::{Context, Outcome};
use super::index::range;
use crate::bytes::Text;
use crate::error::{Refused, other};
use crate::memory::data_room;
use crate::number;
use crate::value::Value;

/// The longest string in bytes (`proto-max-bulk-len`).
const MAX_STRING: i64 = 512 * 1024 * 1024;
const MAX_STRING_LEN: usize = 512 * 1024 * 1024;
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

pub(crate) fn get(c: &mut Context<'_>) -> Outcome {
    let memory = c.store.memory();
    let value = c.store.string(c.arg(1), c.now)?;
    c.out.reserve(memory, value.map_or(0, |value| value.len()), 1)?;
    c.out.maybe_bulk(value.map(|value| &**value));
    Ok(())
}

/// The options that follow the value of `SET`.
#[derive(Default)]
struct SetOptions {
    only_new: bool,
    only_old: bool,
    keep_expiry: bool,
    get: bool,
    /// The number of the argument with the time, the time's unit in milliseconds, and whether it is
    /// absolute.
    expires: Option<(usize, i64, bool)>,
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
                options.expires = Some((at, unit, absolute));
            }
            () => return Err(Refused::Syntax),
        }
        at += 1;
    }
    Ok(options)
}

/// Converts a time, which must be positive, to milliseconds since the Unix epoch.
fn deadline(
    c: &Context<'_>,
    index: usize,
    unit: i64,
    absolute: bool,
    command: &'static str,
) -> Result<u64, Refused> {
    let invalid = || Refused::InvalidExpire(command);
    let time = c.integer(index)?;
    let base = if absolute { 0 } else { number::saturating_i64(c.now) };
    let at = time.checked_mul(unit).and_then(|ms| ms.checked_add(base));
    match at.filter(|_| time > 0).and_then(|at| u64::try_from(at).ok()) {
        Some(at) => Ok(at),
        None => Err(invalid()),
    }
}

pub(crate) fn set(c: &mut Context<'_>) -> Outcome {
    let options = set_options(c)?;
    let (key, now) = (c.arg(1), c.now);
    let expires = match options.expires {
        Some((index, unit, absolute)) => Some(deadline(c, index, unit, absolute, "set")?),
        None => None,
    };
    if options.get {
        get(c)?;
    }
    if options.only_new || options.only_old {
        let there = c.store.get(key, now).is_some();
        if there != options.only_old {
            if !options.get {
                c.out.null();
            }
            return Ok(());
        }
    }
    c.store.set(key, c.copy(2)?, options.keep_expiry, now)?;
    if let Some(at) = expires {
        c.store.expire_at(key, at);
    }
    if !options.get {
        c.out.ok();
    }
    Ok(())
}

pub(crate) fn setnx(c: &mut Context<'_>) -> Outcome {
    let there = c.store.get(c.arg(1), c.now).is_some();
    if !there {
        c.store.set(c.arg(1), c.copy(2)?, false, c.now)?;
    }
    c.out.flag(!there);
    Ok(())
}

fn set_for(c: &mut Context<'_>, unit: i64, command: &'static str) -> Outcome {
    let at = deadline(c, 2, unit, false, command)?;
    c.store.set(c.arg(1), c.copy(3)?, false, c.now)?;
    c.store.expire_at(c.arg(1), at);
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
    c.store.set(c.arg(1), c.copy(2)?, false, c.now)
}

pub(crate) fn getdel(c: &mut Context<'_>) -> Outcome {
    get(c)?;
    c.store.remove(c.arg(1), c.now);
    Ok(())
}

pub(crate) fn mget(c: &mut Context<'_>) -> Outcome {
    let (now, memory) = (c.now, c.store.memory());
    c.out.reserve(memory, 0, c.args.len())?;
    c.out.array(c.args.len() - 1);
    for key in c.args.from(1) {
        match c.store.get(key, now) {
            Some(Value::String(value)) => {
                c.out.reserve(memory, value.len(), 1)?;
                c.out.bulk(value);
            }
            _ => {
                c.out.reserve(memory, 0, 1)?;
                c.out.null();
            }
        }
    }
    Ok(())
}

fn set_pairs(c: &mut Context<'_>) -> Outcome {
    // All or nothing: memory for the copies of the arguments has been checked in advance.
    c.store.make_room(c.args.len() / 2)?;
    for pair in (1..c.args.len()).step_by(2) {
        c.store.set(c.arg(pair), c.copy(pair + 1)?, false, c.now)?;
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
    *c.store.make_string(c.arg(1), c.now)? = Text::integer(new);
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
    let old = match c.store.string(c.arg(1), c.now)? {
        Some(value) => number::float(value).ok_or(Refused::NotAFloat)?,
        None => 0.0,
    };
    let by = c.float(2)?;
    let new = old + by;
    if !new.is_finite() {
        return other("ERR increment would produce NaN or Infinity");
    }
    // Unlike scores, the result never has an exponent.
    let text = alloc::format!("{new}");
    *c.store.make_string(c.arg(1), c.now)? = Text::copy(text.as_bytes())?;
    c.out.bulk(text.as_bytes());
    Ok(())
}

pub(crate) fn append(c: &mut Context<'_>) -> Outcome {
    let (key, more, memory) = (c.arg(1), c.arg(2), c.store.memory());
    let length = match c.store.string_mut(key, c.now)? {
        Some(value) => {
            if value.len() + more.len() > MAX_STRING_LEN {
                return other(TOO_LONG);
            }
            let value = value.grown();
            data_room(memory, value, more.len())?;
            value.extend_from_slice(more);
            value.len()
        }
        None => {
            c.store.set(key, c.copy(2)?, false, c.now)?;
            more.len()
        }
    };
    c.out.count(length);
    Ok(())
}

pub(crate) fn strlen(c: &mut Context<'_>) -> Outcome {
    let length = c.store.string(c.arg(1), c.now)?.map_or(0, |value| value.len());
    c.out.count(length);
    Ok(())
}

pub(crate) fn getrange(c: &mut Context<'_>) -> Outcome {
    let (start, end) = (c.integer(2)?, c.integer(3)?);
    let memory = c.store.memory();
    let value = c.store.string(c.arg(1), c.now)?.map_or(&[][..], |value| value);
    let length = value.len();
    let range = if start < 0 && end < 0 && start > end {
        0..0
    } else {
        // Unlike in a list, an end before the first byte is the first byte.
        range(start, end.max(i64::try_from(length).map_or(0, |length| -length)), length)
    };
    c.out.reserve(memory, range.len(), 1)?;
    c.out.bulk(&value[range]);
    Ok(())
}

pub(crate) fn setrange(c: &mut Context<'_>) -> Outcome {
    let (offset, bytes) = (c.integer(2)?, c.arg(3));
    if offset < 0 {
        return other("ERR offset is out of range");
    }
    let end = offset.saturating_add(number::saturating_i64(bytes.len() as u64));
    c.store.string(c.arg(1), c.now)?;
    if end > MAX_STRING && !bytes.is_empty() {
        return other(TOO_LONG);
    }
    let (offset, end) =
        (usize::try_from(offset).unwrap_or(0), usize::try_from(end).unwrap_or(usize::MAX));
    let (key, memory) = (c.arg(1), c.store.memory());
    let change = |value: &mut Vec<u8>| {
        let length = value.len().max(end);
        data_room(memory, value, length - value.len())?;
        value.resize(length, 0);
        value[offset..end].copy_from_slice(bytes);
        Ok(length)
    };
    let length = match c.store.string_mut(key, c.now)? {
        Some(value) if bytes.is_empty() => value.len(),
        Some(value) => change(value.grown())?,
        None if bytes.is_empty() => 0,
        None => {
            let mut value = Vec::new();
            let length = change(&mut value)?;
            c.store.set(key, Value::String(Text::Long(value)), false, c.now)?;
            length
        }
    };
    c.out.count(length);
    Ok(())
}
