// SPDX-License-Identifier: GPL-3.0-or-later
//! The sysctl channel of a guest with a device page: dom0 has written a request into the page, notifies
//! the guest, and waits for the answer.

use std::os::fd::AsFd;
use std::time::Instant;

use daemon::wait;
use noxs::shared;
use noxs::{AnswerStatus, RequestId};
use xen::units::{DomId, Pages, Port};

use super::error::{LifecycleError, WatchError};
use super::host::Host;
use super::resolve::examine;
use super::watch::DomainWatch;
use crate::hypervisor::{EventPorts, Hypervisor};
use crate::records::DevicePageRecord;

/// How a guest has reacted to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// It has answered; `None` if the answer is unknown.
    Answered(Option<AnswerStatus>),
    /// It has exited instead.
    Ended,
    /// It has done nothing until the deadline.
    Silent,
}

/// The channel. The caller holds the lock of the guest's record: only one process can be bound to the
/// port.
#[derive(Debug)]
pub(super) struct Channel<H: Hypervisor> {
    domid: DomId,
    answer: H::Page,
    channels: H::Events,
    port: Port,
}

impl<H: Hypervisor> Channel<H> {
    /// Maps the answer page and binds to the guest's port.
    ///
    /// # Errors
    /// Xen refuses.
    pub(super) fn open(
        host: &Host<H>,
        domid: DomId,
        page: &DevicePageRecord,
    ) -> Result<Self, LifecycleError> {
        let answer = host.xen.map_page(domid, page.answer_gfn)?;
        let channels = host.xen.open_events()?;
        let port = channels.bind_interdomain(domid, page.sysctl_port)?;
        Ok(Self { domid, answer, channels, port })
    }

    /// Notifies the guest that there is a request.
    ///
    /// # Errors
    /// The guest is gone.
    pub(super) fn notify(&self) -> Result<(), LifecycleError> {
        Ok(self.channels.notify(self.port)?)
    }

    /// Waits for the answer to a request. Without a `watch`, an exit of the guest is noticed only
    /// when the guest rings.
    ///
    /// # Errors
    /// Xen or the kernel refuses.
    pub(super) fn wait(
        &self,
        host: &Host<H>,
        id: RequestId,
        deadline: Instant,
        mut watch: Option<&mut DomainWatch<H>>,
    ) -> Result<Reaction, LifecycleError> {
        loop {
            let current = shared::read_answer(&self.answer);
            if current.request_id == id {
                return Ok(Reaction::Answered(current.status));
            }
            if examine(host, self.domid)?.state().has_ended() {
                return Ok(Reaction::Ended);
            }
            // A guest that rings its port in a loop keeps the descriptor readable for ever.
            if Instant::now() >= deadline {
                return Ok(Reaction::Silent);
            }
            let until = watch.as_deref().map_or(deadline, |watch| watch.look_again(deadline));
            let fds = [self.channels.as_fd()].into_iter();
            let fds: Vec<_> = fds.chain(watch.as_deref().map(AsFd::as_fd)).collect();
            if !wait::any_readable(&fds, until).map_err(WatchError::Wait)? {
                // The guest may have exited without an event.
                continue;
            }
            self.channels.acknowledge_pending()?;
            // A lost watch matters only to `--wait`, which reports it.
            if watch.as_deref_mut().is_some_and(|watch| watch.take().is_err()) {
                watch = None;
            }
        }
    }

    /// Returns how many pages the guest says it has given back in all.
    pub(super) fn balloon(&self) -> Pages {
        Pages(shared::read_balloon(&self.answer).into())
    }

    /// Returns the mapped answer page. As long as it is mapped, Xen remembers how the guest has shut
    /// down.
    pub(super) fn into_answer_page(self) -> H::Page {
        self.answer
    }
}
