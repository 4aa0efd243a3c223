// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates a guest in this process, times each stage, and reads the CPU time of daemons.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use chaos::config::{self, DomainConfig};
use chaos::guests::{self, CreateOptions, Host};
use chaos::timings::{Stage, Timings};

/// Reads a config file, with lines added that override its own.
///
/// # Errors
/// The file cannot be read, or has an error.
pub fn config(name: &str, overrides: &[&str]) -> Result<DomainConfig> {
    let overrides: Vec<String> = overrides.iter().map(|line| (*line).to_owned()).collect();
    let parsed = config::parse_file(Path::new(name), &overrides, true)
        .map_err(|error| anyhow!("{name}: {error}"))?;
    Ok(parsed.config)
}

/// The times of one create.
#[derive(Debug)]
pub struct Sample {
    timings: Timings,
    /// The time of the unpause.
    pub unpause: Unpause,
    /// How long dom0 takes afterwards to unmap the memory it has filled, in nanoseconds.
    pub unmap_ns: u64,
}

/// Where the time of the unpause goes. With one CPU the guest takes the CPU from dom0 as soon as it
/// may run, and `noxsd` then serves the guest's first output. Both happen before the hypercall
/// returns, but are not part of the create.
#[derive(Debug)]
pub struct Unpause {
    /// The hypercall itself, without the other two, in nanoseconds.
    pub own_ns: u64,
    /// The guest's CPU time, in nanoseconds.
    pub guest_ns: u64,
    /// `noxsd`'s CPU time, in nanoseconds.
    pub noxsd_ns: u64,
}

impl Sample {
    /// Returns the stages up to the unpause, without it.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        self.timings.stages()
    }

    /// Returns the time in nanoseconds from the request until the guest may execute its first
    /// instruction.
    #[must_use]
    pub fn all_ns(&self) -> u64 {
        self.timings.total_ns() + self.unpause.own_ns
    }

    /// Returns the time of prepare and execute alone, in nanoseconds, unpause included.
    #[must_use]
    pub fn build_ns(&self) -> u64 {
        let build = self.timings.stages().iter().filter(|stage| BUILD.contains(&stage.name));
        build.map(|stage| stage.ns).sum::<u64>() + self.unpause.own_ns
    }
}

/// The stages of prepare and execute. The other stages deal with files, names, records and `noxsd`.
const BUILD: [&str; 10] = [
    "createdomain",
    "max_vcpus",
    "paging pool",
    "populate",
    "map",
    "ports and grants",
    "seal",
    "vCPU context",
    "image",
    "boot and device page",
];

/// Creates a guest and returns the times of its stages.
///
/// # Errors
/// The guest cannot be created.
pub fn create(host: &Host, config: &DomainConfig) -> Result<Sample> {
    let mut timings = Timings::start();
    let options = CreateOptions { paused: true, ..CreateOptions::default() };
    let created = guests::create(host, config, options, &mut timings)?;
    let noxsd = Service::find("noxsd")?;
    let noxsd_before = noxsd.cpu_ns()?;
    let started = Instant::now();
    host.xen.unpause(created.domid)?;
    let all_ns = nanoseconds(started)?;
    let noxsd_ns = noxsd.cpu_ns()? - noxsd_before;
    let guest_ns = host.xen.domain_info(created.domid)?.map_or(0, |info| info.cpu_time_ns);
    let own_ns = all_ns.saturating_sub(guest_ns + noxsd_ns);
    let started = Instant::now();
    drop(created.mapped);
    let unmap_ns = nanoseconds(started)?;
    Ok(Sample { timings, unpause: Unpause { own_ns, guest_ns, noxsd_ns }, unmap_ns })
}

/// Returns the nanoseconds that have passed since `started`.
///
/// # Errors
/// They do not fit in 64 bits.
pub fn nanoseconds(started: Instant) -> Result<u64> {
    Ok(u64::try_from(started.elapsed().as_nanos())?)
}

/// A running daemon.
#[derive(Debug)]
pub struct Service(PathBuf);

impl Service {
    /// Returns the process with this ID.
    #[must_use]
    pub fn with_id(id: u32) -> Self {
        Self(Path::new("/proc").join(id.to_string()))
    }

    /// Finds the process whose `comm` is `name` (at most 15 bytes).
    ///
    /// # Errors
    /// No such process is running.
    pub fn find(name: &str) -> Result<Self> {
        for process in fs::read_dir("/proc")? {
            let folder = process?.path();
            if fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
                return Ok(Self(folder));
            }
        }
        bail!("{name} is not running")
    }

    /// Returns its folder in `/proc`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Returns its CPU time so far in nanoseconds: the first number of `/proc/PID/schedstat`
    /// (Linux, `Documentation/scheduler/sched-stats.rst`).
    ///
    /// # Errors
    /// The process has exited.
    pub fn cpu_ns(&self) -> Result<u64> {
        let text = fs::read_to_string(self.0.join("schedstat"))?;
        let first = text.split_whitespace().next().context("schedstat is empty")?;
        Ok(first.parse()?)
    }

    /// Returns its private memory in KiB (`Private_Clean` and `Private_Dirty` in Linux's
    /// `Documentation/filesystems/proc.rst`).
    ///
    /// # Errors
    /// It has exited.
    pub fn private_kib(&self) -> Result<u64> {
        let file = self.0.join("smaps_rollup");
        Ok(number_in(&file, "Private_Clean:")? + number_in(&file, "Private_Dirty:")?)
    }

    /// Returns its private memory in KiB without the pages of guests that it has mapped, which are
    /// the guests' memory.
    ///
    /// # Errors
    /// It has exited.
    pub fn own_kib(&self) -> Result<u64> {
        let text = fs::read_to_string(self.0.join("smaps"))?;
        let (mut of_guests, mut sum) = (false, 0);
        for line in text.lines() {
            // Each mapping begins with its addresses and ends its line with a path, if it has one.
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match first {
                "Private_Clean:" | "Private_Dirty:" if !of_guests => {
                    let number = rest.split_whitespace().next().context("smaps has no number")?;
                    sum += number.parse::<u64>()?;
                }
                first if first.contains('-') => of_guests = line.ends_with("/dev/xen/gntdev"),
                _ => {}
            }
        }
        Ok(sum)
    }
}

/// Returns the number that follows a word at the beginning of a line, in a file of `/proc`.
///
/// # Errors
/// The file has no such line.
pub fn number_in(file: &Path, word: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("{} has no {word}", file.display()))?.parse()?)
}
