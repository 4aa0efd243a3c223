//! The part of a plot where the values are.

use plotters::style::RGBColor;

/// Colours of the lines at values that are labelled, and at those between them.
pub(super) const GRID: RGBColor = RGBColor(200, 200, 200);
pub(super) const MINOR: RGBColor = RGBColor(235, 235, 235);

/// Where values are.
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
}
