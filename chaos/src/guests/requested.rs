// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds the guest that a request has created, for a client that did not get the answer.

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::resolve;
use crate::hypervisor::Hypervisor;
use crate::records::{Record, RequestId};

/// Returns the record of the guest with this name if this request has created it, or its
/// predecessor before it was restarted.
///
/// # Errors
/// Xen refuses.
pub fn of_request<H: Hypervisor>(
    host: &Host<H>,
    name: &str,
    request: RequestId,
) -> Result<Option<Record>, LifecycleError> {
    let guest = match resolve(host, name) {
        Err(LifecycleError::NoSuchGuest { .. }) => return Ok(None),
        result => result?,
    };
    match guest.condition {
        Condition::Guest(record) if record.name() == name && record.request == Some(request) => {
            Ok(Some(*record))
        }
        _ => Ok(None),
    }
}
