//! How a figure is drawn, and what is wanted of it.

use crate::goal::Goal;
use crate::samples::Samples;

/// A figure.
pub(crate) struct Figure {
    /// As `scripts/bench` is told it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What the values in the table are.
    pub(crate) unit: &'static str,
    /// One below the other.
    pub(crate) panels: &'static [Panel],
    pub(crate) goals: fn(&Samples) -> Vec<Goal>,
}

/// One plot of a figure.
pub(crate) struct Panel {
    /// If there are others.
    pub(crate) title: &'static str,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) scale: Scale,
    /// Whether a series is drawn; all are in the table.
    pub(crate) drawn: fn(&str) -> bool,
    /// What is told of a series' name: the rest is said by the panel.
    pub(crate) shown: fn(&str) -> &str,
    /// What has the colour, of the part of a name before its first colon.
    pub(crate) family: fn(&str) -> &str,
}

/// How it is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each series is a line over x.
    Lines,
    /// Each series is a bar of its median.
    Bars,
    /// Each series is a bar for each x, which is of this.
    BarsOfX(&'static str),
}

/// Of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero on.
    Linear,
    /// For what differs by up to a thousand.
    Logarithmic,
}

impl Panel {
    /// All series as lines.
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

    /// All series as bars.
    pub(crate) const BARS: Self = Self { kind: Kind::Bars, ..Self::LINES };
}
