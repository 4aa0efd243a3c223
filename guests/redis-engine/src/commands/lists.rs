//! Lists.

use alloc::boxed::Box;

use super::{Context, Outcome, position, range};
use crate::error::{Refused, other};
use crate::memory::data_room;
use crate::number;
use crate::value::List;

/// Which end of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

fn push(c: &mut Context<'_>, end: End, only_if_there: bool) -> Outcome {
    let (key, now) = (c.arg(1), c.now);
    let length = c.store.list(key, now)?.map(List::len);
    if only_if_there && length.is_none() {
        c.out.integer(0);
        return Ok(());
    }
    let (more, memory) = (c.args.len() - 2, c.store.memory());
    let room = data_room(memory, c.store.make_list(key, now)?, more);
    if let Err(refused) = room.and_then(|()| c.store.need(c.args.total(), more)) {
        c.store.drop_if_spent(key);
        return Err(refused);
    }
    let list = c.store.make_list(key, now)?;
    for value in c.args.from(2) {
        match end {
            End::Left => list.push_front(Box::from(value)),
            End::Right => list.push_back(Box::from(value)),
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
    let (key, now) = (c.arg(1), c.now);
    let Some(length) = c.store.list(key, now)?.map(List::len) else {
        match count {
            Some(_) => c.out.null_array(),
            None => c.out.null(),
        }
        return Ok(());
    };
    let taken = count.unwrap_or(1).min(length);
    // Nothing is taken out that the reply has no room for.
    let bytes = c.store.list(key, now)?.map_or(0, |list| {
        let taken = match end {
            End::Left => list.range(..taken),
            End::Right => list.range(length - taken..),
        };
        taken.map(|value| value.len()).sum()
    });
    c.reserve_reply(bytes, taken + 1)?;
    if count.is_some() {
        c.out.array(taken);
    }
    for _ in 0..taken {
        let Some(list) = c.store.list_mut(key, now)? else { break };
        let value = match end {
            End::Left => list.pop_front(),
            End::Right => list.pop_back(),
        };
        if let Some(value) = value {
            c.out.bulk(&value);
        }
    }
    c.store.drop_if_spent(key);
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
    c.out.reserve(memory, value.map_or(0, |value| value.len()) + 32)?;
    c.out.maybe_bulk(value.map(|value| &**value));
    Ok(())
}

pub(crate) fn lrange(c: &mut Context<'_>) -> Outcome {
    let (start, end) = (c.integer(2)?, c.integer(3)?);
    let (key, now) = (c.arg(1), c.now);
    let (range, bytes) = match c.store.list(key, now)? {
        Some(list) => {
            let range = range(start, end, list.len());
            let bytes = list.range(range.clone()).map(|value| value.len()).sum();
            (range, bytes)
        }
        None => (0..0, 0),
    };
    c.reserve_reply(bytes, range.len() + 1)?;
    c.out.array(range.len());
    if let Some(list) = c.store.list(key, now)? {
        for value in list.range(range) {
            c.out.bulk(value);
        }
    }
    Ok(())
}

pub(crate) fn lset(c: &mut Context<'_>) -> Outcome {
    let value = c.arg(3);
    let Some(list) = c.store.list_mut(c.arg(1), c.now)? else { return Err(Refused::NoSuchKey) };
    let index = number::integer(c.args.get(2))?;
    let slot = position(index, list.len()).and_then(|index| list.get_mut(index));
    *slot.ok_or(Refused::OutOfRange)? = Box::from(value);
    c.out.ok();
    Ok(())
}

pub(crate) fn lrem(c: &mut Context<'_>) -> Outcome {
    let (count, value) = (c.integer(2)?, c.arg(3));
    let Some(list) = c.store.list_mut(c.arg(1), c.now)? else {
        c.out.integer(0);
        return Ok(());
    };
    let matching = list.iter().filter(|item| &***item == value).count();
    let wanted = match usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) {
        0 => matching,
        wanted => wanted.min(matching),
    };
    // From the head the first ones go, from the tail the last ones.
    let keep_first = if count < 0 { matching - wanted } else { 0 };
    let mut seen = 0;
    list.retain(|item| {
        if &**item != value {
            return true;
        }
        seen += 1;
        seen <= keep_first || seen > keep_first + wanted
    });
    c.store.drop_if_spent(c.arg(1));
    c.out.count(wanted);
    Ok(())
}

pub(crate) fn ltrim(c: &mut Context<'_>) -> Outcome {
    let (start, end) = (c.integer(2)?, c.integer(3)?);
    if let Some(list) = c.store.list_mut(c.arg(1), c.now)? {
        let range = range(start, end, list.len());
        list.truncate(range.end);
        list.drain(..range.start.min(list.len()));
        if list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
    }
    c.store.drop_if_spent(c.arg(1));
    c.out.ok();
    Ok(())
}

/// A word that must be a count; shared by the commands that pop.
pub(crate) fn positive(c: &Context<'_>, index: usize) -> Result<usize, Refused> {
    match c.integer(index).ok().and_then(|count| usize::try_from(count).ok()) {
        Some(count) => Ok(count),
        None => other("ERR value is out of range, must be positive"),
    }
}
