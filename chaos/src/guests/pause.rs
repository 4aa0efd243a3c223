// SPDX-License-Identifier: GPL-3.0-or-later
//! Pauses and unpauses guests.

use nix::errno::Errno;
use xen::Error;
use xen::units::DomId;

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::{examine, resolve};
use crate::hypervisor::Hypervisor;

/// Pauses a guest.
///
/// # Errors
/// There is no such guest, it has ended, another process is creating it, or Xen refuses.
pub fn pause<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<(), LifecycleError> {
    let domid = existing(host, target)?;
    host.xen.pause(domid)?;
    note_pause(host, domid)
}

/// Notes in the record of a guest that it is paused, if it has never run. To be called after each
/// pause.
pub(super) fn note_pause<H: Hypervisor>(
    host: &Host<H>,
    domid: DomId,
) -> Result<(), LifecycleError> {
    let guest = examine(host, domid)?;
    let has_run = guest.info.is_some_and(|info| info.cpu_time_ns > 0);
    // Without this mark, a paused guest that has never run is taken for incomplete.
    if let Condition::Guest(_) | Condition::Creating | Condition::Incomplete = guest.condition
        && !has_run
    {
        let _lock = host.records.lock(domid)?;
        if let Some(mut record) = host.records.read(domid)? {
            record.paused = true;
            host.records.replace(&record)?;
        }
    }
    Ok(())
}

/// Unpauses a guest. One that is not paused keeps running.
///
/// # Errors
/// As [`pause`].
pub fn unpause<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<(), LifecycleError> {
    match host.xen.unpause(existing(host, target)?) {
        // It is not paused.
        Err(Error::Hypercall { errno: Errno::EINVAL, .. }) => Ok(()),
        result => Ok(result?),
    }
}

/// Returns the domid of a guest that exists.
pub(super) fn existing<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
) -> Result<DomId, LifecycleError> {
    let found = resolve(host, target)?;
    match (&found.info, &found.condition) {
        (Some(_), Condition::Creating) => Err(LifecycleError::BeingCreated { domid: found.domid }),
        (Some(_), Condition::Shell) => Err(LifecycleError::Shell { domid: found.domid }),
        (Some(_), Condition::Guest(record)) if found.end().is_some() => {
            let (name, state) = (record.name().to_owned(), found.state());
            Err(LifecycleError::HasEnded { name, state })
        }
        (Some(_), Condition::Guest(_) | Condition::Unrecorded) => Ok(found.domid),
        _ => Err(LifecycleError::NoSuchGuest { target: target.to_owned() }),
    }
}
