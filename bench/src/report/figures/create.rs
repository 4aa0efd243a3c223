// SPDX-License-Identifier: GPL-3.0-or-later
//! `create`: figure 9 of the paper.

use crate::figure::{Figure, Panel, Scale};
use crate::goal::Goal;
use crate::samples::Samples;

pub(crate) const FIGURE: Figure = Figure {
    name: "create",
    title: "Creating one more daytime guest with a vif",
    unit: "ms",
    panels: &[
        Panel {
            title: "creation",
            x_label: "number of guests",
            scale: Scale::Logarithmic,
            drawn: |name| {
                let other = name.starts_with("stage") || name.ends_with(IN_XENSTORED);
                !other && !is_after(name)
            },
            ..Panel::LINES
        },
        Panel {
            title: "what comes after",
            x_label: "number of guests",
            scale: Scale::Logarithmic,
            drawn: is_after,
            ..Panel::LINES
        },
    ],
    goals,
};

/// The end of the names of the series that measure xenstored's part of a create. They are only in
/// the table.
const IN_XENSTORED: &str = ": in xenstored";

/// Returns whether the series measures what happens after the create.
fn is_after(name: &str) -> bool {
    name.ends_with(": destroy") || name.contains("answer")
}

/// How many values at each end are compared.
const SPAN: usize = 10;

fn goals(samples: &Samples) -> Vec<Goal> {
    let mut goals = Vec::new();
    for name in ["chaos [noxs]", "chaos [noxs+split]"] {
        if let Some(series) = samples.series(name) {
            let grown = series.last(SPAN) / series.first(SPAN);
            goals.push(Goal::at_most(format!("{name}, last against first"), grown, 1.03));
        }
        // Guests are destroyed from the last to the first, so the first samples have most guests.
        if let Some(series) = samples.series(&format!("{name}: destroy")) {
            let what = format!("{name}, destroy with all guests against with few");
            goals.push(Goal::at_most(what, series.first(SPAN) / series.last(SPAN), 1.1));
        }
    }
    if let Some(answer) = samples.series("daytime's answer to dom0") {
        let what = "an answer among all guests against one among ten at most";
        goals.push(Goal::at_most(what, answer.last(SPAN) / answer.first(2 * SPAN), 1.1));
    }
    if let Some(xl) = samples.series("xl, script of three lines") {
        for (name, what) in [
            ("chaos [XS]", "until the guest may run"),
            ("chaos [XS]: command", "the whole command"),
        ] {
            let Some(ours) = samples.series(name) else { continue };
            let what = format!("xl with three lines against {name}, {what}, of the first guests");
            goals.push(Goal::at_least(what, xl.first(SPAN) / ours.first(SPAN), 3.0));
        }
    }
    let Some(xl) = samples.series("xl") else { return goals };
    for (name, what) in [
        ("chaos [noxs+split]", "until the guest may run"),
        ("chaos [noxs+split]: command", "the whole command"),
    ] {
        let Some(ours) = samples.series(name) else { continue };
        // Compare at every number of guests that both reach.
        let least = xl.values().into_iter().zip(ours.values()).map(|(xl, ours)| xl / ours);
        let least = least.fold(f64::INFINITY, f64::min);
        let what = format!("xl against {name}, {what}, least of all numbers of guests");
        goals.push(Goal::at_least(what, least, 300.0));
    }
    goals
}
