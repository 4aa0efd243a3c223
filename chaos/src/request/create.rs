// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates guests.

use std::mem;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::stat::stat;
use nix::unistd::geteuid;
use xen::units::DomId;

use super::error::RequestError;
use super::in_daemon;
use crate::clients::chaosd;
use crate::clients::chaosd::client::{Chaosd, DaemonError};
use crate::clients::chaosd::protocol::Origin;
use crate::config::DomainConfig;
use crate::domain::Mapped;
use crate::guests::{self, CreateOptions, Host};
use crate::timings::Timings;

/// What creates guests: `chaosd` or this process.
#[derive(Debug)]
pub enum Executor {
    /// A connection to `chaosd`, which takes a shell from its pool if one fits.
    Chaosd(Chaosd),
    /// This process, which prepares a shell for each guest.
    ThisProcess(Host),
}

/// How many guests a caller is about to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// One. An ELF kernel is read straight into the guest and is not kept.
    OneGuest,
    /// Several. Kernels are kept in memory for the next guests.
    ManyGuests,
}

/// A guest that was created.
#[derive(Debug)]
pub struct CreatedGuest {
    /// Its name.
    pub name: String,
    /// Its domid.
    pub domid: DomId,
    /// Its handle, as a UUID.
    pub handle: String,
    /// The origin of its shell.
    pub origin: Origin,
    /// Whether it is in XenStore mode because of its kernel: its config does not say.
    pub is_kernels_store: bool,
    /// The stages in `chaosd` and their durations in nanoseconds. Empty if this process created the
    /// guest: then the stages are in the caller's [`Timings`].
    pub daemon_stages: Vec<(String, u64)>,
    /// Its console, if the options ask for it.
    pub console: Option<OwnedFd>,
    /// The guest's memory that is still mapped in this process. Dropping this unmaps it. A process
    /// that is about to exit passes it to `mem::forget`, because the exit unmaps faster.
    pub mapped: Option<Mapped>,
}

impl Executor {
    /// Connects to `chaosd` at its usual socket if it is running, and otherwise opens Xen as
    /// [`Executor::this_process`] does.
    ///
    /// # Errors
    /// `chaosd` is running, but the user may not use its socket; or as [`Executor::this_process`].
    pub fn choose(usage: Usage, timings: &mut Timings) -> Result<Self, RequestError> {
        let socket = chaosd::socket();
        // This costs less than a failed connection, and less than `Path::exists` if there is none:
        // that makes a second system call to find out why.
        if stat(socket.as_ref()).is_ok() {
            match Self::daemon(&socket) {
                Err(RequestError::Daemon(DaemonError::NotRunning { .. })) => {}
                result => return result,
            }
        }
        Self::this_process(usage, timings)
    }

    /// Connects to the `chaosd` that listens at `socket`.
    ///
    /// # Errors
    /// `chaosd` is not running, or the user may not use its socket.
    pub fn daemon(socket: &Path) -> Result<Self, RequestError> {
        Ok(Self::Chaosd(Chaosd::connect(socket)?))
    }

    /// Opens Xen in this process and records the stage `open Xen`.
    ///
    /// # Errors
    /// Xen is not running, this is not dom0, or the user is not root.
    pub fn this_process(usage: Usage, timings: &mut Timings) -> Result<Self, RequestError> {
        let host = match usage {
            Usage::OneGuest => Host::open()?,
            Usage::ManyGuests => Host::open_caching()?,
        };
        timings.stage("open Xen");
        Ok(Self::ThisProcess(host))
    }

    /// Creates a guest. Paths in its config must be absolute, as [`expand`](super::expand())
    /// returns them.
    ///
    /// Adds the stages of this process to `timings`: only `request` if `chaosd` creates the guest.
    ///
    /// This process also creates a guest whose vifs have scripts, which may take long and run with the
    /// rights of the caller.
    ///
    /// If `chaosd` is stopped meanwhile, its successor is asked, or this process creates the guest
    /// if there is none.
    ///
    /// # Errors
    /// The guest cannot be created, or `chaosd` refuses the request. Nothing of the guest is left
    /// behind, except with [`RequestError::Lost`]. [`RequestError::ConsoleInDaemon`] if the options ask `chaosd` for a console.
    pub fn create(
        &self,
        config: &DomainConfig,
        options: CreateOptions,
        timings: &mut Timings,
    ) -> Result<CreatedGuest, RequestError> {
        match self {
            Self::Chaosd(_) if config.has_scripts() => {
                create_with_scripts(config, options, timings, geteuid().is_root())
            }
            Self::Chaosd(daemon) => in_daemon::create(daemon, config, options, timings),
            Self::ThisProcess(host) => create_in_this_process(host, config, options, timings),
        }
    }

    /// Closes the connection to `chaosd` and leaves all other resources to the exit of the process,
    /// which releases them faster. For a process that is about to exit.
    pub fn leave_to_exit(self) {
        match self {
            Self::Chaosd(daemon) => drop(daemon),
            Self::ThisProcess(host) => mem::forget(host),
        }
    }
}

/// Creates a guest whose vifs have scripts, where chaosd runs.
#[cold]
fn create_with_scripts(
    config: &DomainConfig,
    options: CreateOptions,
    timings: &mut Timings,
    is_root: bool,
) -> Result<CreatedGuest, RequestError> {
    if !is_root {
        return Err(RequestError::Script { name: config.name.clone() });
    }
    let host = Host::open()?;
    timings.stage("open Xen");
    create_in_this_process(&host, config, options, timings)
}

pub(super) fn create_in_this_process(
    host: &Host,
    config: &DomainConfig,
    options: CreateOptions,
    timings: &mut Timings,
) -> Result<CreatedGuest, RequestError> {
    let created = guests::create(host, config, options, timings)?;
    let is_kernels_store = guests::is_kernels_store(config, &created.record.config);
    Ok(CreatedGuest {
        is_kernels_store,
        name: created.record.config.name,
        domid: created.domid,
        handle: created.record.handle.to_string(),
        origin: Origin::Cold,
        daemon_stages: Vec::new(),
        console: created.console,
        mapped: Some(created.mapped),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureClass;

    #[test]
    fn only_root_has_scripts_run() {
        let text = "name='web'\ntype='pvh'\nkernel='/k'\nvif=['script=vif-route']";
        let config = crate::config::parse_str("x", text, &[], true).unwrap().config;
        let (options, mut timings) = (CreateOptions::default(), Timings::start());
        let error = create_with_scripts(&config, options, &mut timings, false).unwrap_err();
        assert_eq!(error.class(), FailureClass::WrongInput);
        assert!(error.to_string().contains("only root may have scripts run"), "{error}");
    }
}
