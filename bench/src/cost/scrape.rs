// SPDX-License-Identifier: GPL-3.0-or-later
//! Times a scrape of `chaosd`'s metrics among many guests.

use std::time::Instant;

use anyhow::{Result, ensure};
use chaos::clients::chaosd::http;
use chaos::guests::{self, Host};
use chaos_bench::chaosd::Daemon;
use chaos_bench::exec;
use chaos_bench::guest::nanoseconds;

use crate::report::Report;

/// Creates guests with a vif each, and asks for the metrics of all.
pub(crate) fn measure(
    host: &Host,
    guests: usize,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    let names: Vec<String> = (0..guests).map(|number| format!("noop-{number}")).collect();
    for name in &names {
        let name = format!("name='{name}'");
        let vif = "vif=['bridge=xenbr0']";
        exec::run(
            "chaos",
            &["create", "--quiet", "--no-daemon", "noop.cfg", "memory=2", vif, &name],
        )?;
    }
    let daemon = Daemon::start("memory='2M'", 1)?;
    let mut samples = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let started = Instant::now();
        let text = http::metrics(http::OPENMETRICS)?;
        samples.push(nanoseconds(started)?);
        let vifs = text.matches("\nchaos_guest_vif_receive_bytes_total{").count();
        ensure!(vifs == guests, "the metrics have {vifs} vifs of {guests}");
    }
    report.times(format!("a scrape of the metrics of {guests} guests with a vif"), None, &samples);
    for name in &names {
        guests::destroy(host, name)?;
    }
    daemon.stop()
}
