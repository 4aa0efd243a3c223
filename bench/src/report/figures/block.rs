// SPDX-License-Identifier: GPL-3.0-or-later
//! `block`: reads and writes of a disk, through noxsd and through blkback.

use crate::figure::{Figure, Panel};
use crate::goal::Goal;
use crate::samples::Samples;

pub(crate) const FIGURE: Figure = Figure {
    name: "block",
    title: "Reads and writes of a file: a guest through noxsd, and a Linux guest through blkback",
    unit: "1000 instructions per operation; % of the CPU",
    panels: &[
        Panel {
            title: "4 KiB at random",
            y_label: "1000 instructions per operation",
            drawn: |name| name.contains("4 KiB") && !name.contains('%'),
            ..Panel::BARS
        },
        Panel {
            title: "1 MiB, one after the other",
            y_label: "1000 instructions per operation",
            drawn: |name| name.contains("1 MiB") && !name.contains('%'),
            ..Panel::BARS
        },
    ],
    goals,
};

const OURS: &str = "blkbench, noxsd: ";
const LINUX: &str = "Linux, blkback: ";

fn goals(samples: &Samples) -> Vec<Goal> {
    let ours = samples.series.iter().filter(|series| !series.name.contains('%'));
    let goals = ours.filter_map(|ours| {
        let what = ours.name.strip_prefix(OURS)?;
        let linux = samples.series(&format!("{LINUX}{what}"))?;
        let ratio = ours.first(usize::MAX) / linux.first(usize::MAX);
        Some(Goal::at_most(format!("{what}: noxsd against blkback"), ratio, 1.0))
    });
    goals.collect()
}
