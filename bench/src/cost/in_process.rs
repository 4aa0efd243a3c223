//! One create inside the process, by stage.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use chaos::config::{self, DomainConfig};
use chaos::lifecycle::{self, CreateOptions, Host};
use chaos::timings::Timings;

use crate::report::Report;
use crate::wait_for_scrub;

/// Reads one of the shipped configs, with lines added.
pub(crate) fn config(name: &str, overrides: &[&str]) -> Result<DomainConfig> {
    let overrides: Vec<String> = overrides.iter().map(|line| (*line).to_owned()).collect();
    let parsed = config::parse_file(Path::new(name), &overrides, true)
        .map_err(|error| anyhow!("{name}: {error}"))?;
    Ok(parsed.config)
}

/// One create.
pub(crate) struct Sample {
    pub(crate) timings: Timings,
    /// How long the guest itself had the CPU meanwhile. With one CPU it takes it from dom0 as soon
    /// as it may run, so its own start-up lies within the time of `unpause`.
    guest_ns: u64,
}

impl Sample {
    /// Time of all stages, without the guest's own.
    pub(crate) fn all_ns(&self) -> u64 {
        self.timings.total_ns().saturating_sub(self.guest_ns)
    }

    /// Time of prepare and execute, until the guest runs.
    fn build_ns(&self) -> u64 {
        let build = self.timings.stages().iter().filter(|stage| BUILD.contains(&stage.name));
        build.map(|stage| stage.ns).sum::<u64>().saturating_sub(self.guest_ns)
    }
}

/// The stages of prepare and execute. Before and between them are files, names, records and
/// `noxsd`; after them, when the guest runs, `unmap`.
const BUILD: [&str; 11] = [
    "createdomain",
    "max_vcpus",
    "paging pool",
    "populate",
    "map",
    "ports and grants",
    "image",
    "boot and device page",
    "seal",
    "vCPU context",
    "unpause",
];

/// Makes a guest and gives the times of its stages.
pub(crate) fn create(host: &Host, config: &DomainConfig) -> Result<Sample> {
    let mut timings = Timings::start();
    let created = lifecycle::create(host, config, CreateOptions::default(), &mut timings)?;
    drop(created.mapped);
    timings.stage("unmap");
    let info = host.xen.domain_info(created.domid)?;
    Ok(Sample { timings, guest_ns: info.map_or(0, |info| info.cpu_time_ns) })
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
    let (mut build, mut all, mut guest) = (Vec::new(), Vec::new(), Vec::new());
    let mut stages: BTreeMap<usize, (&'static str, Vec<u64>)> = BTreeMap::new();
    let mut destroys = Vec::new();
    for _ in 0..rounds {
        wait_for_scrub(host)?;
        let sample = create(host, config)?;
        build.push(sample.build_ns());
        all.push(sample.all_ns());
        guest.push(sample.guest_ns);
        for (order, stage) in sample.timings.stages().iter().enumerate() {
            stages.entry(order).or_insert((stage.name, Vec::new())).1.push(stage.ns);
        }
        let mut timings = Timings::start();
        lifecycle::destroy(host, &config.name)?;
        timings.stage("destroy");
        destroys.push(timings.total_ns());
    }
    report.times(format!("{what}: prepare + execute"), limits.build_ms, &build);
    report.times(format!("{what}: all stages"), limits.all_ms, &all);
    report.times("  the guest's own time, not counted above", None, &guest);
    for (name, samples) in stages.into_values() {
        report.times(format!("  {name}"), None, &samples);
    }
    report.times(format!("{what}: destroy"), None, &destroys);
    // The log of what a create leaves must be empty again, or the next figure means nothing.
    anyhow::ensure!(!fs::exists(format!("/run/chaos/names/{}", config.name))?, "a name is left");
    Ok(())
}
