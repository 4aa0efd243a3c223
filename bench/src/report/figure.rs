// SPDX-License-Identifier: GPL-3.0-or-later
//! Describes a figure: its panels and its goals.

use crate::goal::Goal;
use crate::samples::Samples;

/// A figure.
pub(crate) struct Figure {
    /// Its name as an argument of `scripts/bench`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The unit of the values in the table.
    pub(crate) unit: &'static str,
    /// The plots, drawn one below the other.
    pub(crate) panels: &'static [Panel],
    /// Computes the figure's goals from its samples.
    pub(crate) goals: fn(&Samples) -> Vec<Goal>,
}

/// One plot of a figure.
pub(crate) struct Panel {
    /// Empty for the only panel of a figure.
    pub(crate) title: &'static str,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) scale: Scale,
    /// Returns whether the series of this name is drawn. All series are in the table.
    pub(crate) drawn: fn(&str) -> bool,
    /// Returns the part of a series' name that is shown. The panel's labels say the rest.
    pub(crate) shown: fn(&str) -> &str,
    /// Returns the name that determines the colour. Takes the part of a series' name before its
    /// first colon.
    pub(crate) family: fn(&str) -> &str,
}

/// How the series of a panel are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each series is a line over x.
    Lines,
    /// Each series is a bar of its median.
    Bars,
    /// Each series is a bar for each x; the text is the unit of x.
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
