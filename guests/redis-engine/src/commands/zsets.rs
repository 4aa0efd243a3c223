// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands on sorted sets.

use core::ops::Range;

use super::context::{Context, Outcome};
use super::index::range;
use super::lists::positive;
use crate::error::{Refused, other};
use crate::number;
use crate::zset::{Bound, SortedSet};

/// The most characters of a double in a reply.
const PRINTED_DOUBLE: usize = 32;

/// The options between the key of `ZADD` and the first score.
#[derive(Default)]
struct AddOptions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    changed: bool,
    increment: bool,
}

pub(crate) fn zadd(c: &mut Context<'_>) -> Outcome {
    let mut options = AddOptions::default();
    let mut at = 2;
    loop {
        match () {
            () if c.args.is(at, "nx") => options.nx = true,
            () if c.args.is(at, "xx") => options.xx = true,
            () if c.args.is(at, "gt") => options.gt = true,
            () if c.args.is(at, "lt") => options.lt = true,
            () if c.args.is(at, "ch") => options.changed = true,
            () if c.args.is(at, "incr") => options.increment = true,
            () => break,
        }
        at += 1;
    }
    let count = c.args.len() - at;
    if count == 0 || !count.is_multiple_of(2) {
        return Err(Refused::Syntax);
    }
    if options.nx && options.xx {
        return other("ERR XX and NX options at the same time are not compatible");
    }
    if (options.gt && options.lt) || (options.nx && (options.gt || options.lt)) {
        return other("ERR GT, LT, and/or NX options at the same time are not compatible");
    }
    if options.increment && count > 2 {
        return other("ERR INCR option supports a single increment-element pair");
    }
    // Check all scores before storing the first one. Parse them again later, because a list of them
    // would need memory.
    for index in (at..c.args.len()).step_by(2) {
        c.float(index)?;
    }
    room(c, count / 2)?;
    let (mut added, mut changed, mut last) = (0, 0, None);
    for index in (at..c.args.len()).step_by(2) {
        match add(c, &options, c.arg(index + 1), c.float(index)?)? {
            Added::New(score) => {
                added += 1;
                last = Some(score);
            }
            Added::Changed(score) => {
                changed += 1;
                last = Some(score);
            }
            Added::Same(score) => last = Some(score),
            Added::Refused => last = None,
        }
    }
    c.store.settle(c.arg(1));
    match (options.increment, last) {
        (true, Some(score)) => c.out.double(score),
        (true, None) => c.out.null(),
        (false, _) => c.out.count(added + if options.changed { changed } else { 0 }),
    }
    Ok(())
}

enum Added {
    New(f64),
    Changed(f64),
    Same(f64),
    Refused,
}

/// Creates the sorted set if it does not exist, and makes room in it for `members` more.
fn room(c: &mut Context<'_>, members: usize) -> Outcome {
    let (key, memory) = (c.arg(1), c.store.memory());
    if let Err(refused) = c.store.make_zset(key, c.now)?.room(memory, members) {
        c.store.settle(key);
        return Err(refused);
    }
    Ok(())
}

/// Adds or changes one member. Room must have been made.
fn add(
    c: &mut Context<'_>,
    options: &AddOptions,
    member: &[u8],
    score: f64,
) -> Result<Added, Refused> {
    let set = c.store.make_zset(c.arg(1), c.now)?;
    let old = set.score(member);
    let Some(old) = old else {
        if options.xx {
            return Ok(Added::Refused);
        }
        set.insert(member, score);
        return Ok(Added::New(score));
    };
    let new = if options.increment { old + score } else { score };
    if new.is_nan() {
        return Err(Refused::NotANumberResult);
    }
    if options.nx || (options.gt && new <= old) || (options.lt && new >= old) {
        return Ok(if options.increment { Added::Refused } else { Added::Same(old) });
    }
    #[allow(clippy::float_cmp)] // only exactly the same score counts as unchanged
    if new == old {
        return Ok(Added::Same(new));
    }
    set.insert(member, new);
    Ok(Added::Changed(new))
}

pub(crate) fn zincrby(c: &mut Context<'_>) -> Outcome {
    let (by, member) = (c.float(2)?, c.arg(3));
    let options = AddOptions { increment: true, ..AddOptions::default() };
    room(c, 1)?;
    if let Added::New(score) | Added::Changed(score) | Added::Same(score) =
        add(c, &options, member, by)?
    {
        c.out.double(score);
    }
    Ok(())
}

pub(crate) fn zrem(c: &mut Context<'_>) -> Outcome {
    let mut removed = 0;
    if let Some(set) = c.store.zset_mut(c.arg(1), c.now)? {
        for member in c.args.from(2) {
            removed += usize::from(set.remove(member));
        }
    }
    c.store.settle(c.arg(1));
    c.out.count(removed);
    Ok(())
}

pub(crate) fn zcard(c: &mut Context<'_>) -> Outcome {
    let count = c.store.zset(c.arg(1), c.now)?.map_or(0, SortedSet::len);
    c.out.count(count);
    Ok(())
}

pub(crate) fn zscore(c: &mut Context<'_>) -> Outcome {
    let member = c.arg(2);
    match c.store.zset(c.arg(1), c.now)?.and_then(|set| set.score(member)) {
        Some(score) => c.out.double(score),
        None => c.out.null(),
    }
    Ok(())
}

pub(crate) fn zrank(c: &mut Context<'_>) -> Outcome {
    let member = c.arg(2);
    match c.store.zset(c.arg(1), c.now)?.and_then(|set| set.rank(member)) {
        Some(rank) => c.out.count(rank),
        None => c.out.null(),
    }
    Ok(())
}

fn pop(c: &mut Context<'_>, highest: bool) -> Outcome {
    let (key, now) = (c.arg(1), c.now);
    let count = match c.args.len() {
        2 => None,
        3 => Some(positive(c, 2)?),
        _ => return Err(Refused::Syntax),
    };
    // Without a count, the reply is a flat pair in RESP3 too.
    let nested = c.out.is_resp3() && count.is_some();
    let memory = c.store.memory();
    let Some(set) = c.store.zset_mut(key, now)? else {
        c.out.array(0);
        return Ok(());
    };
    let taken = count.unwrap_or(1).min(set.len());
    // Make room for the reply before anything is removed.
    let bytes = |(member, _): (&[u8], f64)| member.len() + PRINTED_DOUBLE;
    let bytes = if highest {
        set.iter().rev().take(taken).map(bytes).sum()
    } else {
        set.iter().take(taken).map(bytes).sum()
    };
    c.out.reserve(memory, bytes, 3 * taken + 1)?;
    c.out.array(if nested { taken } else { 2 * taken });
    for _ in 0..taken {
        let Some((member, score)) = set.pop(highest) else { break };
        if nested {
            c.out.array(2);
        }
        c.out.bulk(&member);
        c.out.double(score);
    }
    if set.needs_settling() {
        c.store.settle(key);
    }
    Ok(())
}

pub(crate) fn zpopmin(c: &mut Context<'_>) -> Outcome {
    pop(c, false)
}

pub(crate) fn zpopmax(c: &mut Context<'_>) -> Outcome {
    pop(c, true)
}

/// Parses a bound of a range of scores: a number, which is excluded if it follows a `(`.
fn bound(word: &[u8]) -> Result<Bound, Refused> {
    let (exclusive, word) = match word.strip_prefix(b"(") {
        Some(word) => (true, word),
        None => (false, word),
    };
    let score = number::bound(word).ok_or(Refused::MinMax)?;
    Ok(Bound { score, exclusive })
}

pub(crate) fn zcount(c: &mut Context<'_>) -> Outcome {
    let (low, high) = (bound(c.arg(2))?, bound(c.arg(3))?);
    let count = c.store.zset(c.arg(1), c.now)?.map_or(0, |set| {
        set.iter_from(low).take_while(|(_, score)| high.admits_below(*score)).count()
    });
    c.out.count(count);
    Ok(())
}

/// The options of `ZRANGE` and `ZRANGEBYSCORE`.
#[derive(Default)]
struct RangeOptions {
    by_score: bool,
    reverse: bool,
    with_scores: bool,
    limit: Option<(i64, i64)>,
}

fn range_options(c: &Context<'_>, by_score: bool) -> Result<RangeOptions, Refused> {
    let mut options = RangeOptions { by_score, ..RangeOptions::default() };
    let mut at = 4;
    while at < c.args.len() {
        match () {
            () if c.args.is(at, "withscores") => options.with_scores = true,
            () if c.args.is(at, "byscore") && !by_score => options.by_score = true,
            () if c.args.is(at, "rev") && !by_score => options.reverse = true,
            () if c.args.is(at, "limit") && at + 2 < c.args.len() => {
                options.limit = Some((c.integer(at + 1)?, c.integer(at + 2)?));
                at += 2;
            }
            () => return Err(Refused::Syntax),
        }
        at += 1;
    }
    if options.limit.is_some() && !options.by_score {
        return other(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        );
    }
    Ok(options)
}

/// The range of `ZRANGE` and `ZRANGEBYSCORE`.
enum Ends {
    Indices(i64, i64),
    Scores(Bound, Bound),
}

fn ends(c: &Context<'_>, options: &RangeOptions) -> Result<Ends, Refused> {
    if !options.by_score {
        return Ok(Ends::Indices(c.integer(2)?, c.integer(3)?));
    }
    // With REV the higher bound comes first.
    let (low, high) = if options.reverse { (3, 2) } else { (2, 3) };
    let bound = |index| bound(c.arg(index));
    Ok(Ends::Scores(bound(low)?, bound(high)?))
}

/// Visits the members in the range, in order.
fn each<'s>(
    set: &'s SortedSet,
    ends: &Ends,
    options: &RangeOptions,
    visit: impl FnMut((&'s [u8], f64)),
) {
    let (offset, count) = match options.limit {
        Some((offset, count)) => (
            usize::try_from(offset).unwrap_or(usize::MAX),
            usize::try_from(count).unwrap_or(usize::MAX),
        ),
        None => (0, usize::MAX),
    };
    match *ends {
        Ends::Indices(start, end) => {
            let Range { start, end } = range(start, end, set.len());
            if options.reverse {
                set.iter().rev().skip(start).take(end - start).for_each(visit);
            } else {
                set.iter().skip(start).take(end - start).for_each(visit);
            }
        }
        Ends::Scores(low, high) if options.reverse => {
            set.iter_back(low, high).skip(offset).take(count).for_each(visit);
        }
        Ends::Scores(low, high) => {
            let inside = set.iter_from(low).take_while(|(_, score)| high.admits_below(*score));
            inside.skip(offset).take(count).for_each(visit);
        }
    }
}

fn reply_range(c: &mut Context<'_>, by_score: bool) -> Outcome {
    let options = range_options(c, by_score)?;
    let ends = ends(c, &options)?;
    let memory = c.store.memory();
    let Some(set) = c.store.zset(c.arg(1), c.now)? else {
        c.out.array(0);
        return Ok(());
    };
    // Visit the members twice: once for the length of the reply, and once to write it.
    let (mut count, mut bytes) = (0, 0);
    each(set, &ends, &options, |(member, _)| {
        count += 1;
        bytes += member.len() + if options.with_scores { PRINTED_DOUBLE } else { 0 };
    });
    let nested = options.with_scores && c.out.is_resp3();
    let flat = if options.with_scores { 2 } else { 1 };
    c.out.reserve(memory, bytes, (flat + usize::from(nested)) * count + 1)?;
    c.out.array(if nested { count } else { flat * count });
    each(set, &ends, &options, |(member, score)| {
        if nested {
            c.out.array(2);
        }
        c.out.bulk(member);
        if options.with_scores {
            c.out.double(score);
        }
    });
    Ok(())
}

pub(crate) fn zrange(c: &mut Context<'_>) -> Outcome {
    reply_range(c, false)
}

pub(crate) fn zrangebyscore(c: &mut Context<'_>) -> Outcome {
    reply_range(c, true)
}
