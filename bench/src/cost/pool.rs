//! Creates through `chaosd`, from shells that wait.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use chaos::config::DomainConfig;
use chaos::daemon;
use chaos::daemon::client::Chaosd;
use chaos::daemon::protocol::{Created, Origin, Reply, Request};
use chaos::daemon::wire::WireConfig;
use chaos::lifecycle::{self, Host};
use xen::units::DomId;

use crate::chaosd::Daemon;
use crate::exec;
use crate::in_process::{Noxsd, config, nanoseconds};
use crate::let_xen_scrub;
use crate::report::Report;

/// How many shells wait.
const SHELLS: usize = 4;

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let redis = config("redis.cfg", &["memory=8"])?;
    let exits = exec::run("exits", &[])?;
    #[allow(clippy::cast_precision_loss)]
    let whole = exits as f64 / 1e6 + 1.5;
    one(host, "redis from a shell", &redis, Origin::Pool, 0.15, whole, rounds, report)?;
    one(host, "redis from a warm shell", &redis, Origin::Warm, 0.06, whole, rounds, report)
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
    let noxsd = Noxsd::find()?;
    let (mut totals, mut stages) = (Vec::new(), Vec::<(String, Vec<u64>)>::new());
    let (mut unpauses, mut wholes) = (Vec::new(), Vec::new());
    // The first create of a process pays for things that stay.
    for round in 0..=rounds {
        let_xen_scrub();
        let created = ask(config)?;
        ensure!(created.shell == origin, "{what}: the shell was {}", created.shell.as_str());
        let unpause_ns = unpause(host, &noxsd, DomId(created.domid))?;
        lifecycle::destroy(host, &config.name)?;
        daemon.wait_until_full()?;
        if round == 0 {
            continue;
        }
        totals.push(created.stages.iter().map(|(_, ns)| ns).sum::<u64>() + unpause_ns);
        unpauses.push(unpause_ns);
        for (number, (name, ns)) in created.stages.into_iter().enumerate() {
            if number == stages.len() {
                stages.push((name, Vec::new()));
            }
            stages[number].1.push(ns);
        }
    }
    for _ in 0..rounds {
        let_xen_scrub();
        wholes.push(exec::run("chaos", &["create", "--quiet", "redis.cfg"])?);
        lifecycle::destroy(host, &config.name)?;
        daemon.wait_until_full()?;
    }
    daemon.end()?;
    report.times(format!("{what}: in chaosd, until it runs"), Some(limit_ms), &totals);
    for (name, samples) in stages {
        report.times(format!("  {name}"), None, &samples);
    }
    report.times("  unpause", None, &unpauses);
    report.times(format!("{what}: chaos create, exec to exit"), Some(whole_ms), &wholes);
    Ok(())
}

/// Has `chaosd` make a guest, which it leaves paused.
pub(crate) fn ask(config: &DomainConfig) -> Result<Created> {
    let daemon = Chaosd::connect(Path::new(daemon::SOCKET))?;
    let kernel = File::open(&config.kernel)?;
    let request = Request::Create { config: WireConfig::from(config), paused: true };
    match daemon.ask(&request, &[kernel.as_fd()])? {
        Reply::Created(created) => Ok(created),
        reply => bail!("chaosd answered {reply:?}"),
    }
}

/// The hypercall alone, without what the guest and `noxsd` do as soon as they may.
pub(crate) fn unpause(host: &Host, noxsd: &Noxsd, domid: DomId) -> Result<u64> {
    let before = noxsd.cpu_ns()?;
    let started = Instant::now();
    host.xen.unpause(domid)?;
    let all_ns = nanoseconds(started)?;
    let noxsd_ns = noxsd.cpu_ns()? - before;
    let guest_ns = host.xen.domain_info(domid)?.map_or(0, |info| info.cpu_time_ns);
    Ok(all_ns.saturating_sub(guest_ns + noxsd_ns))
}
