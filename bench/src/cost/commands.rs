// SPDX-License-Identifier: GPL-3.0-or-later
//! Times whole commands, from `execve` to exit.

use anyhow::{Result, ensure};
use chaos::guests::{self, Host};
use chaos_bench::exec::run;
use chaos_bench::let_xen_scrub;
use chaos_bench::xl::write_config;

use crate::limits;
use crate::report::Report;

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let mut nothing = Vec::new();
    let mut creates = Vec::new();
    let mut destroys = Vec::new();
    for _ in 0..rounds {
        nothing.push(run("exits", &[])?);
        let_xen_scrub();
        creates.push(run("chaos", &["create", "--quiet", "redis.cfg"])?);
        destroys.push(run("chaos", &["destroy", "redis"])?);
    }
    report.times("a static program that only exits", None, &nothing);
    report.times("chaos create redis.cfg, exec to exit", Some(limits::CREATE), &creates);
    report.times("chaos destroy redis, exec to exit", None, &destroys);
    ensure!(guests::list(host, false)?.guests.is_empty(), "a guest is left");
    Ok(())
}

/// Times xl with the same noop guest: without a device, and with a vif on the same bridge.
pub(crate) fn measure_xl(rounds: usize, report: &mut Report) -> Result<()> {
    for (what, name, vif) in [
        ("xl create, no device", "xl-bare", ""),
        ("xl create, one vif", "xl-vif", "vif=['bridge=xenbr0']\n"),
    ] {
        let config = format!("/tmp/{name}.cfg");
        write_config(&config, name, "/root/noop", 4, vif)?;
        let mut creates = Vec::new();
        let mut destroys = Vec::new();
        for _ in 0..=rounds {
            creates.push(run("xl", &["create", "-q", &config])?);
            destroys.push(run("xl", &["destroy", name])?);
        }
        // The first create after boot also pays for one-time set-up.
        report.times(what, None, &creates[1..]);
        report.times(format!("{what}: xl destroy"), None, &destroys[1..]);
    }
    Ok(())
}
