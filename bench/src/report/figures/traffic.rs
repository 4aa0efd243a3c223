// SPDX-License-Identifier: GPL-3.0-or-later
//! `traffic`: requests through noxsd's switch, and through netback.

use crate::figure::{Figure, Panel};
use crate::goal::Goal;
use crate::samples::Samples;

pub(crate) const FIGURE: Figure = Figure {
    name: "traffic",
    title: "Redis requests from dom0: over loopback, through noxsd, and through netback",
    unit: "requests per second; ms (PING to PONG)",
    panels: &[
        Panel {
            title: "rate of small requests",
            y_label: "requests per second",
            drawn: |name| name.contains("at once"),
            ..Panel::BARS
        },
        Panel {
            title: "throughput of large values, 1 at once",
            y_label: "MiB/s",
            drawn: |name| name.ends_with(RATE),
            shown: |name| name.trim_end_matches(RATE),
            ..Panel::BARS
        },
    ],
    goals,
};

/// The end of the names of the throughput series, which the panel's label already shows.
const RATE: &str = ", MiB/s";

/// The tests whose rates are compared, and how many times as much is wanted.
const ROWS: [(&str, f64); 6] = [
    ("SET, 1 at once", 2.0),
    ("GET, 1 at once", 2.0),
    ("SET, 50 at once", 2.0),
    ("GET, 50 at once", 2.0),
    ("SET of 64 KiB, MiB/s", 1.0),
    ("GET of 64 KiB, MiB/s", 1.0),
];

fn goals(samples: &Samples) -> Vec<Goal> {
    let rows = ROWS.into_iter().filter_map(|(row, times)| {
        let ours = samples.series(&format!("guest: {row}"))?.first(1);
        let xl = samples.series(&format!("xl, Linux, netback: {row}"))?.first(1);
        Some(Goal::at_least(format!("{row}: ours against xl's Linux"), ours / xl, times))
    });
    rows.collect()
}
