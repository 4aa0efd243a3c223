// SPDX-License-Identifier: GPL-3.0-or-later
//! `density`: figures 10 and 14 of the paper.

use crate::figure::{Figure, Panel, Scale};
use crate::goal::Goal;
use crate::samples::{Samples, Series};

pub(crate) const FIGURE: Figure = Figure {
    name: "density",
    title: "Noop guests of 1 MiB",
    unit: "ms (create), KiB per guest (KiB: ...)",
    panels: &[
        Panel {
            title: "creation",
            x_label: "number of guests",
            drawn: |name| name == "create",
            ..Panel::LINES
        },
        Panel {
            title: "end: the guest answers, powers off, and is destroyed",
            x_label: "number of guests",
            drawn: |name| name == "end",
            ..Panel::LINES
        },
        Panel {
            title: "memory of each guest",
            x_label: "number of guests",
            y_label: "KiB per guest",
            scale: Scale::Logarithmic,
            drawn: |name| name.starts_with(MEMORY),
            shown: |name| name.trim_start_matches(MEMORY),
            ..Panel::LINES
        },
    ],
    goals,
};

/// The beginning of the names of the memory series.
const MEMORY: &str = "KiB: ";

/// The number of guests that the goal asks for.
const GUESTS: f64 = 8000.0;

/// How many creates at each end are compared.
const ENDS: usize = 100;

fn goals(samples: &Samples) -> Vec<Goal> {
    let mut goals = Vec::new();
    // A run with fewer guests does not have this goal.
    let all = |series: &&Series| series.points.iter().any(|(asked, _)| *asked >= GUESTS);
    if let Some(alive) = samples.series("alive").filter(all) {
        goals.push(Goal::at_least("guests that are alive", alive.last(1), GUESTS));
    }
    if let Some(create) = samples.series("create") {
        let grown = create.last(ENDS) / create.first(ENDS);
        goals.push(Goal::at_most("last hundred against first hundred", grown, 1.1));
    }
    if let Some(ours) = samples.series("KiB: ours") {
        let what = "KiB per guest in noxsd, chaosd and records";
        goals.push(Goal::at_most(what, ours.last(1), 24.0));
    }
    goals
}
