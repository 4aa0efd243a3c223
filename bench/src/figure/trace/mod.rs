// SPDX-License-Identifier: GPL-3.0-or-later
//! Uses Linux's tracing to record which task has the CPU when, and what xl is doing (Linux,
//! `Documentation/trace/ftrace.rst` and `events.rst`).
//!
//! Each trace uses a tracing instance of its own, so other users' traces are not disturbed. Only
//! the landmarks in xl's libraries are visible to all instances while the trace runs.

pub(crate) mod events;
mod landmarks;
pub(crate) mod stages;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chaos::guests::Host;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use events::IOCTL;

/// The name of the tracing instance.
const INSTANCE: &str = "chaos-bench";

/// Buffer size per CPU in KiB. xl's longest create needs less than one such buffer.
const BUFFER_KIB: &str = "16384";

const EVENTS: [&str; 5] = [
    "sched/sched_switch",
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "raw_syscalls/sys_enter",
    "raw_syscalls/sys_exit",
];

/// Traces runs of xl.
pub(crate) struct Tracer {
    landmarks: Vec<String>,
}

/// A running trace. Dropping it removes everything it has set up in Linux.
pub(crate) struct Trace {
    /// Where tracefs is mounted.
    top: PathBuf,
}

impl Tracer {
    /// Creates a tracer, and tries it once.
    ///
    /// # Errors
    /// This machine cannot trace xl.
    pub(crate) fn new(host: &Host) -> Result<Self> {
        // With several CPUs a moment would not belong to one task.
        let cpus = host.xen.physinfo()?.cpus;
        ensure!(cpus == 1, "the machine has {cpus} CPUs; tracing needs a machine with one");
        let cpus = fs::read_to_string("/sys/devices/system/cpu/online")?;
        let cpus = cpus.trim_end();
        ensure!(cpus == "0", "dom0 has CPUs {cpus} online; tracing needs only CPU 0");
        let tracer = Self { landmarks: landmarks::definitions()? };
        tracer.begin()?;
        Ok(tracer)
    }

    /// Starts a trace.
    ///
    /// # Errors
    /// tracefs cannot be mounted, or the trace cannot be set up in it.
    pub(crate) fn begin(&self) -> Result<Trace> {
        // tracefs may be mounted elsewhere too; every mount shows the same files. Keep the folder:
        // a `TempDir` would delete its contents when dropped, and these are the kernel's.
        let top = tempfile::tempdir()?.keep();
        if let Err(error) =
            mount(Some("tracefs"), &top, Some("tracefs"), MsFlags::empty(), None::<&str>)
        {
            fs::remove_dir(&top)?;
            return Err(error).context("cannot mount tracefs");
        }
        let trace = Trace { top };
        // Remove the leftovers of a killed run. Fails if there are none, which is the usual case.
        let _ = trace.clear();
        for landmark in &self.landmarks {
            append(&trace.top.join("uprobe_events"), landmark)?;
        }
        fs::create_dir(trace.instance()).context("cannot create a tracing instance")?;
        // `Instant` uses the same clock.
        trace.set("trace_clock", "mono")?;
        trace.set("buffer_size_kb", BUFFER_KIB)?;
        for event in ["sys_enter", "sys_exit"] {
            let filter = format!("events/raw_syscalls/{event}/filter");
            trace.set(&filter, &format!("id == {IOCTL}"))?;
        }
        trace.set(&format!("events/{}/enable", landmarks::GROUP), "1")?;
        for event in EVENTS {
            trace.set(&format!("events/{event}/enable"), "1")?;
        }
        Ok(trace)
    }
}

impl Trace {
    /// Stops the trace and returns its text.
    ///
    /// # Errors
    /// The trace cannot be stopped or read.
    pub(crate) fn end(self) -> Result<String> {
        self.set("tracing_on", "0")?;
        Ok(fs::read_to_string(self.instance().join("trace"))?)
    }

    fn instance(&self) -> PathBuf {
        self.top.join("instances").join(INSTANCE)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        fs::write(self.instance().join(file), value)
            .with_context(|| format!("cannot set {file} to {value}"))
    }

    /// Removes the instance, and then the landmarks, which the instance no longer uses.
    fn clear(&self) -> Result<()> {
        let removed = fs::remove_dir(self.instance()).context("cannot remove the tracing instance");
        for removal in landmarks::removals() {
            // Fails for landmarks that were never created.
            let _ = append(&self.top.join("uprobe_events"), &removal);
        }
        removed
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Ignore errors: the caller has the trace already, or a more important error, and the next
        // trace cleans up again.
        let _ = self.clear();
        let _ = umount2(&self.top, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.top);
    }
}

/// Appends a line to a file. Truncating the file would remove all landmarks, including those of
/// other users.
fn append(file: &Path, line: &str) -> Result<()> {
    let mut file = OpenOptions::new().append(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())
        .with_context(|| format!("Linux refused the landmark {line}"))
}
