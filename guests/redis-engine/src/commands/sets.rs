// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands on sets.

use super::context::{Context, Outcome};
use super::lists::positive;
use crate::bytes::Bytes;
use crate::error::Refused;
use crate::number::saturating_usize;
use crate::random::Random;
use crate::value::Set;

pub(crate) fn sadd(c: &mut Context<'_>) -> Outcome {
    let (key, now) = (c.arg(1), c.now);
    let (more, memory) = (c.args.len() - 2, c.store.memory());
    let set = c.store.make_set(key, now)?;
    if let Err(refused) = set.room(memory, more) {
        c.store.settle(key);
        return Err(refused);
    }
    let mut added = 0;
    for member in c.args.from(2) {
        if !set.contains(member) {
            set.add(Bytes::from(member), ());
            added += 1;
        }
    }
    c.out.count(added);
    Ok(())
}

pub(crate) fn srem(c: &mut Context<'_>) -> Outcome {
    let mut removed = 0;
    if let Some(set) = c.store.set_mut(c.arg(1), c.now)? {
        for member in c.args.from(2) {
            removed += usize::from(set.remove(member).is_some());
        }
    }
    c.store.settle(c.arg(1));
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
    let memory = c.store.memory();
    let set = c.store.set_value(c.arg(1), c.now)?;
    let (count, bytes) =
        set.map_or((0, 0), |set| (set.len(), set.iter().map(|(member, ())| member.len()).sum()));
    c.out.reserve(memory, bytes, count + 1)?;
    c.out.set(count);
    set.into_iter().flat_map(Set::iter).for_each(|(member, ())| c.out.bulk(member));
    Ok(())
}

pub(crate) fn spop(c: &mut Context<'_>) -> Outcome {
    let count = match c.args.len() {
        2 => None,
        3 => Some(positive(c, 2)?),
        _ => return Err(Refused::Syntax),
    };
    let (key, memory) = (c.arg(1), c.store.memory());
    let mut random = c.store.random.clone();
    let Some(set) = c.store.set_mut(key, c.now)? else {
        match count {
            Some(_) => c.out.set(0),
            None => c.out.null(),
        }
        return Ok(());
    };
    match count {
        None => {
            let index = random.below(set.len());
            let bytes = set.at(index).map_or(0, |(member, ())| member.len());
            c.out.reserve(memory, bytes, 1)?;
            c.out.maybe_bulk(set.remove_at(index).as_ref().map(|(member, ())| &**member));
        }
        Some(count) => {
            let taken = count.min(set.len());
            // Make room for the reply before anything is removed. The members are chosen only when
            // they are removed, so assume that each is as long as the longest.
            let lengths = set.iter().map(|(member, ())| member.len());
            let bytes = if taken == set.len() {
                lengths.sum()
            } else {
                lengths.max().unwrap_or(0).saturating_mul(taken)
            };
            c.out.reserve(memory, bytes, taken + 1)?;
            c.out.set(taken);
            for _ in 0..taken {
                let index = random.below(set.len());
                if let Some((member, ())) = set.remove_at(index) {
                    c.out.bulk(&member);
                }
            }
        }
    }
    if set.is_empty() || set.is_wasteful() {
        c.store.settle(key);
    }
    c.store.random = random;
    Ok(())
}

pub(crate) fn srandmember(c: &mut Context<'_>) -> Outcome {
    let count = match c.args.len() {
        2 => None,
        3 => Some(c.integer(2)?),
        _ => return Err(Refused::Syntax),
    };
    let memory = c.store.memory();
    let mut random = c.store.random.clone();
    let Some(set) = c.store.set_value(c.arg(1), c.now)? else {
        match count {
            Some(_) => c.out.array(0),
            None => c.out.null(),
        }
        return Ok(());
    };
    let Some(count) = count else {
        let member = set.at(random.below(set.len())).map(|(member, ())| member);
        c.out.reserve(memory, member.map_or(0, |member| member.len()), 1)?;
        c.out.maybe_bulk(member.map(|member| &**member));
        c.store.random = random;
        return Ok(());
    };
    // Make the same choice twice: once for the length of the reply, and once to write it.
    let most = memory.total();
    let (mut members, mut bytes) = (0, 0_usize);
    for member in choose(set, &mut random.clone(), count) {
        members += 1;
        bytes = bytes.saturating_add(member.len());
        // Stop when the reply can no longer fit, because the count may be huge.
        if bytes.saturating_add(members) > most {
            return Err(Refused::OutOfMemory);
        }
    }
    c.out.reserve(memory, bytes, members + 1)?;
    c.out.array(members);
    choose(set, &mut random, count).for_each(|member| c.out.bulk(member));
    c.store.random = random;
    Ok(())
}

/// Returns `count` different random members; if `count` is negative, that many members which may
/// repeat.
fn choose<'s>(set: &'s Set, random: &mut Random, count: i64) -> impl Iterator<Item = &'s [u8]> {
    let wanted = saturating_usize(count.unsigned_abs());
    let distinct = count >= 0;
    let steps = if distinct { set.len() } else { wanted };
    let mut left = if distinct { wanted.min(set.len()) } else { wanted };
    let chosen = (0..steps).map_while(move |step| {
        if left == 0 {
            return None;
        }
        // Selection sampling: choose each member with the probability that the number still wanted
        // has among the members that are left.
        let index = if distinct { step } else { random.below(set.len()) };
        let takes = !distinct || random.below(set.len() - step) < left;
        left -= usize::from(takes);
        Some(takes.then_some(index))
    });
    chosen.flatten().filter_map(|index| set.at(index)).map(|(member, ())| &**member)
}
