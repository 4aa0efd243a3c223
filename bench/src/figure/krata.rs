// SPDX-License-Identifier: GPL-3.0-or-later
//! Times krata's client library (`bench/peers/krata`), and chaos in XenStore mode, because krata
//! always uses XenStore.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use chaos::config::DomainConfig;
use chaos::guests::{self, Host};
use chaos_bench::guest::{self, config};
use chaos_bench::{exec, let_xen_scrub};

use crate::samples::Samples;
use crate::side_by_side::in_xenstore;

const PROGRAM: &str = "krata-boot";

/// The number of samples per round of [`measure`].
pub(crate) const SAMPLES: usize = 4;

pub(crate) fn measure(host: &Host, rounds: usize, samples: &mut Samples) -> Result<()> {
    let no_vif = config("noop.cfg", &["console=1", "store='xenstore'", "name='guest-0'"])?;
    chaos(host, "no vif", &no_vif, rounds, samples)?;
    chaos(host, "a vif", &in_xenstore(0)?, rounds, samples)?;
    if !exec::is_installed(PROGRAM) {
        return samples.fact("without krata", "krata-boot is not installed");
    }
    krata("no vif", None, rounds, samples)?;
    krata("a vif", Some("xenbr0"), rounds, samples)
}

fn chaos(
    host: &Host,
    what: &str,
    config: &DomainConfig,
    rounds: usize,
    samples: &mut Samples,
) -> Result<()> {
    // The first create also pays for one-time set-up.
    for round in 0..=rounds {
        let_xen_scrub();
        let sample = guest::create(host, config)?;
        guests::destroy(host, &config.name)?;
        if round > 0 {
            let series = format!("chaos [XS], {what}: until it may run");
            samples.time(&series, round, sample.all_ns())?;
        }
    }
    Ok(())
}

fn krata(what: &str, bridge: Option<&str>, rounds: usize, samples: &mut Samples) -> Result<()> {
    let mut child = Command::new(PROGRAM)
        .arg(rounds.to_string())
        .args(bridge)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("krata-boot's output is not piped")?;
    let lines = BufReader::new(output).lines();
    for (line, round) in lines.zip(1..) {
        let ns = line?.parse().context("krata-boot did not print a number")?;
        samples.time(&format!("krata, {what}: until it may run"), round, ns)?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "{PROGRAM} failed: {status}");
    Ok(())
}
