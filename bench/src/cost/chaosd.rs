//! A `chaosd` of a measurement.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SETTINGS: &str = "/tmp/chaosd-cost.toml";

/// A running `chaosd` with one flavour.
pub(crate) struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Daemon {
    /// Starts it and waits until its pool is full. `flavour` is what its configuration says of the
    /// flavour but its name and marks.
    pub(crate) fn start(flavour: &str, shells: usize) -> Result<Self> {
        let settings = format!(
            "memory='512M'\n[[flavour]]\nname='f'\n{flavour}\nlow={shells}\nhigh={shells}\n"
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

    /// Waits until all shells are there.
    pub(crate) fn wait_until_full(&mut self) -> Result<()> {
        let mut line = String::new();
        while self.log.read_line(&mut line)? > 0 {
            if line.contains("is full") {
                return Ok(());
            }
            line.clear();
        }
        bail!("chaosd has ended")
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        // It must not wait for somebody to read its log.
        std::io::copy(&mut self.log, &mut std::io::sink())?;
        ensure!(self.child.wait()?.success(), "chaosd has failed");
        Ok(())
    }
}
