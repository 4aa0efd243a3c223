// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes the core file of a guest.

use std::path::Path;

use xen::units::{DomId, Pages};

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::pause::note_pause;
use super::resolve::{Guest, resolve};
use crate::dump::{CoreFile, CoreSubject, CoreSummary, DumpError, write_core};

/// Writes the core file of a guest, which may have ended. A running guest is paused meanwhile. The file
/// replaces one of this name, as xl does, but only when it is complete. `should_stop` is called for
/// each MiB of memory and for each page table.
///
/// # Errors
/// There is no such guest, another process is creating it, another toolstack created the domain, Xen
/// refuses, or the file cannot be written. Then a guest that ran runs again, and nothing is left of the
/// file.
pub fn dump_core(
    host: &Host,
    target: &str,
    path: &Path,
    should_stop: &mut dyn FnMut() -> bool,
) -> Result<CoreSummary, LifecycleError> {
    let guest = resolve(host, target)?;
    dump_to(host, &guest, target, path, should_stop)
        .map_err(|error| error.about("dump the core of", target))
}

/// As [`dump_core`], of a guest that was found before. `target` is how the user called it.
///
/// # Errors
/// As [`dump_core`].
pub fn dump_to(
    host: &Host,
    guest: &Guest,
    target: &str,
    path: &Path,
    should_stop: &mut dyn FnMut() -> bool,
) -> Result<CoreSummary, LifecycleError> {
    let no_such_guest = || LifecycleError::NoSuchGuest { target: target.to_owned() };
    let info = guest.info.filter(|info| !info.state.dying).ok_or_else(no_such_guest)?;
    let (name, kernel) = match &guest.condition {
        Condition::Guest(record) => {
            let kernel = record.config.kernel.file_name().unwrap_or_default();
            (record.name().to_owned(), kernel.to_string_lossy().into_owned())
        }
        // Its kernel is not known, but its state is all the more of interest.
        Condition::Unrecorded => (target.to_owned(), String::new()),
        _ => return Err(guest.record(target).err().unwrap_or_else(no_such_guest)),
    };
    let new = CoreFile::create(path)?;
    let memory = Pages(info.max_pages.0.max(info.tot_pages.0));
    let subject = CoreSubject { domid: guest.domid, memory, name: &name, kernel: &kernel };
    let pause = Pause::new(host, guest.domid)?;
    let summary = write_core(&host.xen, subject, new.file(), should_stop)?;
    // Of a domain that is being destroyed, pages are missing.
    let now = host.xen.domain_info(guest.domid)?;
    if !now.is_some_and(|now| now.handle == info.handle && !now.state.dying) {
        return Err(DumpError::Destroyed.into());
    }
    pause.end()?;
    new.complete()?;
    Ok(summary)
}

/// A pause of a guest. Pauses are counted, so a guest that was paused before stays so afterwards.
struct Pause<'a> {
    host: &'a Host,
    domid: DomId,
    has_ended: bool,
}

impl<'a> Pause<'a> {
    fn new(host: &'a Host, domid: DomId) -> Result<Self, LifecycleError> {
        host.xen.pause(domid)?;
        let pause = Self { host, domid, has_ended: false };
        note_pause(host, domid)?;
        Ok(pause)
    }

    fn end(mut self) -> Result<(), LifecycleError> {
        self.has_ended = true;
        Ok(self.host.xen.unpause(self.domid)?)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            // The error that is being reported says more than one of this call, which means that
            // the domain is gone.
            let _ = self.host.xen.unpause(self.domid);
        }
    }
}
