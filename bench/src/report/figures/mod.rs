//! How each figure is drawn, and the goals it has to meet.

mod boot;
mod create;
mod density;
mod idle;
mod image;
mod micro;
mod parts;
mod traffic;

use crate::samples::Samples;
use crate::summary::Goal;

/// A figure.
pub(crate) struct Figure {
    /// The name by which `scripts/bench` knows it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The unit of the values in the table.
    pub(crate) unit: &'static str,
    /// The plots, from top to bottom.
    pub(crate) panels: &'static [Panel],
    pub(crate) goals: fn(&Samples) -> Vec<Goal>,
}

/// One plot of a figure.
pub(crate) struct Panel {
    /// Empty if the figure has only one panel.
    pub(crate) title: &'static str,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) scale: Scale,
    /// Returns whether the series of this name is drawn; the table has all series.
    pub(crate) drawn: fn(&str) -> bool,
    /// Returns the part of a series' name to show; the panel's labels already say the rest.
    pub(crate) shown: fn(&str) -> &str,
    /// Returns what determines the colour, from the part of a name before its first colon.
    pub(crate) family: fn(&str) -> &str,
}

/// How a panel is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each series is a line over x.
    Lines,
    /// Each series is one bar, its median.
    Bars,
    /// Each series is one bar for each x; the string is the unit of x.
    BarsOfX(&'static str),
}

/// The scale of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Starts at zero.
    Linear,
    /// For values that differ by a factor of up to a thousand.
    Logarithmic,
}

impl Panel {
    /// Draws all series as lines.
    pub(crate) const LINES: Self = Self {
        title: "",
        x_label: "",
        y_label: "ms",
        kind: Kind::Lines,
        scale: Scale::Linear,
        drawn: |_| true,
        shown: |name| name,
        family: |group| group,
    };

    /// Draws all series as bars.
    pub(crate) const BARS: Self = Self { kind: Kind::Bars, ..Self::LINES };
}

const FIGURES: [&Figure; 8] = [
    &boot::FIGURE,
    &create::FIGURE,
    &density::FIGURE,
    &idle::FIGURE,
    &image::FIGURE,
    &micro::FIGURE,
    &parts::FIGURE,
    &traffic::FIGURE,
];

/// Returns the figure of this name.
pub(crate) fn find(name: &str) -> Option<&'static Figure> {
    FIGURES.into_iter().find(|figure| figure.name == name)
}
