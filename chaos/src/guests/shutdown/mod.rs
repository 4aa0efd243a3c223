// SPDX-License-Identifier: GPL-3.0-or-later
//! Asks a guest to shut down. Each way of discovery has a channel of its own for the request; a
//! third way is a file beside the two and a branch in [`shutdown`].

mod device_page;
mod options;
mod xenstore;

use noxs::Request;
use serde::Serialize;
use xen::units::Gfn;

use super::destroy;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::{Guest, examine, resolve};
use super::state::GuestState;
use super::watch::DomainWatch;
use crate::config::{Action, Discovery};
use crate::hypervisor::Hypervisor;

pub use self::options::ShutdownOptions;
use self::options::timed_out;

/// The outcome of a request to shut down.
#[derive(Clone, Debug, Serialize)]
pub struct ShutdownOutcome {
    /// The guest's name.
    pub name: String,
    /// Its number.
    pub domid: u16,
    /// Its state at the end of the operation.
    pub state: GuestState,
    /// Whether it was destroyed.
    pub destroyed: bool,
    /// What is done with it when it has ended as it was asked to.
    #[serde(skip)]
    pub action: Action,
}

/// Asks a guest to shut down.
///
/// # Errors
/// There is no such guest, it does not support the request, it takes too long, or it has ended
/// already, without `wait`.
pub fn shutdown<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    options: ShutdownOptions,
) -> Result<ShutdownOutcome, LifecycleError> {
    let guest = resolve(host, target)?;
    let domid = guest.domid;
    shut_down(host, guest, target, options).map_err(|error| match error {
        LifecycleError::TimedOut { name, after, .. }
            if examine(host, domid).is_ok_and(|now| now.state() == GuestState::Paused) =>
        {
            LifecycleError::IsPaused { name, after }
        }
        error => error,
    })
}

fn shut_down<H: Hypervisor>(
    host: &Host<H>,
    guest: Guest,
    target: &str,
    options: ShutdownOptions,
) -> Result<ShutdownOutcome, LifecycleError> {
    let record = guest.record(target)?;
    // Read it before the guest exits: chaosd may remove it with the guest.
    let config = host.records.with_next(record)?.config;
    if let Some(state) = guest.end().filter(|_| !options.wait) {
        return Err(LifecycleError::HasEnded { name: record.name().to_owned(), state });
    }
    let deadline = options.deadline();
    // Watch before the request is sent, so that no exit is missed. Without `wait`, the watch only
    // serves to notice that the guest exits instead of answering.
    let mut watch = match DomainWatch::start(host) {
        Err(error) if options.wait => return Err(error),
        watch => watch.ok(),
    };
    let pages = match guest.state().has_ended() {
        true => None,
        // As long as they are mapped, Xen remembers how the guest has shut down, even if chaosd
        // destroys it first.
        false => Some(match record.config.store.discovery() {
            Discovery::DevicePage => {
                let [page, answer] =
                    device_page::ask(host, &guest, record, options, deadline, watch.as_mut())?;
                (page, Some(answer))
            }
            Discovery::XenStore => {
                let page = host.xen.map_page(guest.domid, Gfn(0))?;
                xenstore::ask(host, &guest, record, options, deadline)?;
                (page, None)
            }
        }),
    };
    let mut now = examine(host, guest.domid)?;
    if let Some(watch) = watch.as_mut().filter(|_| options.wait) {
        while !now.state().has_ended() {
            let is_late = !watch.wait(deadline)?;
            now = examine(host, guest.domid)?;
            if is_late && !now.state().has_ended() {
                return Err(timed_out(record, "exited", options));
            }
        }
    }
    drop(pages);
    // A guest that had exited before the request may be gone by now.
    let state = now.end().or_else(|| guest.end()).unwrap_or_else(|| now.state());
    let is_left = |now: &Guest| now.info.as_ref().is_some_and(|info| record.handle == info.handle);
    let mut destroyed = false;
    if let Some(watch) = watch.as_mut().filter(|_| options.wait) {
        let is_removed = state.action(&config) == Action::Destroy;
        if is_removed && options.is_supervised {
            while is_left(&now) {
                let is_late = !watch.wait(deadline)?;
                now = examine(host, guest.domid)?;
                if is_late && is_left(&now) {
                    return Err(timed_out(record, "been removed by chaosd", options));
                }
            }
        } else if is_removed && is_left(&now) {
            destroy::remove(host, &guest)?;
        }
        destroyed = is_removed || !is_left(&now);
    }
    let action = match options.request {
        Request::Reboot => config.on_reboot,
        _ => config.on_poweroff,
    };
    Ok(ShutdownOutcome {
        name: record.name().to_owned(),
        domid: record.domid.0,
        state,
        destroyed,
        action,
    })
}
