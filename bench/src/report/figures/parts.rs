//! `parts`: figure 5 of the paper.

use super::{Figure, Kind};

pub(crate) const FIGURE: Figure = Figure {
    name: "parts",
    title: "Where the time of a create goes: a daytime guest",
    x_label: "",
    y_label: "ms",
    kind: Kind::Bars,
    drawn: |_| true,
    goals: |_| Vec::new(),
};
