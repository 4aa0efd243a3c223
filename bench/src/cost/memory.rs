// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures how much memory of Xen and dom0 a guest takes beside its own.

use anyhow::{Context, Result};
use chaos::guests::{self, Host};
use chaos_bench::guest::{config, create};

use crate::limits;
use crate::report::Report;

/// The guest's own memory, in MiB.
const OWN_MIB: f64 = 2.0;

pub(crate) fn measure(host: &Host, guests: usize, report: &mut Report) -> Result<()> {
    let mut config = config("noop.cfg", &["memory=2"])?;
    let xen_before = host.xen.physinfo()?.free.to_kib().0;
    let dom0_before = dom0_available_kib()?;
    let mut names = Vec::new();
    for number in 0..guests {
        config.name = format!("noop-{number}");
        create(host, &config)?;
        names.push(config.name.clone());
    }
    let xen_after = host.xen.physinfo()?.free.to_kib().0;
    let dom0_after = dom0_available_kib()?;
    for name in &names {
        guests::destroy(host, name)?;
    }
    #[allow(clippy::cast_precision_loss)]
    let per_guest =
        |before: u64, after: u64| before.saturating_sub(after) as f64 / 1024.0 / guests as f64;
    let xen = per_guest(xen_before, xen_after) - OWN_MIB;
    let dom0 = per_guest(dom0_before, dom0_after);
    report.add(
        "memory beside a 2 MiB noop's own".into(),
        "MiB",
        Some(limits::MEMORY),
        vec![xen + dom0],
    );
    report.add("  of Xen".into(), "MiB", None, vec![xen]);
    report.add("  of dom0 (MemAvailable)".into(), "MiB", None, vec![dom0]);
    Ok(())
}

fn dom0_available_kib() -> Result<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)).context("no MemAvailable")?;
    Ok(number.parse()?)
}
