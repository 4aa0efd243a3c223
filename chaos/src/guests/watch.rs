// SPDX-License-Identifier: GPL-3.0-or-later
//! Waits for domains that exit, through the event that Xen raises then.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use daemon::wait;
use nix::sys::socket::{MsgFlags, recv};
use xen::Xen;
use xen::evtchn::VIRQ_DOM_EXC;

use super::error::{LifecycleError, WatchError};
use super::host::Host;
use crate::announce::xenstore::EndWatch;
use crate::clients::noxsd::{BackendError, Noxsd};
use crate::hypervisor::{EventPorts, Hypervisor};

/// Limit of the events that are taken at once, so that events that never cease do not hold the
/// caller.
const AT_ONCE: usize = 1024;

/// What a longer time-out means: 136 years, as good as none.
pub(super) const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Returns when a time-out that begins now is over. A time-out of any size is possible.
pub(super) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(LONGEST)
}

/// A watch for domains that exit. It reports that some domain may have exited, not which.
#[derive(Debug)]
pub enum DomainWatch<H: Hypervisor = Xen> {
    /// Through `noxsd`, which has bound the virtual interrupt and serves any number of watches.
    Noxsd(OwnedFd),
    /// Through xenstored, which has bound the interrupt if it runs.
    XenStore(EndWatch),
    /// In this process, if neither of them runs.
    Virq(H::Events),
}

impl<H: Hypervisor> DomainWatch<H> {
    /// Starts to watch. Domains that exit from now on are reported.
    ///
    /// # Errors
    /// `noxsd` refuses, or neither xenstored nor `noxsd` runs and another process has bound
    /// `VIRQ_DOM_EXC`.
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

    /// Starts to watch for a long time, and never binds the interrupt in this process: a restarted
    /// `noxsd` must be able to bind it.
    ///
    /// # Errors
    /// Neither xenstored nor `noxsd` runs, or `noxsd` has not bound the interrupt.
    pub fn lasting(host: &Host<H>) -> Result<Self, LifecycleError> {
        if let Ok(watch) = EndWatch::start() {
            return Ok(Self::XenStore(watch));
        }
        let watch = host.noxsd.connect().and_then(Noxsd::watch).map_err(WatchError::Noxsd)?;
        Ok(Self::Noxsd(watch))
    }

    /// Waits until some domain may have exited. Returns `false` if the deadline came first, or has
    /// passed, even if events never cease.
    ///
    /// # Errors
    /// The watch is lost.
    pub fn wait(&mut self, deadline: Instant) -> Result<bool, LifecycleError> {
        let has_event = Instant::now() < deadline && self.has_event(deadline)?;
        if has_event {
            self.take_one()?;
        }
        Ok(has_event)
    }

    /// Takes an event that is there.
    fn take_one(&mut self) -> Result<(), LifecycleError> {
        match self {
            Self::Noxsd(socket) => match recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::empty()) {
                Ok(0) => Err(WatchError::Closed.into()),
                Ok(_) => Ok(()),
                Err(errno) => Err(WatchError::Lost(errno).into()),
            },
            Self::XenStore(watch) => Ok(watch.take()?),
            Self::Virq(channels) => Ok(channels.acknowledge_pending()?),
        }
    }

    /// Waits until there is an event. Returns `false` if the deadline came first.
    fn has_event(&self, deadline: Instant) -> Result<bool, WatchError> {
        // An event that was read ahead no longer makes the descriptor readable.
        let is_buffered = matches!(self, Self::XenStore(watch) if watch.has_buffered());
        Ok(is_buffered || wait::readable(self.as_fd(), deadline).map_err(WatchError::Wait)?)
    }

    /// Takes the events so far, at most as many as fit, without waiting. Returns whether some domain
    /// may have exited. Events that are left belong to exits before this call, so the caller that
    /// looks at the domains now misses none.
    ///
    /// # Errors
    /// The watch is lost.
    pub fn take(&mut self) -> Result<bool, LifecycleError> {
        for taken in 0..AT_ONCE {
            if !self.has_event(Instant::now())? {
                return Ok(taken > 0);
            }
            self.take_one()?;
        }
        Ok(true)
    }
}

impl<H: Hypervisor> AsFd for DomainWatch<H> {
    /// Returns a descriptor that is readable when some domain may have exited.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Noxsd(socket) => socket.as_fd(),
            Self::XenStore(watch) => watch.as_fd(),
            Self::Virq(channels) => channels.as_fd(),
        }
    }
}
