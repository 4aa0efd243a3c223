//! One guest, made in this process, by stage.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use chaos::config::{self, DomainConfig};
use chaos::guests::{self, CreateOptions, Host};
use chaos::timings::{Stage, Timings};

/// Reads one of the shipped configs, with lines added.
///
/// # Errors
/// The file is not there, or has an error.
pub fn config(name: &str, overrides: &[&str]) -> Result<DomainConfig> {
    let overrides: Vec<String> = overrides.iter().map(|line| (*line).to_owned()).collect();
    let parsed = config::parse_file(Path::new(name), &overrides, true)
        .map_err(|error| anyhow!("{name}: {error}"))?;
    Ok(parsed.config)
}

/// One create.
#[derive(Debug)]
pub struct Sample {
    timings: Timings,
    /// What happened when the guest might run.
    pub unpause: Unpause,
    /// Unmapping what was filled, which comes after.
    pub unmap_ns: u64,
}

/// What happens when the guest may run. With one CPU it takes the CPU from dom0 as soon as it may,
/// and `noxsd` takes it to serve what the guest sends first: both lie within the time of the
/// hypercall, but are not part of the create.
#[derive(Debug)]
pub struct Unpause {
    /// The hypercall without the other two, in nanoseconds.
    pub own_ns: u64,
    /// The guest's start, in nanoseconds.
    pub guest_ns: u64,
    /// `noxsd`'s work for its first words, in nanoseconds.
    pub noxsd_ns: u64,
}

impl Sample {
    /// The stages until the guest may run.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        self.timings.stages()
    }

    /// From the request until the guest may execute its first instruction.
    #[must_use]
    pub fn all_ns(&self) -> u64 {
        self.timings.total_ns() + self.unpause.own_ns
    }

    /// The same without what is neither prepare nor execute.
    #[must_use]
    pub fn build_ns(&self) -> u64 {
        let build = self.timings.stages().iter().filter(|stage| BUILD.contains(&stage.name));
        build.map(|stage| stage.ns).sum::<u64>() + self.unpause.own_ns
    }
}

/// The stages of prepare and execute. Before and between them are files, names, records and
/// `noxsd`.
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

/// Makes a guest and gives the times of its stages.
///
/// # Errors
/// The guest cannot be made.
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

/// How long ago that was.
///
/// # Errors
/// It was 500 years ago.
pub fn nanoseconds(started: Instant) -> Result<u64> {
    Ok(u64::try_from(started.elapsed().as_nanos())?)
}

/// A daemon that runs.
#[derive(Debug)]
pub struct Service(PathBuf);

impl Service {
    /// Finds the process of this name (its `comm`, of 15 bytes at most).
    ///
    /// # Errors
    /// It does not run.
    pub fn find(name: &str) -> Result<Self> {
        for process in fs::read_dir("/proc")? {
            let folder = process?.path();
            if fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
                return Ok(Self(folder));
            }
        }
        bail!("{name} does not run")
    }

    /// How long it has had the CPU: the first number of `/proc/PID/schedstat`
    /// (Linux, `Documentation/scheduler/sched-stats.rst`).
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_ns(&self) -> Result<u64> {
        let text = fs::read_to_string(self.0.join("schedstat"))?;
        let first = text.split_whitespace().next().context("an empty schedstat")?;
        Ok(first.parse()?)
    }
}
