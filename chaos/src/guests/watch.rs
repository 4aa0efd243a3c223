//! Waiting for domains to end, on the event that Xen raises then.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use daemon::wait;
use nix::sys::socket::{MsgFlags, recv};
use xen::Xen;
use xen::evtchn::VIRQ_DOM_EXC;

use super::error::{LifecycleError, WatchError};
use super::host::Host;
use crate::announce::xenstore::EndWatch;
use crate::clients::noxsd::{BackendError, Noxsd};
use crate::hypervisor::{EventPorts, Hypervisor};

/// A watch on the ends of domains. Says that some domain may have ended, not which.
#[derive(Debug)]
pub enum DomainWatch<H: Hypervisor = Xen> {
    /// Through `noxsd`, which holds the interrupt and serves any number of watches.
    Noxsd(OwnedFd),
    /// Through xenstored, which holds it where it runs.
    XenStore(EndWatch),
    /// By this process itself, where neither runs.
    Virq(H::Events),
}

impl<H: Hypervisor> DomainWatch<H> {
    /// Starts to watch. What ends from now on is noticed.
    ///
    /// # Errors
    /// Another process, such as xenstored, holds `VIRQ_DOM_EXC`.
    pub fn start(host: &Host<H>) -> Result<Self, LifecycleError> {
        if let Ok(watch) = EndWatch::start() {
            return Ok(Self::XenStore(watch));
        }
        match host.noxsd.connect() {
            Ok(noxsd) => Ok(Self::Noxsd(noxsd.watch().map_err(WatchError::Noxsd)?)),
            Err(BackendError::NotRunning { .. }) => {
                let channels = host.xen.open_events()?;
                channels.bind_virq(VIRQ_DOM_EXC).map_err(WatchError::Virq)?;
                Ok(Self::Virq(channels))
            }
            Err(error) => Err(WatchError::Noxsd(error).into()),
        }
    }

    /// Starts to watch through another process, for a long time: a `noxsd` that is restarted must find
    /// the interrupt free.
    ///
    /// # Errors
    /// Neither xenstored nor `noxsd` runs, or `noxsd` does not hold the interrupt.
    pub fn lasting(host: &Host<H>) -> Result<Self, LifecycleError> {
        if let Ok(watch) = EndWatch::start() {
            return Ok(Self::XenStore(watch));
        }
        let watch = host.noxsd.connect().and_then(Noxsd::watch).map_err(WatchError::Noxsd)?;
        Ok(Self::Noxsd(watch))
    }

    /// Waits until some domain may have ended. `false` if the deadline came first.
    ///
    /// # Errors
    /// The watch is lost.
    pub fn wait(&mut self, deadline: Instant) -> Result<bool, LifecycleError> {
        if !self.has_event(deadline)? {
            return Ok(false);
        }
        match self {
            Self::Noxsd(socket) => match recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::empty()) {
                Ok(0) => Err(WatchError::Closed.into()),
                Ok(_) => Ok(true),
                Err(errno) => Err(WatchError::Lost(errno).into()),
            },
            Self::XenStore(watch) => {
                watch.take()?;
                Ok(true)
            }
            Self::Virq(channels) => {
                channels.acknowledge_pending()?;
                Ok(true)
            }
        }
    }

    /// Waits until there is an event. Returns `false` if the deadline came first.
    fn has_event(&self, deadline: Instant) -> Result<bool, WatchError> {
        // An event that was read ahead no longer makes the descriptor readable.
        let is_buffered = matches!(self, Self::XenStore(watch) if watch.has_buffered());
        Ok(is_buffered || wait::readable(self.as_fd(), deadline).map_err(WatchError::Wait)?)
    }

    /// Takes the events so far, without waiting. `true` if some domain may have ended.
    ///
    /// # Errors
    /// The watch is lost.
    pub fn take(&mut self) -> Result<bool, LifecycleError> {
        let mut has_events = false;
        while self.has_event(Instant::now())? {
            has_events |= self.wait(Instant::now())?;
        }
        Ok(has_events)
    }
}

impl<H: Hypervisor> AsFd for DomainWatch<H> {
    /// Readable when some domain may have ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Noxsd(socket) => socket.as_fd(),
            Self::XenStore(watch) => watch.as_fd(),
            Self::Virq(channels) => channels.as_fd(),
        }
    }
}
