// SPDX-License-Identifier: GPL-3.0-or-later
//! Draws the parts of a plot: texts, lines and areas. The fonts are compiled in, so none need to be
//! installed.

use std::sync::Once;

use anyhow::Result;
use dejavu::sans;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::Dash;

/// The width in pixels. Plots are drawn at twice the size at which they are usually shown, because
/// positions are whole numbers.
pub(super) const WIDTH: u32 = 1920;

/// The margin at the picture's edge and between parts of the plot.
pub(super) const MARGIN: f64 = 24.0;

/// The distance from one line of text to the next.
pub(super) const LINE: f64 = 38.0;

/// The heights of text and titles. The SVG backend divides the font size by 1.24, so text is set
/// in a font of size 29.
const TEXT: i32 = 36;
const TITLE: i32 = 44;

/// The width of the lines of data.
pub(super) const DATA: u32 = 4;

/// What a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Font {
    Text,
    /// A heading.
    Head,
    Title,
    /// Text that runs from bottom to top.
    Upwards,
}

impl Font {
    fn style(self, pos: Pos) -> TextStyle<'static> {
        let size = if self == Self::Title { TITLE } else { TEXT };
        let weight = match self {
            Self::Head | Self::Title => FontStyle::Bold,
            Self::Text | Self::Upwards => FontStyle::Normal,
        };
        // Set the weight here: a font made bold later is still measured as the normal one.
        let font = FontDesc::new(FontFamily::SansSerif, f64::from(size), weight);
        let font =
            if self == Self::Upwards { font.transform(FontTransform::Rotate270) } else { font };
        TextStyle::from(font).color(&BLACK).pos(pos)
    }
}

/// The picture that is being drawn.
pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl<'a> Canvas<'a> {
    pub(super) fn new(svg: &'a mut String, height: f64) -> Result<Self> {
        register_fonts();
        let size = (WIDTH, whole(height).unsigned_abs());
        let area = SVGBackend::with_string(svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        Ok(Self(area))
    }

    pub(super) fn finish(self) -> Result<()> {
        Ok(self.0.present()?)
    }

    /// Draws a text that is vertically centred on `at`.
    pub(super) fn text(&self, text: &str, font: Font, h: HPos, at: (f64, f64)) -> Result<()> {
        let style = font.style(Pos::new(h, VPos::Center));
        Ok(self.0.draw_text(text, &style, pixel(at))?)
    }

    pub(super) fn area(
        &self,
        from: (f64, f64),
        to: (f64, f64),
        style: impl Into<ShapeStyle>,
    ) -> Result<()> {
        Ok(self.0.draw(&Rectangle::new([pixel(from), pixel(to)], style))?)
    }

    pub(super) fn path(
        &self,
        points: &[(f64, f64)],
        dash: Dash,
        style: impl Into<ShapeStyle>,
    ) -> Result<()> {
        let points: Vec<(i32, i32)> = points.iter().copied().map(pixel).collect();
        match dash {
            None => self.0.draw(&PathElement::new(points, style))?,
            Some((drawn, left)) => {
                self.0.draw(&DashedPathElement::new(points, drawn, left, style))?;
            }
        }
        Ok(())
    }

    pub(super) fn disc(&self, at: (f64, f64), radius: i32, colour: RGBColor) -> Result<()> {
        Ok(self.0.draw(&Circle::new(pixel(at), radius, colour.filled()))?)
    }
}

/// Returns the width of a text in pixels. A browser that uses another font may draw it narrower.
pub(super) fn width(text: &str, font: Font) -> Result<f64> {
    register_fonts();
    let style = font.style(Pos::default());
    let ((left, _), (right, _)) = style.font.layout_box(text)?;
    Ok(f64::from(right - left))
}

/// Returns the largest width among the texts.
pub(super) fn widest<'t>(texts: impl Iterator<Item = &'t str>, font: Font) -> Result<f64> {
    texts.map(|text| width(text, font)).try_fold(0.0, |most: f64, one| Ok(most.max(one?)))
}

fn register_fonts() {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        // The only possible error is that the font cannot be parsed. Measuring text then fails
        // with an error of its own.
        let _ = register_font("sans-serif", FontStyle::Normal, sans::regular());
        let _ = register_font("sans-serif", FontStyle::Bold, sans::bold());
    });
}

fn pixel((x, y): (f64, f64)) -> (i32, i32) {
    (whole(x), whole(y))
}

/// Rounds to a whole pixel. Positions are at most some thousand pixels, so they fit.
#[allow(clippy::cast_possible_truncation)]
fn whole(pixels: f64) -> i32 {
    pixels.round() as i32
}
