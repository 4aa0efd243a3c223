// SPDX-License-Identifier: GPL-3.0-or-later
//! All figures.

mod block;
mod boot;
mod create;
mod density;
mod idle;
mod image;
mod micro;
mod parts;
mod restart;
mod traffic;

use crate::figure::Figure;

const FIGURES: [&Figure; 10] = [
    &block::FIGURE,
    &boot::FIGURE,
    &create::FIGURE,
    &density::FIGURE,
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
