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

/// The disk of a guest.
const DISK: &str = "/tmp/cost-disk.img";

/// A kind of guest, created from shells of one flavour.
struct Case<'a> {
    what: &'static str,
    config: &'a DomainConfig,
    /// The flavour's lines in the configuration.
    flavour: String,
    origin: Origin,
    /// Limit of the time in chaosd.
    limit_ms: f64,
}

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let redis = config("redis.cfg", &["memory=8"])?;
    let flavour = "memory='8M'\nbridges=['xenbr0']\n";
    let kernel = format!("kernel='{}'\n", fs::canonicalize(&redis.kernel)?.display());
    let from_shell = Case {
        what: "redis from a shell",
        config: &redis,
        flavour: flavour.into(),
        origin: Origin::Pool,
        limit_ms: limits::SHELL,
    };
    let warm = Case {
        what: "redis from a warm shell",
        flavour: format!("{flavour}{kernel}"),
        origin: Origin::Warm,
        limit_ms: limits::WARM_SHELL,
        ..from_shell
    };
    for case in [from_shell, warm] {
        let mut daemon = in_daemon(host, &case, rounds, report)?;
        whole(host, &case, &mut daemon, rounds, report)?;
        daemon.stop()?;
    }

    fs::write(DISK, vec![0; 1 << 20])?;
    let vifs = "vif=['bridge=xenbr0,ip=10.0.0.2/24','bridge=xenbr0']";
    let disk = format!("disk=['{DISK},raw,xvda,w']");
    let devices = config("redis.cfg", &["memory=8", vifs, &disk])?;
    let case = Case {
        what: "redis with two vifs and a disk, from a warm shell",
        config: &devices,
        flavour: format!("memory='8M'\nbridges=['xenbr0','xenbr0']\ndisks=1\n{kernel}"),
        origin: Origin::Warm,
        limit_ms: limits::DEVICES,
    };
    in_daemon(host, &case, rounds, report)?.stop()?;
    Ok(fs::remove_file(DISK)?)
}

/// Times creates in a new chaosd, by stage. Returns it, with a full pool.
fn in_daemon(host: &Host, case: &Case<'_>, rounds: usize, report: &mut Report) -> Result<Daemon> {
    let what = case.what;
    let mut daemon = Daemon::start(&case.flavour, SHELLS)?;
    let noxsd = Service::find("noxsd")?;
    let (mut totals, mut unpauses) = (Vec::new(), Vec::new());
    let mut stages = Vec::<(String, Vec<u64>)>::new();
    // The first create of a process also pays for one-time set-up.
    for round in 0..=rounds {
        let_xen_scrub();
        let created = create_paused(case.config)?;
        let origin = created.origin;
        ensure!(origin == case.origin, "{what}: the shell was {}", origin.as_str());
        let unpause_ns = unpause(host, &noxsd, created.domid)?;
        guests::destroy(host, &case.config.name)?;
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
    report.times(format!("{what}: in chaosd, until it runs"), Some(case.limit_ms), &totals);
    for (name, samples) in stages {
        report.times(format!("  {name}"), None, &samples);
    }
    report.times("  unpause", None, &unpauses);
    Ok(daemon)
}

/// Times the whole command.
fn whole(
    host: &Host,
    case: &Case<'_>,
    daemon: &mut Daemon,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    #[allow(clippy::cast_precision_loss)]
    let limit = exec::run("exits", &[])? as f64 / 1e6 + limits::CREATE_FROM_SHELL;
    let mut wholes = Vec::new();
    for _ in 0..rounds {
        let_xen_scrub();
        wholes.push(exec::run("chaos", &["create", "--quiet", "redis.cfg"])?);
        guests::destroy(host, &case.config.name)?;
        daemon.wait_until_full()?;
    }
    report.times(format!("{}: chaos create, exec to exit", case.what), Some(limit), &wholes);
    Ok(())
}
