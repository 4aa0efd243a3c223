// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands on lists.

use super::context::{Context, Outcome};
use super::index::{position, range};
use crate::bytes::Bytes;
use crate::error::{Refused, other};
use crate::memory::data_room;
use crate::number;
use crate::value::{List, needs_settling};

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

fn push(c: &mut Context<'_>, end: End, only_if_there: bool) -> Outcome {
    let (key, now, memory) = (c.arg(1), c.now, c.store.memory());
    if only_if_there && c.store.list(key, now)?.is_none() {
        c.out.integer(0);
        return Ok(());
    }
    let list = c.store.make_list(key, now)?;
    if let Err(refused) = data_room(memory, list, c.args.len() - 2) {
        c.store.settle(key);
        return Err(refused);
    }
    for value in c.args.from(2) {
        match end {
            End::Left => list.push_front(Bytes::from(value)),
            End::Right => list.push_back(Bytes::from(value)),
        }
    }
    c.out.count(list.len());
    Ok(())
}

pub(crate) fn lpush(c: &mut Context<'_>) -> Outcome {
    push(c, End::Left, false)
}

pub(crate) fn rpush(c: &mut Context<'_>) -> Outcome {
    push(c, End::Right, false)
}

pub(crate) fn lpushx(c: &mut Context<'_>) -> Outcome {
    push(c, End::Left, true)
}

pub(crate) fn rpushx(c: &mut Context<'_>) -> Outcome {
    push(c, End::Right, true)
}

fn pop(c: &mut Context<'_>, end: End) -> Outcome {
    if c.args.len() > 3 {
        return c.arity();
    }
    let count = match c.args.len() {
        3 => Some(positive(c, 2)?),
        _ => None,
    };
    let (key, memory) = (c.arg(1), c.store.memory());
    let Some(list) = c.store.list_mut(key, c.now)? else {
        match count {
            Some(_) => c.out.null_array(),
            None => c.out.null(),
        }
        return Ok(());
    };
    let taken = count.unwrap_or(1).min(list.len());
    // Make room for the reply before anything is removed.
    let range = match end {
        End::Left => list.range(..taken),
        End::Right => list.range(list.len() - taken..),
    };
    c.out.reserve(memory, range.map(|value| value.len()).sum(), taken + 1)?;
    if count.is_some() {
        c.out.array(taken);
    }
    for _ in 0..taken {
        let value = match end {
            End::Left => list.pop_front(),
            End::Right => list.pop_back(),
        };
        if let Some(value) = value {
            c.out.bulk(&value);
        }
    }
    if needs_settling(list) {
        c.store.settle(key);
    }
    Ok(())
}

pub(crate) fn lpop(c: &mut Context<'_>) -> Outcome {
    pop(c, End::Left)
}

pub(crate) fn rpop(c: &mut Context<'_>) -> Outcome {
    pop(c, End::Right)
}

pub(crate) fn llen(c: &mut Context<'_>) -> Outcome {
    let length = c.store.list(c.arg(1), c.now)?.map_or(0, List::len);
    c.out.count(length);
    Ok(())
}

pub(crate) fn lindex(c: &mut Context<'_>) -> Outcome {
    let (key, now, memory) = (c.arg(1), c.now, c.store.memory());
    let Some(list) = c.store.list(key, now)? else {
        c.out.null();
        return Ok(());
    };
    let index = number::integer(c.args.get(2))?;
    let value = position(index, list.len()).and_then(|index| list.get(index));
    c.out.reserve(memory, value.map_or(0, |value| value.len()), 1)?;
    c.out.maybe_bulk(value.map(|value| &**value));
    Ok(())
}

pub(crate) fn lrange(c: &mut Context<'_>) -> Outcome {
    let (start, end) = (c.integer(2)?, c.integer(3)?);
    let memory = c.store.memory();
    let Some(list) = c.store.list(c.arg(1), c.now)? else {
        c.out.array(0);
        return Ok(());
    };
    let range = range(start, end, list.len());
    let bytes = list.range(range.clone()).map(|value| value.len()).sum();
    c.out.reserve(memory, bytes, range.len() + 1)?;
    c.out.array(range.len());
    list.range(range).for_each(|value| c.out.bulk(value));
    Ok(())
}

pub(crate) fn lset(c: &mut Context<'_>) -> Outcome {
    let value = c.arg(3);
    let Some(list) = c.store.list_mut(c.arg(1), c.now)? else { return Err(Refused::NoSuchKey) };
    let index = number::integer(c.args.get(2))?;
    let slot = position(index, list.len()).and_then(|index| list.get_mut(index));
    *slot.ok_or(Refused::OutOfRange)? = Bytes::from(value);
    c.out.ok();
    Ok(())
}

pub(crate) fn lrem(c: &mut Context<'_>) -> Outcome {
    let (count, value) = (c.integer(2)?, c.arg(3));
    let Some(list) = c.store.list_mut(c.arg(1), c.now)? else {
        c.out.integer(0);
        return Ok(());
    };
    // A fast path for the usual case: remove one element, without scanning the rest of the list.
    if let 1 | -1 = count {
        let same = |item: &Bytes| **item == *value;
        let place =
            if count > 0 { list.iter().position(same) } else { list.iter().rposition(same) };
        let found = place.and_then(|place| list.remove(place)).is_some();
        c.store.settle(c.arg(1));
        c.out.flag(found);
        return Ok(());
    }
    let matching = list.iter().filter(|item| ***item == *value).count();
    let wanted = match number::saturating_usize(count.unsigned_abs()) {
        0 => matching,
        wanted => wanted.min(matching),
    };
    // With a negative count, remove the last matching elements, otherwise the first ones.
    let keep_first = if count < 0 { matching - wanted } else { 0 };
    let mut seen = 0;
    list.retain(|item| {
        if **item != *value {
            return true;
        }
        seen += 1;
        seen <= keep_first || seen > keep_first + wanted
    });
    c.store.settle(c.arg(1));
    c.out.count(wanted);
    Ok(())
}

pub(crate) fn ltrim(c: &mut Context<'_>) -> Outcome {
    let (start, end) = (c.integer(2)?, c.integer(3)?);
    if let Some(list) = c.store.list_mut(c.arg(1), c.now)? {
        let range = range(start, end, list.len());
        list.truncate(range.end);
        list.drain(..range.start.min(list.len()));
    }
    c.store.settle(c.arg(1));
    c.out.ok();
    Ok(())
}

/// Returns an argument that must be a count, for the commands that pop.
pub(crate) fn positive(c: &Context<'_>, index: usize) -> Result<usize, Refused> {
    match c.integer(index).ok().and_then(|count| usize::try_from(count).ok()) {
        Some(count) => Ok(count),
        None => other("ERR value is out of range, must be positive"),
    }
}
