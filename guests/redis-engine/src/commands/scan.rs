// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that use cursors: `SCAN`, `SSCAN`, `HSCAN` and `ZSCAN`.
//!
//! A cursor is the number of positions that are left, and a scan goes from the last position to the
//! first. The tables remove an entry by moving the last one into its place, so an entry that has
//! not been visited is always below the cursor. An entry that exists during the whole scan is
//! therefore visited at least once, as Redis guarantees. It may be visited twice.

use super::context::{Context, Outcome};
use crate::error::{Refused, other};
use crate::glob;
use crate::number;

/// The number of positions visited by one call without `COUNT`.
const DEFAULT_COUNT: usize = 10;

struct Options<'a> {
    cursor: usize,
    count: usize,
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
}

fn cursor(c: &Context<'_>, index: usize) -> Result<usize, Refused> {
    match number::integer(c.arg(index)).ok().and_then(|n| usize::try_from(n).ok()) {
        Some(cursor) => Ok(cursor),
        None => other("ERR invalid cursor"),
    }
}

fn options<'a>(c: &Context<'a>, first: usize, kinds: bool) -> Result<Options<'a>, Refused> {
    let cursor = cursor(c, first)?;
    let mut options = Options { cursor, count: DEFAULT_COUNT, pattern: None, kind: None };
    let mut at = first + 1;
    while at < c.args.len() {
        if at + 1 == c.args.len() {
            return Err(Refused::Syntax);
        }
        match () {
            () if c.args.is(at, "match") => options.pattern = Some(c.arg(at + 1)),
            () if c.args.is(at, "count") => match usize::try_from(c.integer(at + 1)?) {
                Ok(count) if count > 0 => options.count = count,
                _ => return Err(Refused::Syntax),
            },
            () if c.args.is(at, "type") && kinds => options.kind = Some(c.arg(at + 1)),
            () => return Err(Refused::Syntax),
        }
        at += 2;
    }
    Ok(options)
}

/// Returns the positions that this call visits, and the next cursor. Cursor 0 starts at the end.
fn walk(options: &Options<'_>, length: usize) -> (core::ops::Range<usize>, usize) {
    let end = if options.cursor == 0 { length } else { options.cursor.min(length) };
    let start = end.saturating_sub(options.count);
    (start..end, start)
}

/// Writes the reply: the next cursor, and the items at the positions that match. `item` is called
/// twice for each position: first with `false`, to return the item's length or `None` if it does
/// not match, then with `true`, to write it.
fn reply(
    c: &mut Context<'_>,
    options: &Options<'_>,
    length: usize,
    parts: usize,
    mut item: impl FnMut(&mut Context<'_>, usize, bool) -> Result<Option<usize>, Refused>,
) -> Outcome {
    let (positions, next) = walk(options, length);
    let (mut count, mut bytes) = (0, 0);
    for index in positions.clone() {
        if let Some(length) = item(c, index, false)? {
            count += 1;
            bytes += length;
        }
    }
    c.reserve_reply(bytes, count * parts + 4)?;
    c.out.array(2);
    c.out.bulk(alloc::format!("{next}").as_bytes());
    c.out.array(count * parts);
    for index in positions {
        item(c, index, true)?;
    }
    Ok(())
}

/// Writes the reply for a key that does not exist.
fn nothing(c: &mut Context<'_>) -> Outcome {
    c.out.array(2);
    c.out.bulk(b"0");
    c.out.array(0);
    Ok(())
}

fn matches(options: &Options<'_>, name: &[u8]) -> bool {
    options.pattern.is_none_or(|pattern| glob::matches(pattern, name))
}

pub(crate) fn scan(c: &mut Context<'_>) -> Outcome {
    let options = options(c, 1, true)?;
    let length = c.store.len();
    reply(c, &options, length, 1, |c, index, write| {
        let Some((key, kind, expired)) = c.store.key_at(index, c.now) else { return Ok(None) };
        let wanted = options.kind.is_none_or(|wanted| wanted.eq_ignore_ascii_case(kind.as_bytes()));
        if expired || !wanted || !matches(&options, key) {
            return Ok(None);
        }
        if write {
            c.out.bulk(key);
        }
        Ok(Some(key.len()))
    })
}

pub(crate) fn sscan(c: &mut Context<'_>) -> Outcome {
    let (key, _) = (c.arg(1), cursor(c, 2)?);
    // As in Redis, the options are checked only if the key exists.
    let Some(length) = c.store.set_value(key, c.now)?.map(|value| value.len()) else {
        return nothing(c);
    };
    let options = options(c, 2, false)?;
    reply(c, &options, length, 1, |c, index, write| {
        let set = c.store.set_value(key, c.now)?;
        let member = set.and_then(|set| set.at(index).map(|(member, ())| member));
        let Some(member) = member.filter(|member| matches(&options, member)) else {
            return Ok(None);
        };
        if write {
            c.out.bulk(member);
        }
        Ok(Some(member.len()))
    })
}

pub(crate) fn hscan(c: &mut Context<'_>) -> Outcome {
    let (key, _) = (c.arg(1), cursor(c, 2)?);
    // As in Redis, the options are checked only if the key exists.
    let Some(length) = c.store.hash(key, c.now)?.map(|value| value.len()) else {
        return nothing(c);
    };
    let options = options(c, 2, false)?;
    reply(c, &options, length, 2, |c, index, write| {
        let hash = c.store.hash(key, c.now)?;
        let field = hash.and_then(|hash| hash.at(index));
        let Some((field, value)) = field.filter(|(field, _)| matches(&options, field)) else {
            return Ok(None);
        };
        if write {
            c.out.bulk(field);
            c.out.bulk(value);
        }
        Ok(Some(field.len() + value.len()))
    })
}

pub(crate) fn zscan(c: &mut Context<'_>) -> Outcome {
    let (key, _) = (c.arg(1), cursor(c, 2)?);
    // As in Redis, the options are checked only if the key exists.
    let Some(length) = c.store.zset(key, c.now)?.map(|value| value.len()) else {
        return nothing(c);
    };
    let options = options(c, 2, false)?;
    reply(c, &options, length, 2, |c, index, write| {
        let set = c.store.zset(key, c.now)?;
        let member = set.and_then(|set| set.at(index));
        let Some((member, score)) = member.filter(|(member, _)| matches(&options, member)) else {
            return Ok(None);
        };
        if write {
            c.out.bulk(member);
            c.out.bulk(number::print_double(score).as_bytes());
        }
        Ok(Some(member.len() + 32))
    })
}
