// SPDX-License-Identifier: GPL-3.0-or-later
//! `boot`: figures 4 and 11 of the paper.

use crate::figure::{Figure, Panel, Scale};
use crate::goal::Goal;
use crate::samples::Samples;

pub(crate) const FIGURE: Figure = Figure {
    name: "boot",
    title: "One guest: creation, and boot until its first words",
    unit: "ms",
    panels: &[Panel {
        scale: Scale::Logarithmic,
        drawn: |name| !name.ends_with("until its end"),
        family,
        ..Panel::BARS
    }],
    goals,
};

fn goals(samples: &Samples) -> Vec<Goal> {
    let median = |name: &str| Some(samples.series(name)?.first(usize::MAX));
    let against = |what: &str, peer: &str, ours: &str, limit: f64| {
        Some(Goal::at_least(what.to_owned(), median(peer)? / median(ours)?, limit))
    };
    let goals = [
        against(
            "crun run against chaos create through a warm pool, execve to first words",
            "crun run: until its first words",
            "chaos create redis, warm pool: until its first words",
            10.0,
        ),
        against(
            "krata against chaos [XS], both with a vif, until it may run",
            "krata, a vif: until it may run",
            "chaos [XS], a vif: until it may run",
            1.0,
        ),
        against(
            "krata against chaos [XS], both without a vif, until it may run",
            "krata, no vif: until it may run",
            "chaos [XS], no vif: until it may run",
            1.0,
        ),
    ];
    goals.into_iter().flatten().collect()
}

/// Returns which system starts the guest, container or process: it determines the colour.
fn family(group: &str) -> &str {
    match group {
        "" | "a process" => "Linux",
        _ if group.ends_with(" run") || group.contains(" run,") => "container",
        _ if group.starts_with("krata") => "krata",
        _ if group.starts_with("xl") || group.ends_with("xl") => "xl",
        _ => "chaos",
    }
}
