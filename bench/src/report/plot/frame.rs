// SPDX-License-Identifier: GPL-3.0-or-later
//! The area of a plot in which the values are drawn.

use plotters::style::RGBColor;

/// The colours of grid lines: at ticks with a label, and at minor ticks.
pub(super) const GRID: RGBColor = RGBColor(200, 200, 200);
pub(super) const MINOR: RGBColor = RGBColor(235, 235, 235);

/// The edges of the area, in pixels; its height is that of the content.
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
}
