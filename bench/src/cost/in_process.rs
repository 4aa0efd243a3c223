// SPDX-License-Identifier: GPL-3.0-or-later
//! Times creates in this process, by stage.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use chaos::config::DomainConfig;
use chaos::guests::{self, Host};
use chaos::timings::Timings;
use chaos_bench::guest::{Sample, config, create};
use chaos_bench::let_xen_scrub;

use crate::limits;
use crate::report::Report;

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let bare = config("noop.cfg", &["console=0", "memory=4"])?;
    let limits = Limits { build_ms: Some(limits::NOOP), all_ms: None };
    one(host, "noop, 4 MiB, no device", &bare, &limits, rounds, report)?;
    let redis = config("redis.cfg", &["memory=8"])?;
    let limits = Limits { build_ms: None, all_ms: Some(limits::REDIS) };
    one(host, "redis, 8 MiB, console and vif", &redis, &limits, rounds, report)
}

/// The limits of docs/performance.md.
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
    // The first create after boot, and the first one of a process, also pay for one-time set-up.
    for _ in 0..2 {
        create(host, config)?;
        guests::destroy(host, &config.name)?;
    }
    let mut samples = Vec::new();
    let mut stages: BTreeMap<usize, (&'static str, Vec<u64>)> = BTreeMap::new();
    let mut destroys = Vec::new();
    for _ in 0..rounds {
        let_xen_scrub();
        let sample = create(host, config)?;
        for (order, stage) in sample.stages().iter().enumerate() {
            stages.entry(order).or_insert((stage.name, Vec::new())).1.push(stage.ns);
        }
        samples.push(sample);
        let mut timings = Timings::start();
        guests::destroy(host, &config.name)?;
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
    // A leftover of this guest would make the next measurement meaningless.
    anyhow::ensure!(!fs::exists(format!("/run/chaos/names/{}", config.name))?, "a name is left");
    Ok(())
}
