// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates one guest at a time and boots it until its first output (figures 4 and 11 of the paper).
//! Times processes, containers, xl and krata for comparison.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use chaos::guests::{self, Host};
use chaos_bench::announcement::Announcements;
use chaos_bench::chaosd::Daemon;
use chaos_bench::exec::{Process, run};
use chaos_bench::guest::{config, nanoseconds};
use chaos_bench::let_xen_scrub;
use chaos_bench::xl::write_config;

use crate::args::Args;
use crate::first_words::{first_words, words_of_xl};
use crate::samples::Samples;
use crate::side_by_side::SHELLS;
use crate::{containers, krata, linux};

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let rounds = if args.quick { 3 } else { 20 };
    // Containers, xl and Linux guests take a hundred times as long, so they have fewer rounds.
    let few = args.xl_guests(5, 1);
    let all = rounds * (1 + 6 + 2 + 2 + krata::SAMPLES)
        + few * (3 + linux::SAMPLES + containers::SAMPLES);
    samples.total(all)?;
    containers::leave_initramfs()?;
    for round in 1..=rounds {
        samples.time("execve of an empty program", round, run("exits", &[])?)?;
    }
    containers::measure(few, samples)?;
    in_process(host, rounds, samples)?;
    commands(host, rounds, samples)?;
    through_pool(host, rounds, samples)?;
    xl(few, samples)?;
    linux::measure(host, few, samples)?;
    krata::measure(host, rounds, samples)
}

fn in_process(host: &Host, rounds: usize, samples: &mut Samples) -> Result<()> {
    for (guest, overrides) in [("noop", "console=1"), ("daytime", ""), ("redis", "")] {
        let config = config(&format!("{guest}.cfg"), &[overrides])?;
        first_words(host, &config, "ready")?;
        for round in 1..=rounds {
            let_xen_scrub();
            let times = first_words(host, &config, "ready")?;
            samples.time(&format!("{guest}: until it may run"), round, times.create_ns)?;
            samples.time(&format!("{guest}: until its first words"), round, times.words_ns)?;
        }
    }
    Ok(())
}

/// Times the whole command without `chaosd`.
fn commands(host: &Host, rounds: usize, samples: &mut Samples) -> Result<()> {
    for round in 1..=rounds {
        let_xen_scrub();
        let options = ["create", "--console", "--no-daemon", "noop.cfg", "console=1"];
        let mut create = Process::listen("chaos", &options)?;
        let ns = create.wait_for_output("ready")?;
        create.stop()?;
        samples.time("chaos create --console noop: until its first words", round, ns)?;
        guests::destroy(host, "noop")?;
    }
    for round in 1..=rounds {
        let_xen_scrub();
        let ns = run("chaos", &["create", "--quiet", "--no-daemon", "redis.cfg"])?;
        samples.time("chaos create redis: until its end", round, ns)?;
        guests::destroy(host, "redis")?;
    }
    Ok(())
}

/// Times the whole command through a pool of shells that have the image already. The first output
/// that dom0 can observe here is the announcement of the guest's address, which the guest sends
/// some time after its first instruction.
fn through_pool(host: &Host, rounds: usize, samples: &mut Samples) -> Result<()> {
    let redis = config("redis.cfg", &["memory=8"])?;
    let kernel = redis.kernel.canonicalize()?;
    let flavour = format!("memory='8M'\nbridges=['xenbr0']\nkernel='{}'", kernel.display());
    let mut daemon = Daemon::start(&flavour, SHELLS)?;
    // The first create also pays for one-time set-up.
    for round in 0..=rounds {
        let_xen_scrub();
        let announcements = Announcements::listen()?;
        let create = Process::start("chaos", &["create", "--quiet", "redis.cfg"])?;
        announcements.wait_for(REDIS)?;
        let words_ns = nanoseconds(create.started)?;
        let end_ns = create.wait()?;
        guests::destroy(host, &redis.name)?;
        daemon.wait_until_full()?;
        if round > 0 {
            let what = "chaos create redis, warm pool";
            samples.time(&format!("{what}: until its first words"), round, words_ns)?;
            samples.time(&format!("{what}: until its end"), round, end_ns)?;
        }
    }
    daemon.stop()
}

/// The address in redis.cfg.
const REDIS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Times xl with the same guests. For the guest with a vif, times only the command.
fn xl(rounds: usize, samples: &mut Samples) -> Result<()> {
    for (guest, memory, vif) in [("noop", 4, ""), ("redis", 8, "vif=['bridge=xenbr0']\n")] {
        let file = format!("/tmp/xl-{guest}.cfg");
        write_config(&file, "xl", guest, memory, vif)?;
        // The first create after boot also pays for one-time set-up.
        for round in 0..=rounds {
            let_xen_scrub();
            let ns = run("xl", &["create", "-q", &file]).context("xl's rows")?;
            run("xl", &["destroy", "xl"])?;
            if round > 0 {
                samples.time(&format!("xl create {guest}: until its end"), round, ns)?;
            }
        }
    }
    for round in 0..=rounds {
        let_xen_scrub();
        let ns = words_of_xl("/tmp/xl-noop.cfg", "xl", "ready")?;
        if round > 0 {
            samples.time("xl create noop: until its first words", round, ns)?;
        }
    }
    Ok(())
}
