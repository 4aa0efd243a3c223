// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures where the time of a create goes (figure 5 of the paper): for chaos from the stages that
//! it reports, for xl from a trace of which process has the CPU when.

use anyhow::{Context, Result, ensure};
use chaos::guests::{self, Host};
use chaos_bench::chaosd::Daemon;
use chaos_bench::exec::{Process, run};
use chaos_bench::guest::{self, Service, config};
use chaos_bench::let_xen_scrub;
use chaos_bench::xl::write_config;
use xen::units::DomId;

use crate::args::Args;
use crate::samples::Samples;
use crate::side_by_side::{SHELLS, from_pool, three_lines};
use crate::trace::Tracer;
use crate::trace::events::parse;
use crate::trace::stages::{Stage, stages};

const FLAVOUR: &str = "memory='4M'\nbridges=['xenbr0']";

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let rounds = if args.quick { 3 } else { 20 };
    let xl_rounds = args.xl_guests(5, 1);
    // An estimate, because the number of chaos' stages varies.
    samples.total(rounds * 22 + xl_rounds * 3 * (Stage::ALL.len() + 3))?;
    ours(host, rounds, samples)?;
    let tracer = Tracer::new(host);
    if let Err(error) = &tracer {
        samples.fact("stages of xl", &format!("not measured: {error:#}"))?;
    }
    let three_lines = three_lines()?;
    for (what, vif) in [
        ("xl, no device", ""),
        ("xl, a vif and a script of three lines", three_lines.as_str()),
        ("xl, a vif and its own script", "vif=['bridge=xenbr0']\n"),
    ] {
        xl(what, vif, xl_rounds, host, tracer.as_ref().ok(), samples)?;
    }
    Ok(())
}

fn ours(host: &Host, rounds: usize, samples: &mut Samples) -> Result<()> {
    let daytime = config("daytime.cfg", &[])?;
    for round in 0..=rounds {
        let_xen_scrub();
        let sample = guest::create(host, &daytime)?;
        guests::destroy(host, &daytime.name)?;
        // The first create of a process also pays for one-time set-up.
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
        guests::destroy(host, &daytime.name)?;
        if round > 0 {
            for (stage, ns) in created.daemon_stages {
                samples.time(&format!("chaos [noxs+split]: {stage}"), round, ns)?;
            }
        }
    }
    daemon.stop()
}

/// Creates a guest with xl and destroys it, `rounds` times: each time once without a trace, for the
/// total, and once with one, for the stages.
fn xl(
    what: &str,
    vif: &str,
    rounds: usize,
    host: &Host,
    tracer: Option<&Tracer>,
    samples: &mut Samples,
) -> Result<()> {
    let file = "/tmp/xl-parts.cfg";
    write_config(file, "xl-parts", "daytime", 4, vif)?;
    let create = ["create", "-q", file];
    for round in 0..=rounds {
        let_xen_scrub();
        let all = run("xl", &create).context(what.to_owned())?;
        run("xl", &["destroy", "xl-parts"])?;
        if round > 0 {
            samples.time(&format!("{what}: all"), round, all)?;
        }
        let Some(tracer) = tracer else { continue };
        let_xen_scrub();
        let mut traced = traced(tracer, &create).context(what.to_owned())?;
        let all: u64 = traced.iter().sum();
        // The guest takes the CPU during the last hypercall, the unpause. It finds no device page,
        // so it has shut down before the hypercall returns. Subtract its time from Xen's.
        let domains = host.xen.domain_list(DomId(1))?;
        let newest = domains.iter().max_by_key(|info| info.domid).context("xl created no guest")?;
        let guest_ns = newest.cpu_time_ns;
        let hypervisor = &mut traced[Stage::Hypervisor as usize];
        let without = hypervisor.checked_sub(guest_ns);
        *hypervisor = without.context("the guest ran for longer than xl was in hypercalls")?;
        run("xl", &["destroy", "xl-parts"])?;
        if round > 0 {
            for (stage, ns) in Stage::ALL.into_iter().zip(traced) {
                samples.time(&format!("{what}: {}", stage.name()), round, ns)?;
            }
            samples.time(&format!("{what}: the guest"), round, guest_ns)?;
            samples.time(&format!("{what}: all while traced"), round, all)?;
        }
    }
    Ok(())
}

/// Runs xl under the tracer and returns the nanoseconds of each stage.
fn traced(tracer: &Tracer, args: &[&str]) -> Result<[u64; Stage::ALL.len()]> {
    let trace = tracer.begin()?;
    let xl = Process::start("xl", args)?;
    let id = xl.id();
    let all = xl.wait()?;
    let text = trace.end()?;
    let stages = stages(&parse(&text)?, id)?;
    // Both times come from the same clock, but the trace includes the context switches to xl and
    // back.
    let traced: u64 = stages.iter().sum();
    ensure!(traced.abs_diff(all) < all / 100, "the trace covers {traced} ns, but xl took {all} ns");
    Ok(stages)
}
