//! Guests that have ended, for whoever supervises them.

use xen::units::{DomId, DomainHandle};

use super::resolve::{Condition, Guest, GuestState, examine};
use super::{Destroyed, Host, LifecycleError, announced, destroy};
use crate::config::Action;
use crate::records::Record;

/// A guest that has ended by itself, with its record.
#[derive(Clone, Debug)]
pub struct EndedGuest {
    guest: Guest,
    handle: DomainHandle,
    /// Its record.
    pub record: Record,
}

impl EndedGuest {
    /// Its handle.
    #[must_use]
    pub fn handle(&self) -> DomainHandle {
        self.handle
    }

    /// How it ended.
    #[must_use]
    pub fn state(&self) -> GuestState {
        self.guest.state()
    }
}

/// Domains that have shut down by themselves and are still there, whoever has made them. Costs one
/// hypercall: no record is read.
///
/// # Errors
/// Xen refuses to tell.
pub fn ended(host: &Host) -> Result<Vec<(DomId, DomainHandle)>, LifecycleError> {
    let all = host.xen.domain_list(DomId::DOM0)?.into_iter();
    let ended = all.filter(|info| info.state.shutdown.is_some() && !info.state.dying);
    Ok(ended.map(|info| (info.domid, info.handle)).collect())
}

/// The guest with this number, if it is one of ours and has powered off, asked for a reboot, or
/// crashed.
///
/// # Errors
/// Xen refuses to tell.
pub fn ended_guest(host: &Host, domid: DomId) -> Result<Option<EndedGuest>, LifecycleError> {
    let guest = examine(host, domid)?;
    let (Condition::Guest(record), Some(info)) = (&guest.condition, &guest.info) else {
        return Ok(None);
    };
    let by_itself = matches!(
        guest.state(),
        GuestState::PoweredOff | GuestState::Rebooted | GuestState::Crashed
    );
    let (handle, record) = (info.handle, Record::clone(record));
    Ok(by_itself.then_some(EndedGuest { guest, handle, record }))
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
    let (old, domid) = (record.name().to_owned(), ended.guest.domid);
    // Its addresses are free before its name is: whoever was killed on the way does it again.
    host.records.forget_devices(domid)?;
    let place = announced::place_of(&record);
    match place {
        Some(place) => place.withdraw_devices()?,
        None => destroy::detach(host, &ended.guest)?,
    }
    let mut names = (1..u32::MAX).map(|number| format!("{old}-{number}"));
    record.config.name = loop {
        let name = names.next().unwrap_or_else(|| old.clone());
        match host.records.holder(&name)? {
            None => {
                host.records.reserve_name(&name, domid, None)?;
                break name;
            }
            // A predecessor of this process got so far.
            Some(holder) if holder == domid && name != old => break name,
            Some(_) => {}
        }
    };
    if let Some(place) = place {
        place.rename(record.name())?;
    }
    // Whatever it was to do is done by its successor.
    let config = &mut record.config;
    (config.on_poweroff, config.on_reboot, config.on_crash) =
        (Action::Preserve, Action::Preserve, Action::Preserve);
    let _lock = host.records.lock(domid)?;
    host.records.replace(&record)?;
    host.records.remove_name(&old)?;
    Ok(record.config.name)
}
