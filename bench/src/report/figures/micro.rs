//! `micro`: this project's own code, by itself.

use super::{Figure, Kind};

pub(crate) const FIGURE: Figure = Figure {
    name: "micro",
    title: "One operation on the host",
    x_label: "",
    y_label: "ns of the host's clock",
    kind: Kind::Bars,
    drawn: |_| true,
    goals: |_| Vec::new(),
};
