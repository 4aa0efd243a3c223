// SPDX-License-Identifier: GPL-3.0-or-later
//! All figures.

mod block;
mod boot;
mod create;
mod density;
mod frames;
mod idle;
mod image;
mod micro;
mod parts;
mod restart;
mod traffic;

use crate::figure::Figure;

const FIGURES: [&Figure; 11] = [
    &block::FIGURE,
    &boot::FIGURE,
    &create::FIGURE,
    &density::FIGURE,
    &frames::FIGURE,
    &idle::FIGURE,
    &image::FIGURE,
    &micro::FIGURE,
    &parts::FIGURE,
    &restart::FIGURE,
    &traffic::FIGURE,
];

/// Returns the figure of this name.
pub(crate) fn find(name: &str) -> Option<&'static Figure> {
    FIGURES.into_iter().find(|figure| figure.name == name)
}
