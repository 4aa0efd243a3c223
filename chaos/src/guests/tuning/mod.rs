// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes the memory and the vCPUs of running guests, and sends keys to them.

mod error;
mod memory;
mod vcpus;

use xen::units::DomId;

use super::error::LifecycleError;
use super::host::Host;
use super::pause::existing;
use super::resolve::examine;
use crate::announce::xenstore::XenStorePaths;
use crate::config::Discovery;
use crate::hypervisor::Hypervisor;
use crate::records::Record;

pub use error::TuningError;
pub use memory::{MemoryOutcome, set_memory, set_memory_limit};
pub use vcpus::{send_sysrq, set_vcpus};

/// Returns the record of a guest that has not ended.
fn record_of<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<Record, LifecycleError> {
    let domid = existing(host, target)?;
    Ok(examine(host, domid)?.record(target)?.clone())
}

/// Returns the paths in XenStore of a guest that finds its devices there.
///
/// # Errors
/// It finds them in the device page, for the reason `why` of which there is no such request.
fn paths(
    record: &Record,
    doing: &'static str,
    why: &'static str,
) -> Result<XenStorePaths, TuningError> {
    match record.config.store.discovery() {
        Discovery::XenStore => Ok(paths_of(record.domid, record)),
        Discovery::DevicePage => {
            Err(TuningError::NoRequest { doing, name: record.name().to_owned(), why })
        }
    }
}

fn paths_of(domid: DomId, record: &Record) -> XenStorePaths {
    XenStorePaths { domid, handle: record.handle }
}
