//! Waiting for domains to end, on the event that Xen raises then.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use xen::Xen;
use xen::evtchn::VIRQ_DOM_EXC;

use super::{Host, LifecycleError};
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
        let failed = |reason: String| LifecycleError::Watch { reason };
        if let Ok(watch) = EndWatch::start() {
            return Ok(Self::XenStore(watch));
        }
        match host.noxsd.connect() {
            Ok(noxsd) => noxsd.watch().map(Self::Noxsd).map_err(|error| failed(error.to_string())),
            Err(BackendError::NotRunning { .. }) => {
                let channels = host.xen.open_events()?;
                channels.bind_virq(VIRQ_DOM_EXC).map_err(|error| {
                    failed(format!("VIRQ_DOM_EXC is held by another process ({error})"))
                })?;
                Ok(Self::Virq(channels))
            }
            Err(error) => Err(failed(error.to_string())),
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
        let failed = |error: BackendError| LifecycleError::Watch { reason: error.to_string() };
        host.noxsd.connect().and_then(Noxsd::watch).map(Self::Noxsd).map_err(failed)
    }

    /// Waits until some domain may have ended. `false` if the deadline came first.
    ///
    /// # Errors
    /// The watch is lost.
    pub fn wait(&mut self, deadline: Instant) -> Result<bool, LifecycleError> {
        let failed = |reason: String| LifecycleError::Watch { reason };
        if !self.is_told()
            && !wait_readable(self.as_fd(), deadline).map_err(|errno| failed(errno.to_string()))?
        {
            return Ok(false);
        }
        match self {
            Self::Noxsd(socket) => match recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::empty()) {
                Ok(0) => Err(failed("noxsd closed the connection".to_owned())),
                Ok(_) => Ok(true),
                Err(errno) => Err(failed(errno.to_string())),
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

    /// Returns whether an event was read that the descriptor does not show any more.
    fn is_told(&self) -> bool {
        matches!(self, Self::XenStore(watch) if watch.is_told())
    }

    /// Takes the events so far, without waiting. `true` if some domain may have ended.
    ///
    /// # Errors
    /// The watch is lost.
    pub fn take(&mut self) -> Result<bool, LifecycleError> {
        let mut told = false;
        while self.is_told()
            || wait_readable(self.as_fd(), Instant::now())
                .map_err(|errno| LifecycleError::Watch { reason: errno.to_string() })?
        {
            told |= self.wait(Instant::now())?;
        }
        Ok(told)
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

/// Waits until a file descriptor can be read. `false` if the deadline came first.
fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Errno> {
    wait_any_readable(&[fd], deadline)
}

/// Waits until one of some file descriptors can be read. `false` if the deadline came first.
pub(super) fn wait_any_readable(fds: &[BorrowedFd<'_>], deadline: Instant) -> Result<bool, Errno> {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the last wait does not end just before the deadline.
        let left = left.as_millis() + u128::from(!left.is_zero());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}
