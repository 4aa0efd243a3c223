// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests in the sysctl block of the device page, and answers in the guest's answer page.

use std::time::Instant;

use noxs::shared;
use noxs::{AnswerStatus, RequestId};

use super::options::{ShutdownOptions, timed_out, unsupported};
use crate::guests::error::LifecycleError;
use crate::guests::host::Host;
use crate::guests::resolve::Guest;
use crate::guests::sysctl::{Channel, Reaction};
use crate::guests::watch::DomainWatch;
use crate::hypervisor::Hypervisor;
use crate::records::Record;

/// Writes the request, notifies the guest, and waits for the answer. Returns the guest's two pages,
/// which are still mapped.
pub(super) fn ask<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
    record: &Record,
    options: ShutdownOptions,
    deadline: Instant,
    watch: Option<&mut DomainWatch<H>>,
) -> Result<[H::Page; 2], LifecycleError> {
    let no_record = || LifecycleError::NoRecord { target: record.name().to_owned() };
    let gfn = record.device_page.as_ref().ok_or_else(no_record)?.gfn;
    let mut page = host.xen.map_page(guest.domid, gfn)?;

    let _lock = host.records.lock_until(guest.domid, deadline)?;
    let mut numbered = host.records.read(guest.domid)?.ok_or_else(no_record)?;
    let page_record = numbered.device_page.as_mut().ok_or_else(no_record)?;
    let channel = Channel::open(host, guest.domid, page_record)?;
    let id = RequestId(page_record.requests).next();
    page_record.requests = id.0;
    host.records.replace(&numbered)?;
    shared::post_request(&mut page, id, options.request);
    channel.notify()?;
    match channel.wait(host, id, deadline, watch)? {
        Reaction::Answered(Some(AnswerStatus::Accepted)) | Reaction::Ended => {
            Ok([page, channel.into_answer_page()])
        }
        Reaction::Answered(_) => Err(unsupported(record, options)),
        Reaction::Silent => Err(timed_out(record, "answered", options)),
    }
}
