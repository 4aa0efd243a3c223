//! `idle`: figure 15 of the paper.

use super::{Figure, Panel};
use crate::samples::Samples;
use crate::summary::Goal;

pub(crate) const FIGURE: Figure = Figure {
    name: "idle",
    title: "CPU used by idle daytime guests (x = 0: before the first)",
    unit: "% of one CPU",
    panels: &[Panel { x_label: "number of guests", y_label: "% of one CPU", ..Panel::LINES }],
    goals,
};

fn goals(samples: &Samples) -> Vec<Goal> {
    let mut goals = Vec::new();
    if let Some(all) = samples.series("all domains") {
        goals.push(Goal::at_most("% of the CPU for guests and all of dom0", all.last(1), 0.1));
    }
    goals
}
