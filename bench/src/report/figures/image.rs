// SPDX-License-Identifier: GPL-3.0-or-later
//! `image`: figure 2 of the paper.

use crate::figure::{Figure, Panel};

pub(crate) const FIGURE: Figure = Figure {
    name: "image",
    title: "A noop guest of 80 MiB with a ramdisk",
    unit: "ms",
    panels: &[Panel { x_label: "MiB of ramdisk", ..Panel::LINES }],
    goals: |_| Vec::new(),
};
