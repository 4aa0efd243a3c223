// SPDX-License-Identifier: GPL-3.0-or-later
//! `restart`: how long guests are without `noxsd` when it is killed.

use crate::figure::{Figure, Kind, Panel};
use crate::goal::Goal;
use crate::samples::{Samples, Series};

pub(crate) const FIGURE: Figure = Figure {
    name: "restart",
    title: "Restarting noxsd after a SIGKILL",
    unit: "ms",
    panels: &[Panel { kind: Kind::BarsOfX("guests"), ..Panel::BARS }],
    goals,
};

/// Kills for each number of guests, of each kind. The last ones are with most guests.
const ROUNDS: usize = 10;

fn goals(samples: &Samples) -> Vec<Goal> {
    let served = samples.series("until it serves all guests");
    let goal = |series: &Series| {
        Goal::at_most("ms until most guests are served again", series.last(ROUNDS), 350.0)
    };
    served.map(goal).into_iter().collect()
}
