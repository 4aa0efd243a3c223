// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures how much memory of Xen and dom0 a guest takes beside its own.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use chaos::guests::{self, Host};
use chaos_bench::guest::{Service, config, create, number_in};

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
    of_noxsd(host, guests, report)
}

fn dom0_available_kib() -> Result<u64> {
    number_in(Path::new("/proc/meminfo"), "MemAvailable:")
}

/// Measures the memory that `noxsd` uses for an idle guest with a console, a vif and a disk, beside
/// the guest's own ring pages, which it maps.
fn of_noxsd(host: &Host, guests: usize, report: &mut Report) -> Result<()> {
    let noxsd = Service::find("noxsd")?;
    let folder = tempfile::tempdir()?;
    let mut names = Vec::new();
    let mut before = 0;
    for number in 0..=guests {
        // The first guest also pays for what all share.
        if number == 1 {
            before = noxsd.own_kib()?;
        }
        let disk = folder.path().join(number.to_string());
        File::create(&disk)?.set_len(1 << 20)?;
        let disk = format!("disk=['{},raw,xvda,w']", disk.display());
        let mut config = config("noop.cfg", &["memory=2", "vif=['bridge=xenbr0']", &disk])?;
        config.name = format!("noop-{number}");
        create(host, &config)?;
        names.push(config.name);
    }
    #[allow(clippy::cast_precision_loss)]
    let each = noxsd.own_kib()?.saturating_sub(before) as f64 / guests as f64;
    for name in &names {
        guests::destroy(host, name)?;
    }
    let what = "noxsd's memory for an idle guest with console, vif and disk".into();
    report.add(what, "KiB", Some(limits::NOXSD_MEMORY), vec![each]);
    Ok(())
}
