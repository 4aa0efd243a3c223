//! Guests that have ended, for whoever supervises them.

use xen::units::DomId;

use super::resolve::{Condition, Guest, GuestState, judge};
use super::{Destroyed, Host, LifecycleError, announced, destroy};
use crate::config::Action;
use crate::record::Record;

/// A guest that has ended by itself, with its record.
#[derive(Clone, Debug)]
pub struct EndedGuest {
    guest: Guest,
    /// Its record.
    pub record: Record,
}

impl EndedGuest {
    /// How it ended.
    #[must_use]
    pub fn state(&self) -> GuestState {
        self.guest.state()
    }
}

/// The guests that have powered off, asked for a reboot, or crashed, and are still there.
///
/// # Errors
/// Xen refuses to tell.
pub fn ended(host: &Host) -> Result<Vec<EndedGuest>, LifecycleError> {
    let mut ended = Vec::new();
    for info in host.xen.domain_list(DomId::DOM0)? {
        // Most guests run: their records need not be read.
        if info.state.shutdown.is_none() || info.state.dying {
            continue;
        }
        let guest = judge(host, info.domid, Some(info))?;
        if let Condition::Guest(record) = &guest.condition
            && matches!(
                guest.state(),
                GuestState::PoweredOff | GuestState::Rebooted | GuestState::Crashed
            )
        {
            let record = Record::clone(record);
            ended.push(EndedGuest { guest, record });
        }
    }
    Ok(ended)
}

/// Takes a guest away that has ended.
///
/// # Errors
/// Xen refuses.
pub fn remove_ended(host: &Host, ended: &EndedGuest) -> Result<Destroyed, LifecycleError> {
    destroy::remove(host, &ended.guest)
}

/// Keeps a guest that has ended under the first free name of `NAME-1`, `NAME-2`, …, without its
/// devices, so that another can have its name and its addresses. Gives the new name.
///
/// # Errors
/// The record cannot be changed, or `noxsd` does not answer.
pub fn rename_ended(host: &Host, ended: &EndedGuest) -> Result<String, LifecycleError> {
    let mut record = ended.record.clone();
    let (old, domid) = (record.name.clone(), ended.guest.domid);
    // Its addresses are free before its name is: whoever was killed on the way does it again.
    host.records.forget_devices(domid)?;
    let place = announced::place_of(&record);
    match place {
        Some(place) => place.withdraw_devices()?,
        None => destroy::detach(host, &ended.guest)?,
    }
    let mut names = (1..u32::MAX).map(|number| format!("{old}-{number}"));
    record.name = loop {
        let name = names.next().unwrap_or_else(|| old.clone());
        match host.records.holder(&name)? {
            None => {
                host.records.reserve_name(&name, domid)?;
                break name;
            }
            // A predecessor of this process got so far.
            Some(holder) if holder == domid && name != old => break name,
            Some(_) => {}
        }
    };
    if let Some(place) = place {
        place.rename(&record.name)?;
    }
    // Whatever it was to do is done by its successor.
    (record.on_poweroff, record.on_reboot, record.on_crash) =
        (Action::Preserve, Action::Preserve, Action::Preserve);
    let _lock = host.records.lock(domid)?;
    host.records.replace(&record)?;
    host.records.remove_name(&old)?;
    Ok(record.name)
}
