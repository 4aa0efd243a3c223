// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands on keys of any type.

use super::context::{Context, Outcome};
use crate::error::Refused;
use crate::glob;

pub(crate) fn del(c: &mut Context<'_>) -> Outcome {
    let now = c.now;
    let mut removed = 0;
    for key in c.args.from(1) {
        removed += usize::from(c.store.remove(key, now));
    }
    c.out.count(removed);
    Ok(())
}

pub(crate) fn exists(c: &mut Context<'_>) -> Outcome {
    let now = c.now;
    let there = c.args.from(1).filter(|key| c.store.get(key, now).is_some()).count();
    c.out.count(there);
    Ok(())
}

pub(crate) fn type_name(c: &mut Context<'_>) -> Outcome {
    let name = c.store.get(c.arg(1), c.now).map_or("none", |value| value.type_name());
    c.out.simple(name);
    Ok(())
}

pub(crate) fn keys(c: &mut Context<'_>) -> Outcome {
    let (pattern, now) = (c.arg(1), c.now);
    let found = |index: usize, c: &Context<'_>| {
        let (key, _, expired) = c.store.key_at(index, now)?;
        (!expired && glob::matches(pattern, key)).then_some(key.len())
    };
    let positions = 0..c.store.len();
    let (count, bytes) = positions
        .clone()
        .filter_map(|index| found(index, c))
        .fold((0, 0), |(count, bytes), length| (count + 1, bytes + length));
    c.reserve_reply(bytes, count + 1)?;
    c.out.array(count);
    for index in positions {
        if found(index, c).is_some()
            && let Some((key, _, _)) = c.store.key_at(index, now)
        {
            c.out.bulk(key);
        }
    }
    Ok(())
}

pub(crate) fn randomkey(c: &mut Context<'_>) -> Outcome {
    let memory = c.store.memory();
    let key = c.store.random_key(c.now);
    c.out.reserve(memory, key.map_or(0, <[u8]>::len), 1)?;
    c.out.maybe_bulk(key);
    Ok(())
}

fn move_key(c: &mut Context<'_>) -> Outcome {
    let (from, to) = (c.arg(1), c.arg(2));
    if from == to {
        return Ok(());
    }
    // Make room for the new name before the old one is removed.
    c.store.make_room(1)?;
    if let Some((value, expires)) = c.store.take(from) {
        c.store.set(to, value, false, c.now)?;
        if let Some(at) = expires {
            c.store.expire_at(to, at);
        }
    }
    Ok(())
}

pub(crate) fn rename(c: &mut Context<'_>) -> Outcome {
    if c.store.get(c.arg(1), c.now).is_none() {
        return Err(Refused::NoSuchKey);
    }
    move_key(c)?;
    c.out.ok();
    Ok(())
}

pub(crate) fn renamenx(c: &mut Context<'_>) -> Outcome {
    if c.store.get(c.arg(1), c.now).is_none() {
        return Err(Refused::NoSuchKey);
    }
    let free = c.store.get(c.arg(2), c.now).is_none();
    if free {
        move_key(c)?;
    }
    c.out.flag(free);
    Ok(())
}
