// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's console and its log.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::resolve;
use crate::backends;
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::RecordError;

/// Connects to a guest's console.
///
/// # Errors
/// There is no such guest, it has no console, or another client uses it.
pub fn console<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<OwnedFd, LifecycleError> {
    let guest = resolve(host, target)?;
    let (Condition::Guest(record), Some(info)) = (&guest.condition, &guest.info) else {
        return Err(LifecycleError::NoSuchGuest { target: target.to_owned() });
    };
    if !record.config.console {
        return Err(LifecycleError::NoConsole { name: record.name().to_owned() });
    }
    let id = DomainIdentity { domid: guest.domid, handle: info.handle };
    let console = backends::console(record.config.store.backends(), host.links(), id);
    console.map_err(|error| {
        LifecycleError::from(error).about("connect to the console of", record.name())
    })
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
