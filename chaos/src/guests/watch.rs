// SPDX-License-Identifier: GPL-3.0-or-later
//! Waits for domains that exit, through the event that Xen raises then.
//!
//! Where xenstored runs, no event reports the end of a guest with a device page:
//!
//! - Xen reports the end of a domain by `VIRQ_DOM_EXC` only (`__domain_finalise_shutdown`,
//!   `domain_kill`). A suspend may have a port of its own (`XEN_DOMCTL_subscribe`), other ends not.
//! - `evtchn_bind_virq` refuses a second port for this interrupt, also on another vCPU, and xenstored
//!   has the first.
//! - xenstored fires `@releaseDomain` only for domains that were introduced to it (its
//!   `check_domain`), which takes a ring page of XenStore's.
//! - The event channels of a domain that is destroyed become unbound at dom0's end without an event
//!   (`evtchn_close`).
//!
//! So a watch of xenstored [misses ends](DomainWatch::misses_ends), and its users look at the
//! domains from time to time. Nothing else in chaos polls.

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

/// How long a command waits at most before it looks at its guest again, if the watch misses ends.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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
    /// Through xenstored, which has bound the interrupt if it runs. It misses guests with a device
    /// page.
    XenStore(EndWatch),
    /// In this process, if neither of them runs.
    Virq(H::Events),
}

impl<H: Hypervisor> DomainWatch<H> {
    /// Starts to watch. Domains that exit from now on are reported, but see
    /// [`misses_ends`](Self::misses_ends).
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

    /// Returns whether guests with a device page exit without an event: look at the domains from
    /// time to time, too.
    #[must_use]
    pub fn misses_ends(&self) -> bool {
        matches!(self, Self::XenStore(_))
    }

    /// Returns until when to wait for an event before looking at the domains again: until the
    /// deadline, or less if the watch misses ends.
    pub(super) fn look_again(&self, deadline: Instant) -> Instant {
        match self.misses_ends() {
            true => deadline.min(Instant::now() + LOOK_AGAIN),
            false => deadline,
        }
    }

    /// Waits until some domain may have exited. Returns `false` if the deadline came first, or has
    /// passed, even if events never cease. If the watch misses ends, a domain may have exited
    /// whenever 100 ms are over.
    ///
    /// # Errors
    /// The watch is lost.
    pub fn wait(&mut self, deadline: Instant) -> Result<bool, LifecycleError> {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        let until = self.look_again(deadline);
        if self.has_event(until)? {
            self.take_one()?;
            return Ok(true);
        }
        Ok(until < deadline)
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::hypervisor::fake::FakeXen;

    #[test]
    fn a_watch_of_xenstored_that_is_silent_wakes_its_caller_until_the_deadline() {
        let (here, _xenstored) = UnixStream::pair().unwrap();
        let mut watch = DomainWatch::<FakeXen>::XenStore(EndWatch::over(here));
        assert!(watch.misses_ends());
        let began = Instant::now();
        let deadline = began + Duration::from_secs(60);
        assert!(watch.wait(deadline).unwrap(), "a domain may have exited");
        assert!((LOOK_AGAIN..LOOK_AGAIN * 100).contains(&began.elapsed()));
        assert!(!watch.take().unwrap(), "there was no event");
        let soon = Instant::now() + LOOK_AGAIN / 4;
        assert!(!watch.wait(soon).unwrap());
        assert!(Instant::now() >= soon);
        assert!(!watch.wait(soon).unwrap(), "the deadline has passed");
    }

    #[test]
    fn a_watch_of_noxsd_waits_for_its_event() {
        let (here, _noxsd) = UnixStream::pair().unwrap();
        let mut watch = DomainWatch::<FakeXen>::Noxsd(here.into());
        assert!(!watch.misses_ends());
        assert!(!watch.wait(Instant::now() + LOOK_AGAIN * 2).unwrap());
    }
}
