// SPDX-License-Identifier: GPL-3.0-or-later
//! How many of its vCPUs a guest uses, and the keys that its kernel gets. For both, dom0 writes a node
//! that the kernel watches.

use super::{TuningError, paths, record_of};
use crate::guests::error::LifecycleError;
use crate::guests::host::Host;
use crate::hypervisor::Hypervisor;

/// Asks a guest to use only the first `vcpus` of its vCPUs. It does so later, if its kernel supports
/// it.
///
/// # Errors
/// There is no such guest, it has fewer vCPUs, its devices are in the device page, or XenStore refuses.
pub fn set_vcpus<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    vcpus: u32,
) -> Result<(), LifecycleError> {
    let record = record_of(host, target)?;
    let why = "it has no request for vCPUs, and the runtime unikernel uses one";
    let paths = paths(&record, "change the vCPUs of", why)?;
    let has = record.config.max_vcpus();
    if vcpus > has {
        let name = record.name().to_owned();
        return Err(TuningError::TooManyVcpus { name, wanted: vcpus, has }.into());
    }
    Ok(host.xenstored.call(|connection| paths.set_vcpus(connection, vcpus, has))?)
}

/// Sends the letter of a magic SysRq key to a guest's kernel. Whether it is Linux, and what it does, is
/// not known.
///
/// # Errors
/// There is no such guest, its devices are in the device page, or XenStore refuses.
pub fn send_sysrq<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    letter: char,
) -> Result<(), LifecycleError> {
    let record = record_of(host, target)?;
    let why = "it has no request for keys, which are Linux'; see chaos trigger for an NMI";
    let paths = paths(&record, "send a key to", why)?;
    Ok(host.xenstored.call(|connection| paths.send_sysrq(connection, letter))?)
}
