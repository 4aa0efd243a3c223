// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands about the expiry of keys.

use super::context::{Context, Outcome};
use crate::error::{Refused, other};
use crate::number::saturating_i64;

/// The options that follow the time.
#[derive(Clone, Copy, Default)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

fn condition(c: &Context<'_>) -> Result<Condition, Refused> {
    let Condition { mut nx, mut xx, mut gt, mut lt } = Condition::default();
    for index in 3..c.args.len() {
        match () {
            () if c.args.is(index, "nx") => nx = true,
            () if c.args.is(index, "xx") => xx = true,
            () if c.args.is(index, "gt") => gt = true,
            () if c.args.is(index, "lt") => lt = true,
            () => {
                return other(alloc::format!("ERR Unsupported option {}", c.shown(index)));
            }
        }
    }
    if nx && (xx || gt || lt) {
        return other("ERR NX and XX, GT or LT options at the same time are not compatible");
    }
    if gt && lt {
        return other("ERR GT and LT options at the same time are not compatible");
    }
    Ok(Condition { nx, xx, gt, lt })
}

impl Condition {
    fn holds(self, current: Option<u64>, new: u64) -> bool {
        // A key without an expiry counts as one that expires at the end of time.
        let current_or_never = current.unwrap_or(u64::MAX);
        let hindered = (self.nx && current.is_some())
            || (self.xx && current.is_none())
            || (self.gt && new <= current_or_never)
            || (self.lt && new >= current_or_never);
        !hindered
    }
}

fn expire_at(c: &mut Context<'_>, unit: i64, absolute: bool, command: &'static str) -> Outcome {
    let condition = condition(c)?;
    let time = c.integer(2)?;
    let base = if absolute { 0 } else { saturating_i64(c.now) };
    let at = time.checked_mul(unit).and_then(|ms| ms.checked_add(base));
    let at = u64::try_from(at.ok_or(Refused::InvalidExpire(command))?.max(0)).unwrap_or(0);
    let key = c.arg(1);
    let there = c.store.get(key, c.now).is_some();
    let current = c.store.expiry(key);
    let done = there && condition.holds(current, at);
    if done && at <= c.now {
        c.store.remove(key, c.now);
    } else if done {
        c.store.expire_at(key, at);
    }
    c.out.flag(done);
    Ok(())
}

pub(crate) fn expire(c: &mut Context<'_>) -> Outcome {
    expire_at(c, 1000, false, "expire")
}

pub(crate) fn pexpire(c: &mut Context<'_>) -> Outcome {
    expire_at(c, 1, false, "pexpire")
}

pub(crate) fn expireat(c: &mut Context<'_>) -> Outcome {
    expire_at(c, 1000, true, "expireat")
}

pub(crate) fn pexpireat(c: &mut Context<'_>) -> Outcome {
    expire_at(c, 1, true, "pexpireat")
}

/// Replies with what `time` returns for the key's expiry and the current time; with -1 if the key
/// never expires, and -2 if it does not exist.
fn tell(c: &mut Context<'_>, time: impl FnOnce(u64, u64) -> u64) -> Outcome {
    let there = c.store.get(c.arg(1), c.now).is_some();
    let reply = match c.store.expiry(c.arg(1)) {
        Some(at) => saturating_i64(time(at, c.now)),
        None if there => -1,
        None => -2,
    };
    c.out.integer(reply);
    Ok(())
}

pub(crate) fn ttl(c: &mut Context<'_>) -> Outcome {
    tell(c, |at, now| (at.saturating_sub(now) + 500) / 1000)
}

pub(crate) fn pttl(c: &mut Context<'_>) -> Outcome {
    tell(c, u64::saturating_sub)
}

pub(crate) fn expiretime(c: &mut Context<'_>) -> Outcome {
    tell(c, |at, _| (at + 500) / 1000)
}

pub(crate) fn pexpiretime(c: &mut Context<'_>) -> Outcome {
    tell(c, |at, _| at)
}

pub(crate) fn persist(c: &mut Context<'_>) -> Outcome {
    let there = c.store.get(c.arg(1), c.now).is_some();
    let had = there && c.store.persist(c.arg(1));
    c.out.flag(had);
    Ok(())
}
