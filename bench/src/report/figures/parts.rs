// SPDX-License-Identifier: GPL-3.0-or-later
//! `parts`: figure 5 of the paper.

use crate::figure::{Figure, Panel};

pub(crate) const FIGURE: Figure = Figure {
    name: "parts",
    title: "Where the time of a create goes: a daytime guest",
    unit: "ms",
    panels: &[
        Panel { title: "chaos, by stage", drawn: |name| !is_of_xl(name), ..Panel::BARS },
        Panel { title: "xl", drawn: is_of_xl, ..Panel::BARS },
    ],
    goals: |_| Vec::new(),
};

/// Returns whether the series is xl's. xl has a panel of its own, because it takes hundreds of
/// times as long: on its scale the bars of chaos would be invisible.
fn is_of_xl(name: &str) -> bool {
    name.starts_with("xl")
}
