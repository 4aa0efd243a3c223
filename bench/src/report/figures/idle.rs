// SPDX-License-Identifier: GPL-3.0-or-later
//! `idle`: figure 15 of the paper.

use crate::figure::{Figure, Kind, Panel};
use crate::goal::Goal;
use crate::samples::Samples;

pub(crate) const FIGURE: Figure = Figure {
    name: "idle",
    title: "CPU used by idle daytime guests",
    unit: "% of one CPU",
    panels: &[Panel { y_label: "% of one CPU", kind: Kind::BarsOfX("guests"), ..Panel::BARS }],
    goals,
};

fn goals(samples: &Samples) -> Vec<Goal> {
    let mut goals = Vec::new();
    if let Some(all) = samples.series("all domains") {
        goals.push(Goal::at_most("% of the CPU for guests and all of dom0", all.last(1), 0.1));
    }
    goals
}
