//! Linux's own tracing: who has the CPU when, and what xl is at (Linux,
//! `Documentation/trace/ftrace.rst` and `events.rst`).
//!
//! Each trace has an instance of its own, so nobody else's is changed. Only the landmarks in xl's
//! libraries are everybody's to see while it goes on.

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

/// The instance's name.
const INSTANCE: &str = "chaos-bench";

/// For each CPU; xl's longest create takes less than one.
const BUFFER_KIB: &str = "16384";

const EVENTS: [&str; 5] = [
    "sched/sched_switch",
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "raw_syscalls/sys_enter",
    "raw_syscalls/sys_exit",
];

/// What traces xl here.
pub(crate) struct Tracer {
    landmarks: Vec<String>,
}

/// A trace that goes on. Nothing of it stays when it is dropped.
pub(crate) struct Trace {
    /// Where tracefs is mounted.
    top: PathBuf,
}

impl Tracer {
    /// # Errors
    /// It cannot be told here what xl is at. Then the reason is that of the error.
    pub(crate) fn new(host: &Host) -> Result<Self> {
        // With several, what is done at one moment is more than one thing, in dom0 or beside it.
        let cpus = host.xen.physinfo()?.cpus;
        ensure!(cpus == 1, "the machine has {cpus} CPUs");
        let cpus = fs::read_to_string("/sys/devices/system/cpu/online")?;
        ensure!(cpus.trim_end() == "0", "dom0 has CPUs {}", cpus.trim_end());
        let tracer = Self { landmarks: landmarks::definitions()? };
        tracer.begin()?;
        Ok(tracer)
    }

    /// Traces from now on.
    ///
    /// # Errors
    /// Linux refuses.
    pub(crate) fn begin(&self) -> Result<Trace> {
        // tracefs may be mounted elsewhere too: it is the same everywhere. The folder is not a
        // temporary one that removes all that is in it, since that is the kernel's.
        let top = tempfile::tempdir()?.keep();
        if let Err(error) =
            mount(Some("tracefs"), &top, Some("tracefs"), MsFlags::empty(), None::<&str>)
        {
            fs::remove_dir(&top)?;
            return Err(error).context("cannot mount tracefs");
        }
        let trace = Trace { top };
        // What a run has left that was killed. Most often there is nothing.
        let _ = trace.clear();
        for landmark in &self.landmarks {
            append(&trace.top.join("uprobe_events"), landmark)?;
        }
        fs::create_dir(trace.instance()).context("cannot make an instance of tracing")?;
        // The clock that `Instant` has, too.
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
    /// Ends it and gives what was seen.
    ///
    /// # Errors
    /// Linux refuses.
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

    /// Removes the instance, and the landmarks that nobody uses any more then.
    fn clear(&self) -> Result<()> {
        let removed = fs::remove_dir(self.instance()).context("an instance of tracing stays");
        for removal in landmarks::removals() {
            // Those that were not made cannot be removed.
            let _ = append(&self.top.join("uprobe_events"), &removal);
        }
        removed
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Whoever could be told of an error has one already, or has the trace; and the next trace
        // clears again.
        let _ = self.clear();
        let _ = umount2(&self.top, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.top);
    }
}

/// Writes to what truncating would empty, others' landmarks included.
fn append(file: &Path, line: &str) -> Result<()> {
    let mut file = OpenOptions::new().append(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("refused: {line}"))
}
