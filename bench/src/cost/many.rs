// SPDX-License-Identifier: GPL-3.0-or-later
//! Times many creates through `chaosd`: whether the last one takes longer than the first, and how
//! much the refill of the pool delays creates that arrive meanwhile.

use std::time::Instant;

use anyhow::{Result, ensure};
use chaos::guests::{self, Host};
use chaos::request::Origin;
use chaos_bench::chaosd::{Daemon, create_paused, unpause};
use chaos_bench::guest::{Service, config, nanoseconds};
use chaos_bench::{exec, let_xen_scrub};

use crate::growth::{more, ratio};
use crate::limits;
use crate::report::Report;

/// The flavour of the guests: noop with a console.
const FLAVOUR: &str = "memory='2M'";

/// How many creates are requested back to back.
const BURST: usize = 100;

/// The number of shells in a small pool.
const FEW: usize = 2;

/// Creates guests side by side, each from a shell of a full pool.
pub(crate) fn growth(host: &Host, guests: usize, report: &mut Report) -> Result<()> {
    let mut config = config("noop.cfg", &["memory=2"])?;
    let mut daemon = Daemon::start(FLAVOUR, FEW)?;
    let noxsd = Service::find("noxsd")?;
    let (mut totals, mut names) = (Vec::new(), Vec::new());
    let mut stages: Vec<(String, Vec<u64>)> = Vec::new();
    for number in 0..guests {
        config.name = format!("noop-{number}");
        let_xen_scrub();
        let created = create_paused(&config)?;
        ensure!(created.origin == Origin::Pool, "the shell was {}", created.origin.as_str());
        let in_daemon: u64 = created.daemon_stages.iter().map(|(_, ns)| ns).sum();
        let unpause_ns = unpause(host, &noxsd, created.domid)?;
        totals.push(in_daemon + unpause_ns);
        let all = created.daemon_stages.into_iter().chain([("unpause".to_owned(), unpause_ns)]);
        for (number, (name, ns)) in all.enumerate() {
            if number == stages.len() {
                stages.push((name, Vec::new()));
            }
            stages[number].1.push(ns);
        }
        names.push(config.name.clone());
        daemon.wait_until_full()?;
    }
    report.times(format!("noop from a shell, in chaosd, all {guests}"), None, &totals);
    let grown = ratio(&totals);
    report.add(
        format!("  the {guests}th against the first"),
        "times",
        Some(limits::POOL_GROWTH),
        vec![grown],
    );
    for (name, samples) in &stages {
        report.add(format!("  of it more at the end: {name}"), "ms", None, vec![more(samples)]);
    }
    for name in &names {
        guests::destroy(host, name)?;
    }
    daemon.stop()
}

/// Creates guests back to back: from a pool with a shell for each, from one that is soon empty, and
/// without `chaosd`.
pub(crate) fn bursts(host: &Host, report: &mut Report) -> Result<()> {
    let daemon = Daemon::start(FLAVOUR, BURST)?;
    let from_pool = burst(host, &[])?;
    daemon.stop()?;
    let daemon = Daemon::start(FLAVOUR, FEW)?;
    let from_empty = burst(host, &[])?;
    daemon.stop()?;
    let without = burst(host, &["--no-daemon"])?;

    let name = |what: &str| format!("noop, one of {BURST} back to back, {what}");
    report.times(name("from a full pool"), None, &from_pool.each);
    report.times(name("from an emptied pool"), None, &from_empty.each);
    report.times(name("without chaosd"), None, &without.each);
    #[allow(clippy::cast_precision_loss)]
    let times = from_empty.all_ns as f64 / without.all_ns as f64;
    let what = "  time from an emptied pool against without".to_owned();
    report.add(what, "times", Some(limits::EMPTIED_POOL), vec![times]);
    Ok(())
}

struct Burst {
    each: Vec<u64>,
    all_ns: u64,
}

fn burst(host: &Host, options: &[&str]) -> Result<Burst> {
    let_xen_scrub();
    let mut each = Vec::with_capacity(BURST);
    let names: Vec<String> = (0..BURST).map(|number| format!("name='noop-{number}'")).collect();
    let started = Instant::now();
    for name in &names {
        let args = ["create", "--quiet", "noop.cfg", "memory=2", name];
        each.push(exec::run("chaos", &[&args, options].concat())?);
    }
    let all_ns = nanoseconds(started)?;
    for number in 0..BURST {
        guests::destroy(host, &format!("noop-{number}"))?;
    }
    Ok(Burst { each, all_ns })
}
