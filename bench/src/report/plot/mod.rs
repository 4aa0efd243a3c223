// SPDX-License-Identifier: GPL-3.0-or-later
//! Draws a figure's plots as SVG, and converts that to PNG.

mod axis;
mod bars;
mod canvas;
mod frame;
mod lines;
mod number;
mod style;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use dejavu::sans;
use plotters::style::text_anchor::HPos;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use crate::figure::{Figure, Kind, Panel};
use crate::samples::{Samples, Series};
use bars::Bars;
use canvas::{Canvas, Font, LINE, MARGIN, WIDTH};
use frame::Frame;
use lines::Lines;
use style::Palette;

/// The least heights of a panel of lines: as the only panel, and among others.
const ALONE: f64 = 760.0;
const AMONG: f64 = 480.0;

/// The content of a panel.
enum Content<'p> {
    Lines(Lines<'p>),
    Bars(Bars<'p>),
}

/// Draws the figure into `plot.svg` and `plot.png` in a folder.
pub(crate) fn draw(figure: &Figure, samples: &Samples, folder: &Path) -> Result<()> {
    let svg = svg(figure, samples).with_context(|| format!("cannot draw {}", figure.name))?;
    fs::write(folder.join("plot.svg"), &svg)?;
    Ok(fs::write(folder.join("plot.png"), png(&svg)?)?)
}

fn svg(figure: &Figure, samples: &Samples) -> Result<String> {
    let mut palette = Palette::default();
    let least = if figure.panels.len() > 1 { AMONG } else { ALONE };
    let mut panels = Vec::new();
    for panel in figure.panels {
        let drawn: Vec<&Series> =
            samples.series.iter().filter(|series| (panel.drawn)(&series.name)).collect();
        if !drawn.is_empty() {
            panels.push((panel, Content::new(panel, &drawn, &mut palette, least)));
        }
    }
    // Align all panels at the left and at the right.
    let (mut left, mut right): (f64, f64) = (0.0, 0.0);
    for (_, content) in &panels {
        left = left.max(content.left()?);
        right = right.max(content.right()?);
    }
    let (left, right) = (MARGIN + left, f64::from(WIDTH) - MARGIN - right);
    let above = |panel: &Panel| if panel.title.is_empty() { 0.0 } else { LINE * 1.5 };
    let below = LINE * 2.0 + MARGIN * 1.5;
    let head = MARGIN + LINE * 2.0;
    let height: f64 =
        panels.iter().map(|(panel, content)| above(panel) + content.height() + below).sum();

    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, head + height)?;
    let middle = (f64::from(WIDTH) / 2.0, MARGIN + LINE / 2.0);
    canvas.text(figure.title, Font::Title, HPos::Center, middle)?;
    let mut top = head;
    for (panel, content) in &panels {
        canvas.text(panel.title, Font::Head, HPos::Left, (left, top + LINE / 2.0))?;
        top += above(panel);
        content.draw(&canvas, &Frame { left, right, top })?;
        top += content.height() + below;
    }
    canvas.finish()?;
    Ok(svg)
}

fn png(svg: &str) -> Result<Vec<u8>> {
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_font_data(sans::regular().to_vec());
    fonts.load_font_data(sans::bold().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size();
    let mut pixels = Pixmap::new(size.width(), size.height()).context("the plot has no size")?;
    resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
    Ok(pixels.encode_png()?)
}

impl<'p> Content<'p> {
    fn new(panel: &'p Panel, drawn: &[&Series], palette: &mut Palette, least: f64) -> Self {
        match panel.kind {
            Kind::Lines => Self::Lines(Lines::new(panel, drawn, palette, least)),
            Kind::Bars => Self::Bars(Bars::new(panel, drawn, palette)),
            Kind::BarsOfX(unit) => Self::Bars(Bars::of_x(panel, drawn, unit, palette)),
        }
    }

    /// Returns the width that the content needs to the left of the values.
    fn left(&self) -> Result<f64> {
        match self {
            Self::Lines(lines) => lines.left(),
            Self::Bars(bars) => bars.left(),
        }
    }

    /// Returns the width that the content needs to the right of the values.
    fn right(&self) -> Result<f64> {
        match self {
            Self::Lines(lines) => lines.right(),
            Self::Bars(bars) => bars.right(),
        }
    }

    /// Returns the height of the values' area, without what is below it.
    fn height(&self) -> f64 {
        match self {
            Self::Lines(lines) => lines.height(),
            Self::Bars(bars) => bars.height(),
        }
    }

    fn draw(&self, canvas: &Canvas<'_>, frame: &Frame) -> Result<()> {
        match self {
            Self::Lines(lines) => lines.draw(canvas, frame),
            Self::Bars(bars) => bars.draw(canvas, frame),
        }
    }
}
