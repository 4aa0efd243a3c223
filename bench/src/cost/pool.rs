//! Creates through `chaosd`, from shells that wait.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use chaos::config::DomainConfig;
use chaos::daemon;
use chaos::daemon::client::Chaosd;
use chaos::daemon::protocol::{Created, Origin, Reply, Request};
use chaos::daemon::wire::WireConfig;
use chaos::lifecycle::{self, Host};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xen::units::DomId;

use crate::exec;
use crate::in_process::{Noxsd, config, nanoseconds};
use crate::let_xen_scrub;
use crate::report::Report;

const SETTINGS: &str = "/tmp/chaosd-cost.toml";

/// How many shells wait.
const SHELLS: usize = 4;

/// A running `chaosd` with one flavour, that of redis.cfg.
struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Daemon {
    fn start(kernel: Option<&str>) -> Result<Self> {
        let kernel = kernel.map_or_else(String::new, |kernel| format!("kernel='{kernel}'\n"));
        let settings = format!(
            "memory='256M'\n[[flavour]]\nname='redis'\nmemory='8M'\nbridges=['xenbr0']\n\
             low={SHELLS}\nhigh={SHELLS}\n{kernel}"
        );
        fs::write(SETTINGS, settings)?;
        let mut child = Command::new("chaosd")
            .args(["--config", SETTINGS])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run chaosd")?;
        let log = BufReader::new(child.stderr.take().context("chaosd has a standard error")?);
        let mut daemon = Self { child, log };
        daemon.wait_until_full()?;
        Ok(daemon)
    }

    /// Waits until all shells are there.
    fn wait_until_full(&mut self) -> Result<()> {
        let mut line = String::new();
        while self.log.read_line(&mut line)? > 0 {
            if line.contains("is full") {
                return Ok(());
            }
            line.clear();
        }
        bail!("chaosd has ended")
    }

    fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        // It must not wait for somebody to read its log.
        std::io::copy(&mut self.log, &mut std::io::sink())?;
        ensure!(self.child.wait()?.success(), "chaosd has failed");
        Ok(())
    }
}

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
    let warm = (origin == Origin::Warm).then(|| kernel.to_str()).flatten();
    let mut daemon = Daemon::start(warm)?;
    let (mut totals, mut stages) = (Vec::new(), Vec::<(String, Vec<u64>)>::new());
    let (mut unpauses, mut wholes) = (Vec::new(), Vec::new());
    // The first create of a process pays for things that stay.
    for round in 0..=rounds {
        let_xen_scrub();
        let created = ask(config)?;
        ensure!(created.shell == origin, "{what}: the shell was {}", created.shell.as_str());
        let unpause_ns = unpause(host, DomId(created.domid))?;
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

fn ask(config: &DomainConfig) -> Result<Created> {
    let daemon = Chaosd::connect(Path::new(daemon::SOCKET))?;
    let kernel = File::open(&config.kernel)?;
    let request = Request::Create { config: WireConfig::from(config), paused: true };
    match daemon.ask(&request, &[kernel.as_fd()])? {
        Reply::Created(created) => Ok(created),
        reply => bail!("chaosd answered {reply:?}"),
    }
}

/// The hypercall alone, without what the guest and `noxsd` do as soon as they may.
fn unpause(host: &Host, domid: DomId) -> Result<u64> {
    let noxsd = Noxsd::find()?;
    let before = noxsd.cpu_ns()?;
    let started = Instant::now();
    host.xen.unpause(domid)?;
    let all_ns = nanoseconds(started)?;
    let noxsd_ns = noxsd.cpu_ns()? - before;
    let guest_ns = host.xen.domain_info(domid)?.map_or(0, |info| info.cpu_time_ns);
    Ok(all_ns.saturating_sub(guest_ns + noxsd_ns))
}
