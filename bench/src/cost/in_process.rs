//! One create inside the process, by stage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use chaos::config::{self, DomainConfig};
use chaos::lifecycle::{self, CreateOptions, Host};
use chaos::timings::{Stage, Timings};

use crate::let_xen_scrub;
use crate::report::Report;

/// Reads one of the shipped configs, with lines added.
pub(crate) fn config(name: &str, overrides: &[&str]) -> Result<DomainConfig> {
    let overrides: Vec<String> = overrides.iter().map(|line| (*line).to_owned()).collect();
    let parsed = config::parse_file(Path::new(name), &overrides, true)
        .map_err(|error| anyhow!("{name}: {error}"))?;
    Ok(parsed.config)
}

/// One create.
pub(crate) struct Sample {
    timings: Timings,
    unpause: Unpause,
    unmap_ns: u64,
}

/// What happens when the guest may run. With one CPU it takes the CPU from dom0 as soon as it may,
/// and `noxsd` takes it to serve what the guest sends first: both lie within the time of the
/// hypercall, but are not part of the create.
struct Unpause {
    /// The hypercall without the other two.
    own_ns: u64,
    guest_ns: u64,
    noxsd_ns: u64,
}

impl Sample {
    /// The stages until the guest may run.
    pub(crate) fn stages(&self) -> &[Stage] {
        self.timings.stages()
    }

    /// From the request until the guest may execute its first instruction.
    pub(crate) fn all_ns(&self) -> u64 {
        self.timings.total_ns() + self.unpause.own_ns
    }

    /// The same without what is neither prepare nor execute.
    fn build_ns(&self) -> u64 {
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
pub(crate) fn create(host: &Host, config: &DomainConfig) -> Result<Sample> {
    let mut timings = Timings::start();
    let options = CreateOptions { paused: true, ..CreateOptions::default() };
    let created = lifecycle::create(host, config, options, &mut timings)?;
    let noxsd = Noxsd::find()?;
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

pub(crate) fn nanoseconds(started: Instant) -> Result<u64> {
    Ok(u64::try_from(started.elapsed().as_nanos())?)
}

/// The running `noxsd`.
pub(crate) struct Noxsd(PathBuf);

impl Noxsd {
    pub(crate) fn find() -> Result<Self> {
        for process in fs::read_dir("/proc")? {
            let folder = process?.path();
            if fs::read_to_string(folder.join("comm")).is_ok_and(|name| name == "noxsd\n") {
                return Ok(Self(folder));
            }
        }
        bail!("noxsd does not run")
    }

    /// How long it has had the CPU: the first number of `/proc/PID/schedstat`
    /// (Linux, `Documentation/scheduler/sched-stats.rst`).
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let text = fs::read_to_string(self.0.join("schedstat"))?;
        let first = text.split_whitespace().next().context("an empty schedstat")?;
        Ok(first.parse()?)
    }
}

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let bare = config("noop.cfg", &["console=0", "memory=4"])?;
    let limits = Limits { build_ms: Some(1.0), all_ms: None };
    one(host, "noop, 4 MiB, no device", &bare, &limits, rounds, report)?;
    let redis = config("redis.cfg", &["memory=8"])?;
    let limits = Limits { build_ms: None, all_ms: Some(1.6) };
    one(host, "redis, 8 MiB, console and vif", &redis, &limits, rounds, report)
}

/// What docs/performance.md promises.
struct Limits {
    build_ms: Option<f64>,
    all_ms: Option<f64>,
}

fn one(
    host: &Host,
    what: &str,
    config: &DomainConfig,
    limits: &Limits,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    // The first create of a process, and the first of all, pays for things that stay.
    for _ in 0..2 {
        create(host, config)?;
        lifecycle::destroy(host, &config.name)?;
    }
    let mut samples = Vec::new();
    let mut stages: BTreeMap<usize, (&'static str, Vec<u64>)> = BTreeMap::new();
    let mut destroys = Vec::new();
    for _ in 0..rounds {
        let_xen_scrub();
        let sample = create(host, config)?;
        for (order, stage) in sample.timings.stages().iter().enumerate() {
            stages.entry(order).or_insert((stage.name, Vec::new())).1.push(stage.ns);
        }
        samples.push(sample);
        let mut timings = Timings::start();
        lifecycle::destroy(host, &config.name)?;
        timings.stage("destroy");
        destroys.push(timings.total_ns());
    }
    let each = |get: fn(&Sample) -> u64| -> Vec<u64> { samples.iter().map(get).collect() };
    report.times(format!("{what}: prepare + execute"), limits.build_ms, &each(Sample::build_ns));
    report.times(format!("{what}: all until it runs"), limits.all_ms, &each(Sample::all_ns));
    for (name, samples) in stages.into_values() {
        report.times(format!("  {name}"), None, &samples);
    }
    report.times("  unpause", None, &each(|sample| sample.unpause.own_ns));
    report.times("  then, not counted: the guest's start", None, &each(|s| s.unpause.guest_ns));
    report.times("  then: noxsd serves its first words", None, &each(|s| s.unpause.noxsd_ns));
    report.times("  then: dom0 unmaps what it filled", None, &each(|sample| sample.unmap_ns));
    report.times(format!("{what}: destroy"), None, &destroys);
    // The log of what a create leaves must be empty again, or the next figure means nothing.
    anyhow::ensure!(!fs::exists(format!("/run/chaos/names/{}", config.name))?, "a name is left");
    Ok(())
}
