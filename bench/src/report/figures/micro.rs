// SPDX-License-Identifier: GPL-3.0-or-later
//! `micro`: single operations of this project's code.

use crate::figure::{Figure, Panel, Scale};

pub(crate) const FIGURE: Figure = Figure {
    name: "micro",
    title: "One operation on the host",
    unit: "ns of the host's clock",
    panels: &[Panel {
        y_label: "ns of the host's clock",
        scale: Scale::Logarithmic,
        ..Panel::BARS
    }],
    goals: |_| Vec::new(),
};
