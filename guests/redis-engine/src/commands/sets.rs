//! Sets.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::lists::positive;
use super::{Context, Outcome};
use crate::error::Refused;
use crate::memory::data_room;
use crate::value::Set;

pub(crate) fn sadd(c: &mut Context<'_>) -> Outcome {
    let (key, now) = (c.arg(1), c.now);
    let (more, memory) = (c.args.len() - 2, c.store.memory());
    let room = data_room(memory, c.store.make_set(key, now)?, more);
    if let Err(refused) = room.and_then(|()| c.store.need(c.args.total(), more)) {
        c.store.drop_if_spent(key);
        return Err(refused);
    }
    let set = c.store.make_set(key, now)?;
    let mut added = 0;
    for member in c.args.from(2) {
        if !set.contains(member) {
            added += usize::from(set.insert(Box::from(member)));
        }
    }
    c.out.count(added);
    Ok(())
}

pub(crate) fn srem(c: &mut Context<'_>) -> Outcome {
    let mut removed = 0;
    if let Some(set) = c.store.set_mut(c.arg(1), c.now)? {
        for member in c.args.from(2) {
            removed += usize::from(set.swap_remove(member));
        }
    }
    c.store.drop_if_spent(c.arg(1));
    c.out.count(removed);
    Ok(())
}

pub(crate) fn scard(c: &mut Context<'_>) -> Outcome {
    let count = c.store.set_value(c.arg(1), c.now)?.map_or(0, Set::len);
    c.out.count(count);
    Ok(())
}

pub(crate) fn sismember(c: &mut Context<'_>) -> Outcome {
    let member = c.arg(2);
    let there = c.store.set_value(c.arg(1), c.now)?.is_some_and(|set| set.contains(member));
    c.out.flag(there);
    Ok(())
}

pub(crate) fn smembers(c: &mut Context<'_>) -> Outcome {
    let (key, now) = (c.arg(1), c.now);
    let (count, bytes) = c
        .store
        .set_value(key, now)?
        .map_or((0, 0), |set| (set.len(), set.iter().map(|member| member.len()).sum()));
    c.reserve_reply(bytes, count + 1)?;
    c.out.set(count);
    if let Some(set) = c.store.set_value(key, now)? {
        for member in set {
            c.out.bulk(member);
        }
    }
    Ok(())
}

pub(crate) fn spop(c: &mut Context<'_>) -> Outcome {
    let (key, now) = (c.arg(1), c.now);
    let count = match c.args.len() {
        2 => None,
        3 => Some(positive(c, 2)?),
        _ => return Err(Refused::Syntax),
    };
    let length = c.store.set_value(key, now)?.map_or(0, Set::len);
    // Nothing is taken out that the reply may have no room for.
    let taken = count.unwrap_or(1).min(length);
    let bytes = c.store.set_value(key, now)?.map_or(0, |set| {
        let lengths = set.iter().map(|member| member.len());
        match taken == length {
            true => lengths.sum(),
            false => lengths.max().unwrap_or(0).saturating_mul(taken),
        }
    });
    c.reserve_reply(bytes, taken + 1)?;
    if count.is_some() {
        c.out.set(taken);
    } else if length == 0 {
        c.out.null();
    }
    for left in (0..length).rev().take(taken) {
        let index = c.store.random.below(left + 1);
        let Some(set) = c.store.set_mut(key, now)? else { break };
        if let Some(member) = set.swap_remove_index(index) {
            c.out.bulk(&member);
        }
    }
    c.store.drop_if_spent(key);
    Ok(())
}

pub(crate) fn srandmember(c: &mut Context<'_>) -> Outcome {
    let (key, now) = (c.arg(1), c.now);
    let length = c.store.set_value(key, now)?.map_or(0, Set::len);
    let chosen: Vec<usize> = match c.args.len() {
        2 if length == 0 => {
            c.out.null();
            return Ok(());
        }
        2 => alloc::vec![c.store.random.below(length)],
        3 => {
            let count = c.integer(2)?;
            let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            let chosen = if count >= 0 { wanted.min(length) } else { wanted };
            let chosen = if length == 0 { 0 } else { chosen };
            c.store.need(chosen.saturating_mul(size_of::<usize>()), 0)?;
            c.out.array(chosen);
            choose(c, length, chosen, count >= 0)
        }
        _ => return Err(Refused::Syntax),
    };
    for index in chosen {
        let length = c.store.set_value(key, now)?.and_then(|set| Some(set.get_index(index)?.len()));
        c.reserve_reply(length.unwrap_or(0), 1)?;
        let set = c.store.set_value(key, now)?;
        c.out.maybe_bulk(set.and_then(|set| Some(&**set.get_index(index)?)));
    }
    Ok(())
}

/// Chooses positions at random; distinct ones by a walk that takes each with the right chance.
fn choose(c: &mut Context<'_>, length: usize, count: usize, distinct: bool) -> Vec<usize> {
    if !distinct {
        return (0..count).map(|_| c.store.random.below(length)).collect();
    }
    let mut left = count;
    (0..length)
        .filter(|index| {
            let take = left > 0 && c.store.random.below(length - index) < left;
            left -= usize::from(take);
            take
        })
        .collect()
}
