//! A guest's console and what it has printed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use noxs_control::DomainId;
use xen::units::DomId;

use super::resolve::{Condition, resolve};
use super::{Host, LifecycleError};
use crate::announce::xenstore;
use crate::config::Store;
use crate::records::RecordError;

/// Connects to a guest's console.
///
/// # Errors
/// There is no such guest, it has no console, or somebody else uses it.
pub fn console(host: &Host, target: &str) -> Result<OwnedFd, LifecycleError> {
    let guest = resolve(host, target)?;
    let (Condition::Guest(record), Some(info)) = (&guest.condition, &guest.info) else {
        return Err(LifecycleError::NoSuchGuest { target: target.to_owned() });
    };
    if !record.config.console {
        return Err(LifecycleError::NoConsole { name: record.name().to_owned() });
    }
    if record.config.store == Store::XenStore {
        return terminal(guest.domid);
    }
    let id = DomainId { domid: guest.domid.0, handle: info.handle.0 };
    host.noxsd.connect().and_then(|noxsd| noxsd.console(id)).map_err(|error| {
        LifecycleError::from(error).about("connect to the console of", record.name())
    })
}

/// The terminal that xenconsoled has made for a guest in XenStore mode.
pub(super) fn terminal(domid: DomId) -> Result<OwnedFd, LifecycleError> {
    let path = xenstore::terminal(domid)?;
    let options = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = open(path.as_str(), options, Mode::empty());
    let path = PathBuf::from(path);
    Ok(opened.map_err(|errno| RecordError::File { doing: "open", path, source: errno.into() })?)
}

/// What a guest's console has printed, as far as it is kept.
///
/// # Errors
/// There is no such guest, it has no console, or the log cannot be read.
pub fn read_log(host: &Host, target: &str) -> Result<Vec<u8>, LifecycleError> {
    let guest = resolve(host, target)?;
    if let Condition::Guest(record) = &guest.condition
        && record.config.store == Store::XenStore
    {
        return Err(LifecycleError::NoLog { name: record.name().to_owned() });
    }
    let path = host.records.console_log(guest.domid);
    fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LifecycleError::NoConsole { name: guest.label() },
        _ => RecordError::File { doing: "read", path, source }.into(),
    })
}
