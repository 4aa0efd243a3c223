// SPDX-License-Identifier: GPL-3.0-or-later
//! Starts `chaosd` for a measurement, and creates guests through it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use chaos::clients::chaosd;
use chaos::config::DomainConfig;
use chaos::guests::{CreateOptions, Host};
use chaos::request::{CreatedGuest, Executor};
use chaos::timings::Timings;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xen::units::DomId;

use crate::guest::{Service, nanoseconds};

const SETTINGS: &str = "/tmp/chaosd-cost.toml";

/// A running `chaosd` with one flavour.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Daemon {
    /// Starts `chaosd` with a pool of this many shells, and waits until the pool is full. `flavour`
    /// has the lines of the flavour in the configuration, without its name and marks.
    ///
    /// # Errors
    /// `chaosd` cannot be started, or exits.
    pub fn start(flavour: &str, shells: usize) -> Result<Self> {
        let settings = format!(
            "memory='512M'\nlearn=false\n[[flavour]]\nname='f'\n{flavour}\nlow={shells}\nhigh={shells}\n"
        );
        fs::write(SETTINGS, settings)?;
        let mut child = Command::new("chaosd")
            .args(["--config", SETTINGS])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run chaosd")?;
        let log = BufReader::new(child.stderr.take().context("chaosd has a standard error")?);
        let mut daemon = Self { child, log };
        daemon.wait_until_full()?;
        Ok(daemon)
    }

    /// Waits until `chaosd` reports that the pool is full. Must be called once per refill.
    ///
    /// # Errors
    /// `chaosd` has exited.
    pub fn wait_until_full(&mut self) -> Result<()> {
        let mut line = String::new();
        while self.log.read_line(&mut line)? > 0 {
            if line.contains("is full") {
                return Ok(());
            }
            line.clear();
        }
        bail!("chaosd has exited before its pool was full")
    }

    /// Returns its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Terminates it with SIGTERM and waits for its exit.
    ///
    /// # Errors
    /// It exits with a failure.
    pub fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        // Read its log to the end: with a full pipe it would block and never exit.
        std::io::copy(&mut self.log, &mut std::io::sink())?;
        ensure!(self.child.wait()?.success(), "chaosd has failed");
        Ok(())
    }
}

/// Creates a guest through `chaosd`, and leaves it paused. Each call opens a connection of its own,
/// as each command does.
///
/// # Errors
/// `chaosd` does not answer, or refuses.
pub fn create_paused(config: &DomainConfig) -> Result<CreatedGuest> {
    let executor = Executor::daemon(Path::new(chaosd::SOCKET))?;
    let options = CreateOptions { paused: true, ..CreateOptions::default() };
    Ok(executor.create(config, options, &mut Timings::start())?)
}

/// Unpauses a guest and returns the nanoseconds of the hypercall. The CPU time of the guest and of
/// `noxsd`, which may run before the hypercall returns, is subtracted.
///
/// # Errors
/// Xen refuses.
pub fn unpause(host: &Host, noxsd: &Service, domid: DomId) -> Result<u64> {
    let before = noxsd.cpu_ns()?;
    let started = Instant::now();
    host.xen.unpause(domid)?;
    let all_ns = nanoseconds(started)?;
    let noxsd_ns = noxsd.cpu_ns()? - before;
    let guest_ns = host.xen.domain_info(domid)?.map_or(0, |info| info.cpu_time_ns);
    Ok(all_ns.saturating_sub(guest_ns + noxsd_ns))
}
