//! Where the time of a create goes (figure 5 of the paper): ours by stage, xl's by who has the CPU.
//!
//! On one CPU whatever is not idle is somebody's: `xenstored`'s share is its own CPU time, that of
//! `xl` and the scripts it waits for is their CPU time (with the hypercalls they make, so Xen's
//! work for them too), and the rest is the kernel's threads, `xenconsoled`, and waiting.

use std::fs;
use std::path::absolute;

use anyhow::{Context, Result};
use chaos::lifecycle::{self, Host};
use chaos_bench::chaosd::Daemon;
use chaos_bench::exec::run;
use chaos_bench::guest::{self, Service, config};
use chaos_bench::let_xen_scrub;
use nix::sys::resource::{UsageWho, getrusage};

use crate::Args;
use crate::samples::Samples;
use crate::side_by_side::{SHELLS, from_pool, three_lines};

const FLAVOUR: &str = "memory='4M'\nbridges=['xenbr0']";

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let rounds = if args.quick { 3 } else { 20 };
    let xl_rounds = args.xl_guests(5, 1);
    // About so many stages.
    samples.total(rounds * 22 + xl_rounds * 12)?;
    ours(host, rounds, samples)?;
    let three_lines = three_lines()?;
    for (what, vif) in [
        ("xl, no device", ""),
        ("xl, a vif and a script of three lines", three_lines.as_str()),
        ("xl, a vif and its own script", "vif=['bridge=xenbr0']\n"),
    ] {
        xl(what, vif, xl_rounds, samples)?;
    }
    Ok(())
}

fn ours(host: &Host, rounds: usize, samples: &mut Samples) -> Result<()> {
    let daytime = config("daytime.cfg", &[])?;
    for round in 0..=rounds {
        let_xen_scrub();
        let sample = guest::create(host, &daytime)?;
        lifecycle::destroy(host, &daytime.name)?;
        // The first create of a process pays for things that stay.
        if round == 0 {
            continue;
        }
        for stage in sample.stages() {
            samples.time(&format!("chaos [noxs]: {}", stage.name), round, stage.ns)?;
        }
        samples.time("chaos [noxs]: unpause", round, sample.unpause.own_ns)?;
    }
    let mut daemon = Daemon::start(FLAVOUR, SHELLS)?;
    let noxsd = Service::find("noxsd")?;
    for round in 0..=rounds {
        let_xen_scrub();
        let created = from_pool(host, &mut daemon, &noxsd, &daytime)?;
        lifecycle::destroy(host, &daytime.name)?;
        if round > 0 {
            for (stage, ns) in created.stages {
                samples.time(&format!("chaos [noxs+split]: {stage}"), round, ns)?;
            }
        }
    }
    daemon.end()
}

fn xl(what: &str, vif: &str, rounds: usize, samples: &mut Samples) -> Result<()> {
    let file = "/tmp/xl-parts.cfg";
    let text = format!(
        "name='xl-parts'\ntype='pvh'\nkernel='{}'\nmemory=4\nvcpus=1\n\
         on_crash='preserve'\n{vif}",
        absolute("daytime")?.display()
    );
    fs::write(file, text)?;
    let xenstored = Service::find("xenstored")?;
    for round in 0..=rounds {
        let_xen_scrub();
        let (store, children) = (xenstored.cpu_ns()?, of_children()?);
        let all = run("xl", &["create", "-q", file]).context(what.to_owned())?;
        let (store, children) = (xenstored.cpu_ns()? - store, of_children()? - children);
        run("xl", &["destroy", "xl-parts"])?;
        if round == 0 {
            continue;
        }
        samples.time(&format!("{what}: all"), round, all)?;
        samples.time(&format!("{what}: in xenstored"), round, store)?;
        samples.time(&format!("{what}: in xl and its scripts"), round, children)?;
        let rest = all.saturating_sub(store + children);
        samples.time(&format!("{what}: rest"), round, rest)?;
    }
    Ok(())
}

/// CPU time of all processes that this one has waited for, and those that they have, in
/// nanoseconds.
fn of_children() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    let all = microseconds(usage.user_time()) + microseconds(usage.system_time());
    Ok(u64::try_from(all)? * 1000)
}
