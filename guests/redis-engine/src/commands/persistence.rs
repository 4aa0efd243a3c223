// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that save the data.

use alloc::string::String;
use core::fmt::Write;

use super::context::{Context, Outcome};
use crate::error::{Refused, other};
use crate::number::saturating_i64;
use crate::store::NotStarted;

/// Refuses because no snapshot was started.
fn refuse(why: NotStarted) -> Outcome {
    other(match why {
        NotStarted::Running => "ERR Background save already in progress",
        NotStarted::NoDisk => {
            "ERR no disk to save to: add disk = ['FILE,raw,xvda,w'] to the guest's config"
        }
        NotStarted::ReadOnly => {
            "ERR the disk is read-only: change r to w in disk = [...] of the guest's config"
        }
    })
}

pub(crate) fn save(c: &mut Context<'_>) -> Outcome {
    match c.store.save(c.now) {
        Ok(Ok(())) => c.out.ok(),
        Ok(Err(error)) => return other(alloc::format!("ERR not saved: {error}")),
        Err(why) => return refuse(why),
    }
    Ok(())
}

pub(crate) fn bgsave(c: &mut Context<'_>) -> Outcome {
    if c.args.len() > 1 && !(c.args.len() == 2 && c.args.is(1, "schedule")) {
        return Err(Refused::Syntax);
    }
    match c.store.start_snapshot(c.now) {
        Ok(()) => c.out.simple("Background saving started"),
        Err(why) => return refuse(why),
    }
    Ok(())
}

pub(crate) fn lastsave(c: &mut Context<'_>) -> Outcome {
    c.out.integer(saturating_i64(c.store.saves.last_ms / 1000));
    Ok(())
}

/// Writes the section `Persistence` of `INFO`.
pub(crate) fn info(c: &Context<'_>, text: &mut String) {
    let (saves, since) = (c.store.saves, c.store.saving_since());
    let seconds = |seconds: Option<u64>| seconds.map_or(-1, saturating_i64);
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "# Persistence\r\nloading:0\r\nrdb_changes_since_last_save:{}\r\n\
         rdb_bgsave_in_progress:{}\r\nrdb_last_save_time:{}\r\nrdb_last_bgsave_status:{}\r\n\
         rdb_last_bgsave_time_sec:{}\r\nrdb_current_bgsave_time_sec:{}\r\nrdb_saves:{}\r\n\
         rdb_last_load_keys_expired:{}\r\nrdb_last_load_keys_loaded:{}\r\naof_enabled:0\r\n\r\n",
        c.store.changes,
        u8::from(since.is_some()),
        saves.last_ms / 1000,
        if saves.background_ok { "ok" } else { "err" },
        seconds(saves.background_seconds),
        seconds(since.map(|since| c.now.saturating_sub(since) / 1000)),
        saves.saves,
        saves.expired,
        saves.loaded,
    );
}
