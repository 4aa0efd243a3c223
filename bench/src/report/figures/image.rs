//! `image`: figure 2 of the paper.

use super::{Figure, Kind};

pub(crate) const FIGURE: Figure = Figure {
    name: "image",
    title: "A noop guest of 80 MiB with a ramdisk",
    x_label: "MiB of ramdisk",
    y_label: "ms",
    kind: Kind::Lines,
    drawn: |_| true,
    goals: |_| Vec::new(),
};
