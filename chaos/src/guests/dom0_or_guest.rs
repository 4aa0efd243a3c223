// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds the domain whose CPUs a command changes.

use xen::units::DomId;

use super::error::LifecycleError;
use super::host::Host;
use super::pause::existing;
use crate::config::DOM0;
use crate::hypervisor::Hypervisor;

/// Returns dom0's domid for its name or number, or else that of a guest of chaos.
///
/// # Errors
/// There is no such guest, it has ended, another process is creating it, another toolstack created
/// the domain, or Xen refuses.
pub fn dom0_or_guest<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<DomId, LifecycleError> {
    match target {
        // As in xl. No guest can have this name.
        DOM0 | "0" => Ok(DomId::DOM0),
        _ => existing(host, target),
    }
}
