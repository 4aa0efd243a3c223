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

/// Makes a guest and gives the times of its stages.
pub(crate) fn create(host: &Host, config: &DomainConfig) -> Result<Timings> {
    let mut timings = Timings::start();
    lifecycle::create(host, config, CreateOptions::default(), &mut timings)?;
    Ok(timings)
}

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let bare = config("noop.cfg", &["console=0", "memory=4"])?;
    one(host, "noop, 4 MiB, no device", &bare, 1.0, rounds, report)?;
    let redis = config("redis.cfg", &["memory=8"])?;
    one(host, "redis, 8 MiB, console and vif", &redis, 1.6, rounds, report)
}

fn one(
    host: &Host,
    what: &str,
    config: &DomainConfig,
    limit_ms: f64,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    // The first create of a process, and the first of all, pays for things that stay.
    for _ in 0..2 {
        create(host, config)?;
        lifecycle::destroy(host, &config.name)?;
    }
    let mut totals = Vec::new();
    let mut stages: BTreeMap<usize, (&'static str, Vec<u64>)> = BTreeMap::new();
    let mut destroys = Vec::new();
    for _ in 0..rounds {
        wait_for_scrub(host)?;
        let timings = create(host, config)?;
        totals.push(timings.total_ns());
        for (order, stage) in timings.stages().iter().enumerate() {
            stages.entry(order).or_insert((stage.name, Vec::new())).1.push(stage.ns);
        }
        let mut timings = Timings::start();
        lifecycle::destroy(host, &config.name)?;
        timings.stage("destroy");
        destroys.push(timings.total_ns());
    }
    report.times(what, Some(limit_ms), &totals);
    for (name, samples) in stages.into_values() {
        report.times(format!("  {name}"), None, &samples);
    }
    report.times(format!("{what}: destroy"), None, &destroys);
    // The log of what a create leaves must be empty again, or the next figure means nothing.
    anyhow::ensure!(!fs::exists(format!("/run/chaos/names/{}", config.name))?, "a name is left");
    Ok(())
}
