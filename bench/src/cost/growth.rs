// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures how the time of a create, and of each of its stages, grows with the number of guests.

use anyhow::Result;
use chaos::guests::{self, Host};
use chaos_bench::guest::{config, create};
use chaos_bench::let_xen_scrub;

use crate::limits;
use crate::report::Report;

/// How many creates at each end are compared.
const SPAN: usize = 10;

pub(crate) fn measure(host: &Host, guests: usize, report: &mut Report) -> Result<()> {
    let mut config = config("noop.cfg", &["memory=2"])?;
    // The first create of a process also pays for one-time set-up.
    create(host, &config)?;
    guests::destroy(host, &config.name)?;
    let (mut totals, mut samples) = (Vec::new(), Vec::new());
    let mut names = Vec::new();
    for number in 0..guests {
        config.name = format!("noop-{number}");
        let_xen_scrub();
        let sample = create(host, &config)?;
        totals.push(sample.all_ns());
        samples.push(sample);
        names.push(config.name.clone());
    }
    for name in &names {
        guests::destroy(host, name)?;
    }
    let (first, last) = (&totals[..SPAN], &totals[guests - SPAN..]);
    report.times(format!("noop with console, 1st to {SPAN}th"), None, first);
    report.times(format!("noop with console, last {SPAN} of {guests}"), None, last);
    let grown = ratio(&totals);
    report.add(
        format!("the {guests}th against the first"),
        "times",
        Some(limits::GROWTH),
        vec![grown],
    );
    report.times(format!("noop with console, all {guests}"), None, &totals);
    for (number, stage) in samples[0].stages().iter().enumerate() {
        let all: Vec<u64> =
            samples.iter().filter_map(|sample| Some(sample.stages().get(number)?.ns)).collect();
        let name = format!("  of it more at the end: {}", stage.name);
        report.add(name, "ms", None, vec![more(&all)]);
    }
    Ok(())
}

/// Returns the median of the last [`SPAN`] samples divided by that of the first.
pub(crate) fn ratio(ns: &[u64]) -> f64 {
    median(&ns[ns.len() - SPAN..]) / median(&ns[..SPAN])
}

/// Returns the median of the last [`SPAN`] samples minus that of the first, in milliseconds.
pub(crate) fn more(ns: &[u64]) -> f64 {
    (median(&ns[ns.len() - SPAN..]) - median(&ns[..SPAN])) / 1e6
}

/// Returns the median of at least one sample.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn median(ns: &[u64]) -> f64 {
    let mut sorted = ns.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2] as f64
}
