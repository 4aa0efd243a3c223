//! `boot`: figures 4 and 11 of the paper.

use super::{Figure, Kind};

pub(crate) const FIGURE: Figure = Figure {
    name: "boot",
    title: "One guest: creation, and boot until its first words",
    x_label: "",
    y_label: "ms",
    kind: Kind::Bars,
    drawn: |_| true,
    goals: |_| Vec::new(),
};
