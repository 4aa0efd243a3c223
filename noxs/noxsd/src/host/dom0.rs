// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Host`] on a real dom0: the kernel's grant and event channel devices.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use xen::Error;
use xen::evtchn::{EventChannels, VIRQ_DOM_EXC};
use xen::gntdev::{CopyOp, GrantDevice, GrantMapping};
use xen::units::{DomId, GrantRef, Port};

use super::buffers::{Buffers, GrantCopy};
use super::file_io::{FileEngine, FileIo, FinishedIo};
use super::{Host, LocalPort, RemotePort};

/// Number of open grant devices. To add a mapping, the kernel walks over all mappings of the open
/// device (Linux `drivers/xen/gntdev.c`, `gntdev_add_map`), so noxsd spreads them over many.
const GRANT_DEVICES: usize = 256;

/// The result of copies if the kernel has refused all of them (`GNTST_general_error`).
const GENERAL_ERROR: i16 = -1;

/// dom0's event channel device and grant devices, and what reads and writes files.
#[derive(Debug)]
pub struct XenHost {
    events: EventChannels,
    grants: Vec<GrantDevice>,
    files: FileEngine,
}

/// Why [`XenHost`] cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenHostError {
    /// Xen's devices cannot be opened.
    #[error(transparent)]
    Xen(#[from] Error),
    /// The threads for disks cannot be started.
    #[error("cannot start threads for disks")]
    Threads(#[from] io::Error),
}

/// Whether [`XenHost::pending`] has returned all events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// No event was lost.
    Complete,
    /// Some events may have been lost.
    Lost,
}

impl XenHost {
    /// Opens the devices and makes the kernel prepare for mapping.
    ///
    /// # Errors
    /// A device cannot be opened: this is not a dom0, or the user is not permitted to.
    pub fn open() -> Result<Self, OpenHostError> {
        let events = EventChannels::open()?;
        let grants =
            (0..GRANT_DEVICES).map(|_| GrantDevice::open()).collect::<Result<Vec<_>, _>>()?;
        let host = Self { events, grants, files: FileEngine::start()? };
        host.warm();
        Ok(host)
    }

    /// Makes the kernel add a memory section for foreign pages, which takes tens of milliseconds
    /// and is otherwise done at the first mapping after boot. The kernel adds it before it looks at
    /// the grant, so a mapping that fails is enough: dom0 has not granted itself anything under
    /// this reference.
    fn warm(&self) {
        let _ = self.grants[0].map(DomId(0), &[GrantRef(u32::MAX)], true);
    }

    /// Returns the file descriptor that is readable while events are pending.
    #[must_use]
    pub fn events_fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }

    /// Returns the file descriptors of which one is readable while operations on files are finished,
    /// or files were closed.
    pub fn files_fds(&self) -> impl Iterator<Item = RawFd> {
        self.files.fds()
    }

    /// Appends ports with events to the list. More may be pending.
    pub fn pending(&self, ports: &mut Vec<Port>) -> Events {
        match self.events.pending(ports) {
            Ok(()) => Events::Complete,
            Err(error) => {
                tracing::warn!("{error}; serving all guests");
                Events::Lost
            }
        }
    }

    fn grants(&self, domid: DomId) -> &GrantDevice {
        &self.grants[usize::from(domid.0) % self.grants.len()]
    }
}

impl Host for XenHost {
    type Memory = GrantMapping;

    fn map(&mut self, domid: DomId, grants: &[GrantRef]) -> io::Result<GrantMapping> {
        self.grants(domid).map(domid, grants, true).map_err(io::Error::other)
    }

    fn map_frames(
        &mut self,
        domid: DomId,
        grants: &[GrantRef],
        writable: bool,
    ) -> io::Result<GrantMapping> {
        self.grants(domid).map(domid, grants, writable).map_err(io::Error::other)
    }

    fn bind(&mut self, domid: DomId, port: RemotePort) -> io::Result<LocalPort> {
        let port = self.events.bind_interdomain(domid, Port(port.0));
        port.map(LocalPort::from).map_err(io::Error::other)
    }

    fn bind_domain_exception(&mut self) -> io::Result<LocalPort> {
        self.events.bind_virq(VIRQ_DOM_EXC).map(LocalPort::from).map_err(io::Error::other)
    }

    fn unbind(&mut self, port: LocalPort) {
        if let Err(error) = self.events.unbind(Port(port.0)) {
            tracing::warn!("{error}");
        }
    }

    fn notify(&mut self, port: LocalPort) {
        // The guest may no longer exist; the toolstack that destroys it detaches it.
        if let Err(error) = self.events.notify(Port(port.0)) {
            tracing::debug!("{error}");
        }
    }

    fn unmask(&mut self, ports: &[LocalPort]) {
        let ports: Vec<Port> = ports.iter().map(|port| Port(port.0)).collect();
        if let Err(error) = self.events.unmask(&ports) {
            tracing::warn!("{error}");
        }
    }

    fn fetch(&mut self, buffers: &mut Buffers, copies: &mut [GrantCopy]) {
        let (mut rest, mut begin) = (buffers.bytes_mut(), 0);
        let mut ops = Vec::with_capacity(copies.len());
        for copy in copies.iter() {
            let (_, behind) = rest.split_at_mut(copy.at - begin);
            let (local, behind) = behind.split_at_mut(usize::from(copy.length));
            (rest, begin) = (behind, copy.local().end);
            ops.push(CopyOp::from_grant(copy.domid, copy.gref, copy.offset, local));
        }
        let result = self.grants[0].copy(&mut ops);
        finish(&result, &ops.iter().map(|op| op.failed.is_none()).collect::<Vec<_>>(), copies);
    }

    fn deliver(&mut self, buffers: &Buffers, copies: &mut [GrantCopy]) {
        let mut ops: Vec<CopyOp<'_>> = copies
            .iter()
            .map(|copy| {
                let local = buffers.get(copy.local());
                CopyOp::to_grant(copy.domid, copy.gref, copy.offset, local)
            })
            .collect();
        let result = self.grants[0].copy(&mut ops);
        finish(&result, &ops.iter().map(|op| op.failed.is_none()).collect::<Vec<_>>(), copies);
    }

    fn copy(&mut self, copies: &mut [CopyOp<'_>]) {
        if let Err(error) = self.grants[0].copy(copies) {
            tracing::warn!("{error}");
            for copy in copies {
                copy.failed = Some(GENERAL_ERROR);
            }
        }
    }

    fn begin_io(&mut self, io: FileIo) {
        self.files.begin(io);
    }

    fn submit_io(&mut self) -> bool {
        self.files.submit()
    }

    fn finished_io(&mut self, finished: &mut Vec<FinishedIo>) {
        self.files.finished(finished);
    }
}

/// Records which copies succeeded: none if the whole call failed.
fn finish(result: &Result<(), Error>, done: &[bool], copies: &mut [GrantCopy]) {
    if let Err(error) = result {
        tracing::warn!("{error}");
    }
    for (copy, done) in copies.iter_mut().zip(done) {
        copy.done = *done && result.is_ok();
    }
}

impl From<Port> for LocalPort {
    fn from(port: Port) -> Self {
        Self(port.0)
    }
}
