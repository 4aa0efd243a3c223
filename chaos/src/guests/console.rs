// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's console and its log.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use noxs_control::{ConsoleRole, ConsoleUse};

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::resolve;
use super::state::GuestState;
use crate::backends;
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::RecordError;

/// A connection to a guest's console.
#[derive(Debug)]
pub struct GuestConsole {
    /// The connection.
    pub connection: OwnedFd,
    /// Whether what is typed goes to the guest, or another client types.
    pub role: ConsoleRole,
    /// The guest's name.
    pub name: String,
    /// Why the guest prints nothing for now, if it is paused or suspended.
    pub idle: Option<GuestState>,
}

/// Connects to a guest's console, for a terminal or only for its output.
///
/// # Errors
/// The guest does not exist, has ended, or has no console; or too many clients use the console; or
/// its output is to be followed, and no log of it is kept.
pub fn console<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    usage: ConsoleUse,
) -> Result<GuestConsole, LifecycleError> {
    let guest = resolve(host, target)?;
    let state = guest.state();
    let record = match &guest.condition {
        Condition::Guest(record) => record,
        Condition::Creating => return Err(LifecycleError::BeingCreated { domid: guest.domid }),
        Condition::Shell => return Err(LifecycleError::Shell { domid: guest.domid }),
        Condition::Gone => return Err(LifecycleError::Ended { name: target.to_owned(), state }),
        _ => return Err(LifecycleError::NoRecord { target: target.to_owned() }),
    };
    let Some(info) = guest.info.as_ref().filter(|_| !state.has_ended()) else {
        return Err(LifecycleError::Ended { name: record.name().to_owned(), state });
    };
    if !record.config.console {
        return Err(LifecycleError::NoConsole { name: record.name().to_owned() });
    }
    let backends = record.config.store.backends();
    if usage == ConsoleUse::Log && !backends::keep_console_log(backends) {
        return Err(LifecycleError::NoLog { name: record.name().to_owned() });
    }
    let id = DomainIdentity { domid: guest.domid, handle: info.handle };
    let console = backends::console(backends, host.links(), id, usage);
    let (connection, role) = console.map_err(|error| {
        LifecycleError::from(error).about("connect to the console of", record.name())
    })?;
    let idle = matches!(state, GuestState::Paused | GuestState::Suspended).then_some(state);
    Ok(GuestConsole { connection, role, name: record.name().to_owned(), idle })
}

/// Returns the log of a guest's console.
///
/// # Errors
/// There is no such guest, it has no console, or the log cannot be read.
pub fn read_log<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<Vec<u8>, LifecycleError> {
    let guest = resolve(host, target)?;
    if let Condition::Guest(record) = &guest.condition
        && !backends::keep_console_log(record.config.store.backends())
    {
        return Err(LifecycleError::NoLog { name: record.name().to_owned() });
    }
    let path = host.records.console_log(guest.domid);
    fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LifecycleError::NoConsole { name: guest.label() },
        _ => RecordError::File { doing: "read", path, source }.into(),
    })
}
