// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands on hashes.

use super::context::{Context, Outcome};
use crate::bytes::Bytes;
use crate::error::{Refused, other};
use crate::number;
use crate::value::Hash;

/// Returns the hash, which is created if it does not exist, with room for `fields` more fields.
fn room<'s>(c: &'s mut Context<'_>, fields: usize) -> Result<&'s mut Hash, Refused> {
    let (key, memory) = (c.arg(1), c.store.memory());
    if let Err(refused) = c.store.make_hash(key, c.now)?.room(memory, fields) {
        c.store.settle(key);
        return Err(refused);
    }
    c.store.make_hash(key, c.now)
}

/// Sets one field, and returns whether it is new.
fn put(hash: &mut Hash, field: &[u8], value: &[u8]) -> bool {
    match hash.get_mut(field) {
        Some(old) => {
            *old = Bytes::from(value);
            false
        }
        None => {
            hash.add(Bytes::from(field), Bytes::from(value));
            true
        }
    }
}

fn put_pairs(c: &mut Context<'_>) -> Result<usize, Refused> {
    if !c.args.len().is_multiple_of(2) {
        return c.arity();
    }
    let args = c.args;
    let hash = room(c, args.len() / 2 - 1)?;
    let pairs = (2..args.len()).step_by(2);
    Ok(pairs.filter(|pair| put(hash, args.get(*pair), args.get(pair + 1))).count())
}

pub(crate) fn hset(c: &mut Context<'_>) -> Outcome {
    let added = put_pairs(c)?;
    c.out.count(added);
    Ok(())
}

pub(crate) fn hmset(c: &mut Context<'_>) -> Outcome {
    put_pairs(c)?;
    c.out.ok();
    Ok(())
}

pub(crate) fn hsetnx(c: &mut Context<'_>) -> Outcome {
    let field = c.arg(2);
    let there = c.store.hash(c.arg(1), c.now)?.is_some_and(|hash| hash.contains(field));
    if !there {
        let value = c.arg(3);
        put(room(c, 1)?, field, value);
    }
    c.out.flag(!there);
    Ok(())
}

pub(crate) fn hincrby(c: &mut Context<'_>) -> Outcome {
    let (field, by) = (c.arg(2), c.integer(3)?);
    let old = match c.store.hash(c.arg(1), c.now)?.and_then(|hash| hash.get(field)) {
        Some(value) => match number::integer(value) {
            Ok(value) => value,
            Err(_) => return other("ERR hash value is not an integer"),
        },
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Refused::Overflow)?;
    put(room(c, 1)?, field, alloc::format!("{new}").as_bytes());
    c.out.integer(new);
    Ok(())
}

pub(crate) fn hget(c: &mut Context<'_>) -> Outcome {
    let (field, memory) = (c.arg(2), c.store.memory());
    let value = c.store.hash(c.arg(1), c.now)?.and_then(|hash| hash.get(field));
    c.out.reserve(memory, value.map_or(0, |value| value.len()), 1)?;
    c.out.maybe_bulk(value.map(|value| &**value));
    Ok(())
}

pub(crate) fn hmget(c: &mut Context<'_>) -> Outcome {
    let memory = c.store.memory();
    let hash = c.store.hash(c.arg(1), c.now)?;
    c.out.reserve(memory, 0, c.args.len())?;
    c.out.array(c.args.len() - 2);
    for field in c.args.from(2) {
        let value = hash.and_then(|hash| hash.get(field));
        c.out.reserve(memory, value.map_or(0, |value| value.len()), 1)?;
        c.out.maybe_bulk(value.map(|value| &**value));
    }
    Ok(())
}

pub(crate) fn hdel(c: &mut Context<'_>) -> Outcome {
    let mut removed = 0;
    if let Some(hash) = c.store.hash_mut(c.arg(1), c.now)? {
        for field in c.args.from(2) {
            removed += usize::from(hash.remove(field).is_some());
        }
    }
    c.store.settle(c.arg(1));
    c.out.count(removed);
    Ok(())
}

pub(crate) fn hlen(c: &mut Context<'_>) -> Outcome {
    let count = c.store.hash(c.arg(1), c.now)?.map_or(0, Hash::len);
    c.out.count(count);
    Ok(())
}

pub(crate) fn hexists(c: &mut Context<'_>) -> Outcome {
    let field = c.arg(2);
    let there = c.store.hash(c.arg(1), c.now)?.is_some_and(|hash| hash.contains(field));
    c.out.flag(there);
    Ok(())
}

pub(crate) fn hstrlen(c: &mut Context<'_>) -> Outcome {
    let field = c.arg(2);
    let value = c.store.hash(c.arg(1), c.now)?.and_then(|hash| hash.get(field));
    let length = value.map_or(0, |value| value.len());
    c.out.count(length);
    Ok(())
}

/// Replies with fields, values, or both.
fn all(c: &mut Context<'_>, fields: bool, values: bool) -> Outcome {
    let memory = c.store.memory();
    let hash = c.store.hash(c.arg(1), c.now)?;
    let bytes = |(field, value): (&Bytes, &Bytes)| field.len() + value.len();
    let (count, bytes) = hash.map_or((0, 0), |hash| (hash.len(), hash.iter().map(bytes).sum()));
    c.out.reserve(memory, bytes, 2 * count + 1)?;
    if fields && values {
        c.out.map(count);
    } else {
        c.out.array(count);
    }
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        if fields {
            c.out.bulk(field);
        }
        if values {
            c.out.bulk(value);
        }
    }
    Ok(())
}

pub(crate) fn hgetall(c: &mut Context<'_>) -> Outcome {
    all(c, true, true)
}

pub(crate) fn hkeys(c: &mut Context<'_>) -> Outcome {
    all(c, true, false)
}

pub(crate) fn hvals(c: &mut Context<'_>) -> Outcome {
    all(c, false, true)
}
