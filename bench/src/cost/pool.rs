// SPDX-License-Identifier: GPL-3.0-or-later
//! Times creates through `chaosd` from shells of a full pool.

use std::fs;

use anyhow::{Result, ensure};
use chaos::config::DomainConfig;
use chaos::guests::{self, Host};
use chaos::request::Origin;
use chaos_bench::chaosd::{Daemon, create_paused, unpause};
use chaos_bench::guest::{Service, config};
use chaos_bench::{exec, let_xen_scrub};

use crate::limits;
use crate::report::Report;

/// The number of shells in the pool.
const SHELLS: usize = 4;

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let redis = config("redis.cfg", &["memory=8"])?;
    let exits = exec::run("exits", &[])?;
    #[allow(clippy::cast_precision_loss)]
    let whole = exits as f64 / 1e6 + limits::CREATE_FROM_SHELL;
    one(host, "redis from a shell", &redis, Origin::Pool, limits::SHELL, whole, rounds, report)?;
    one(
        host,
        "redis from a warm shell",
        &redis,
        Origin::Warm,
        limits::WARM_SHELL,
        whole,
        rounds,
        report,
    )
}

#[allow(clippy::too_many_arguments)]
fn one(
    host: &Host,
    what: &str,
    config: &DomainConfig,
    origin: Origin,
    limit_ms: f64,
    whole_ms: f64,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    let kernel = fs::canonicalize(&config.kernel)?;
    let warm = match origin {
        Origin::Warm => format!("kernel='{}'", kernel.display()),
        _ => String::new(),
    };
    let mut daemon = Daemon::start(&format!("memory='8M'\nbridges=['xenbr0']\n{warm}"), SHELLS)?;
    let noxsd = Service::find("noxsd")?;
    let (mut totals, mut stages) = (Vec::new(), Vec::<(String, Vec<u64>)>::new());
    let (mut unpauses, mut wholes) = (Vec::new(), Vec::new());
    // The first create of a process also pays for one-time set-up.
    for round in 0..=rounds {
        let_xen_scrub();
        let created = create_paused(config)?;
        ensure!(created.origin == origin, "{what}: the shell was {}", created.origin.as_str());
        let unpause_ns = unpause(host, &noxsd, created.domid)?;
        guests::destroy(host, &config.name)?;
        daemon.wait_until_full()?;
        if round == 0 {
            continue;
        }
        totals.push(created.daemon_stages.iter().map(|(_, ns)| ns).sum::<u64>() + unpause_ns);
        unpauses.push(unpause_ns);
        for (number, (name, ns)) in created.daemon_stages.into_iter().enumerate() {
            if number == stages.len() {
                stages.push((name, Vec::new()));
            }
            stages[number].1.push(ns);
        }
    }
    for _ in 0..rounds {
        let_xen_scrub();
        wholes.push(exec::run("chaos", &["create", "--quiet", "redis.cfg"])?);
        guests::destroy(host, &config.name)?;
        daemon.wait_until_full()?;
    }
    daemon.stop()?;
    report.times(format!("{what}: in chaosd, until it runs"), Some(limit_ms), &totals);
    for (name, samples) in stages {
        report.times(format!("  {name}"), None, &samples);
    }
    report.times("  unpause", None, &unpauses);
    report.times(format!("{what}: chaos create, exec to exit"), Some(whole_ms), &wholes);
    Ok(())
}
