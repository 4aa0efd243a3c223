//! Creating guests.

use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use xen::units::DomId;

use super::error::RequestError;
use crate::clients::chaosd;
use crate::clients::chaosd::client::{CHAOSD, Chaosd, DaemonError};
use crate::clients::chaosd::protocol::{Origin, Reply, Request};
use crate::config::{DomainConfig, EncodedConfig};
use crate::domain::Mapped;
use crate::guests::{self, CreateOptions, Host, LifecycleError};
use crate::image;
use crate::timings::Timings;

/// What carries out creates: a connection to `chaosd`, or this process.
#[derive(Debug)]
pub enum Executor {
    /// `chaosd`, which takes a shell from its pool if one fits.
    Chaosd(Chaosd),
    /// This process, which prepares a shell for each guest.
    ThisProcess(Host),
}

/// How many guests a caller is about to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// One. An ELF kernel goes from its file right into the guest and is not kept.
    OneGuest,
    /// Several. Kernels that were read are kept for the next guest.
    ManyGuests,
}

/// A guest that was created.
#[derive(Debug)]
pub struct CreatedGuest {
    /// Its name.
    pub name: String,
    /// Its number in Xen.
    pub domid: DomId,
    /// Its handle, as a UUID.
    pub handle: String,
    /// Where its shell came from.
    pub origin: Origin,
    /// What `chaosd` did for it, and how long each stage took, in nanoseconds. Empty if this
    /// process created the guest: its stages are in the caller's [`Timings`].
    pub daemon_stages: Vec<(String, u64)>,
    /// Its console, if the options ask for it.
    pub console: Option<OwnedFd>,
    /// The guest's memory as far as it is still mapped in this process; unmapped when dropped. A
    /// process that is about to exit forgets it (`mem::forget`): the exit unmaps in less time.
    pub mapped: Option<Mapped>,
}

impl Executor {
    /// Connects to `chaosd` at its usual socket if it runs there, and opens Xen otherwise.
    /// Records the stage `open Xen` in the second case.
    ///
    /// # Errors
    /// `chaosd` runs and this user may not use its socket; or as [`Executor::this_process`].
    pub fn choose(usage: Usage, timings: &mut Timings) -> Result<Self, RequestError> {
        let socket = Path::new(chaosd::SOCKET);
        // Cheaper than connecting to a socket that does not exist.
        if socket.exists() {
            match Self::daemon(socket) {
                Err(RequestError::Daemon(DaemonError::NotRunning { .. })) => {}
                result => return result,
            }
        }
        Self::this_process(usage, timings)
    }

    /// Connects to the `chaosd` that listens at `socket`.
    ///
    /// # Errors
    /// `chaosd` does not run, or this user may not use its socket.
    pub fn daemon(socket: &Path) -> Result<Self, RequestError> {
        Ok(Self::Chaosd(Chaosd::connect(socket)?))
    }

    /// Opens Xen in this process and records the stage `open Xen`.
    ///
    /// # Errors
    /// There is no Xen, this is not dom0, or the user is not root.
    pub fn this_process(usage: Usage, timings: &mut Timings) -> Result<Self, RequestError> {
        let host = match usage {
            Usage::OneGuest => Host::open()?,
            Usage::ManyGuests => Host::open_caching()?,
        };
        timings.stage("open Xen");
        Ok(Self::ThisProcess(host))
    }

    /// Creates a guest. Paths in its config must be absolute, as [`expand`](super::expand)
    /// returns them.
    ///
    /// `timings` get the stages of this process: one, `request`, where `chaosd` creates the guest.
    ///
    /// # Errors
    /// Something is missing or does not fit, or `chaosd` refuses. Nothing of the guest is left
    /// behind. [`RequestError::ConsoleInDaemon`] if the options ask `chaosd` for a console.
    pub fn create(
        &self,
        config: &DomainConfig,
        options: CreateOptions,
        timings: &mut Timings,
    ) -> Result<CreatedGuest, RequestError> {
        match self {
            Self::Chaosd(daemon) => through(daemon, config, options, timings),
            Self::ThisProcess(host) => here(host, config, options, timings),
        }
    }

    /// Closes the connection to `chaosd`, and leaves everything else to the end of the process,
    /// which releases it in less time. For a process that is about to exit.
    pub fn leave_to_exit(self) {
        match self {
            Self::Chaosd(daemon) => drop(daemon),
            Self::ThisProcess(host) => mem::forget(host),
        }
    }
}

fn through(
    daemon: &Chaosd,
    config: &DomainConfig,
    options: CreateOptions,
    timings: &mut Timings,
) -> Result<CreatedGuest, RequestError> {
    if options.console {
        return Err(RequestError::ConsoleInDaemon { name: config.name.clone() });
    }
    let kernel = image::open(&config.kernel)
        .map_err(|source| LifecycleError::Kernel { path: config.kernel.clone(), source })?;
    let ramdisk = config.ramdisk.as_ref().map(|path| {
        image::open(path).map_err(|source| LifecycleError::Ramdisk { path: path.clone(), source })
    });
    let ramdisk = ramdisk.transpose()?;
    let files: Vec<_> = std::iter::once(&kernel).chain(&ramdisk).map(AsFd::as_fd).collect();
    let request = Request::Create { config: EncodedConfig::from(config), paused: options.paused };
    let Reply::Created(created) = daemon.ask(&request, &files)? else {
        return Err(DaemonError::Unexpected(&CHAOSD).into());
    };
    timings.stage("request");
    Ok(CreatedGuest {
        name: config.name.clone(),
        domid: DomId(created.domid),
        handle: created.handle,
        origin: created.shell,
        daemon_stages: created.stages,
        console: None,
        mapped: None,
    })
}

fn here(
    host: &Host,
    config: &DomainConfig,
    options: CreateOptions,
    timings: &mut Timings,
) -> Result<CreatedGuest, RequestError> {
    let created = guests::create(host, config, options, timings)?;
    Ok(CreatedGuest {
        name: created.record.config.name,
        domid: created.domid,
        handle: created.record.handle.to_string(),
        origin: Origin::Cold,
        daemon_stages: Vec::new(),
        console: created.console,
        mapped: Some(created.mapped),
    })
}
