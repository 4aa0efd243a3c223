// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests in the sysctl block of the device page, and answers in the guest's answer page.

use std::os::fd::AsFd;
use std::time::Instant;

use daemon::wait;
use noxs::shared;
use noxs::{AnswerStatus, RequestId};

use super::options::{ShutdownOptions, timed_out, unsupported};
use crate::guests::error::{LifecycleError, WatchError};
use crate::guests::host::Host;
use crate::guests::resolve::{Guest, examine};
use crate::guests::watch::DomainWatch;
use crate::hypervisor::{EventPorts, Hypervisor};
use crate::records::Record;

/// Writes the request, notifies the guest, and waits for the answer. Returns the guest's two pages,
/// which are still mapped.
pub(super) fn ask<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
    record: &Record,
    options: ShutdownOptions,
    deadline: Instant,
    mut watch: Option<&mut DomainWatch<H>>,
) -> Result<[H::Page; 2], LifecycleError> {
    let no_record = || LifecycleError::NoRecord { target: record.name().to_owned() };
    let device_page = record.device_page.ok_or_else(no_record)?;
    let mut page = host.xen.map_page(guest.domid, device_page.gfn)?;
    let answer = host.xen.map_page(guest.domid, device_page.answer_gfn)?;

    let _lock = host.records.lock(guest.domid)?;
    let mut numbered = host.records.read(guest.domid)?.ok_or_else(no_record)?;
    let page_record = numbered.device_page.as_mut().ok_or_else(no_record)?;
    let id = RequestId(page_record.requests).next();
    page_record.requests = id.0;
    host.records.replace(&numbered)?;
    shared::post_request(&mut page, id, options.request);

    let channels = host.xen.open_events()?;
    let port = channels.bind_interdomain(guest.domid, device_page.sysctl_port)?;
    channels.notify(port)?;
    loop {
        let current = shared::read_answer(&answer);
        if current.request_id == id {
            return match current.status {
                Some(AnswerStatus::Accepted) => Ok([page, answer]),
                _ => Err(unsupported(record, options)),
            };
        }
        if examine(host, guest.domid)?.state().has_ended() {
            return Ok([page, answer]);
        }
        // A guest that rings its port in a loop keeps the descriptor readable for ever.
        if Instant::now() >= deadline {
            return Err(timed_out(record, "answered", options));
        }
        let fds = [channels.as_fd()].into_iter().chain(watch.as_deref().map(AsFd::as_fd));
        if !wait::any_readable(&fds.collect::<Vec<_>>(), deadline).map_err(WatchError::Wait)? {
            return Err(timed_out(record, "answered", options));
        }
        channels.acknowledge_pending()?;
        // A lost watch matters only to `--wait`, which reports it.
        if watch.as_deref_mut().is_some_and(|watch| watch.take().is_err()) {
            watch = None;
        }
    }
}
