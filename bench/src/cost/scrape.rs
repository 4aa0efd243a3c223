// SPDX-License-Identifier: GPL-3.0-or-later
//! Times a scrape of `chaosd`'s metrics among many guests.

use std::io::Read;
use std::time::Instant;

use anyhow::{Result, ensure};
use chaos::clients::chaosd::http;
use chaos::guests::{self, Host};
use chaos_bench::chaosd::Daemon;
use chaos_bench::exec;
use chaos_bench::guest::nanoseconds;

use crate::limits;
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
    // Written once, so that no sample has the cost of the reader's own memory.
    let mut text = vec![b' '; guests * 1024];
    let what = format!("a scrape of the metrics of {guests} guests with a vif");
    let mut same = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        same.push(scrape(&mut text, guests)?);
    }
    report.times(what.clone(), Some(limits::scrape(guests)), &same);
    let (mut changed, mut name) = (Vec::with_capacity(rounds), names[0].clone());
    for round in 0..rounds {
        let next = format!("renamed-{round}");
        guests::rename(host, &name, &next)?;
        name = next;
        changed.push(scrape(&mut text, guests)?);
    }
    report.times(format!("{what}, of which one was renamed"), None, &changed);
    guests::rename(host, &name, &names[0])?;
    for name in &names {
        guests::destroy(host, name)?;
    }
    daemon.stop()
}

/// Reads the metrics into `text`, and returns how long that took, in nanoseconds.
fn scrape(text: &mut Vec<u8>, guests: usize) -> Result<u64> {
    text.clear();
    let started = Instant::now();
    http::get("/metrics", http::OPENMETRICS)?.read_to_end(text)?;
    let took = nanoseconds(started)?;
    let text = std::str::from_utf8(text)?;
    ensure!(text.ends_with("# EOF\n"), "the metrics are cut off");
    let vifs = text.matches("\nchaos_guest_vif_receive_bytes_total{").count();
    ensure!(vifs == guests, "the metrics have {vifs} vifs of {guests}");
    Ok(took)
}
