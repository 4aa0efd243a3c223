//! `idle`: figure 15 of the paper.

use super::{Figure, Kind};
use crate::samples::Samples;
use crate::summary::Goal;

pub(crate) const FIGURE: Figure = Figure {
    name: "idle",
    title: "CPU used by idle daytime guests (x = 0: before the first)",
    x_label: "number of guests",
    y_label: "% of one CPU",
    kind: Kind::Lines,
    drawn: |_| true,
    goals,
};

fn goals(samples: &Samples) -> Vec<Goal> {
    let mut goals = Vec::new();
    if let Some(ours) = samples.series("guests and noxsd") {
        goals.push(Goal::at_most("% of the CPU for guests and noxsd", ours.last(1), 0.1));
    }
    if let Some(all) = samples.series("all domains") {
        let more = all.last(1) - all.first(1);
        goals.push(Goal::at_most("% of the CPU more than without guests, dom0 too", more, 0.1));
    }
    goals
}
