//! How each figure is drawn, and what is wanted of it.

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
    /// As `scripts/bench` is told it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) kind: Kind,
    /// Whether a series is drawn; all are in the table.
    pub(crate) drawn: fn(&str) -> bool,
    pub(crate) goals: fn(&Samples) -> Vec<Goal>,
}

/// How it is drawn. The scale of y is logarithmic: what is compared differs by up to a thousand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each series is a line over x.
    Lines,
    /// Each series is a bar of its median.
    Bars,
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

/// The figure of this name.
pub(crate) fn find(name: &str) -> Option<&'static Figure> {
    FIGURES.into_iter().find(|figure| figure.name == name)
}
