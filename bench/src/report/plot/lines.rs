// SPDX-License-Identifier: GPL-3.0-or-later
//! Draws each series as a line over x, with the names beside the plot.

use anyhow::Result;
use plotters::style::text_anchor::HPos;
use plotters::style::{BLACK, Color, RGBColor};

use super::axis::Axis;
use super::canvas::{Canvas, DATA, Font, LINE, MARGIN, widest, width};
use super::frame::{Frame, GRID, MINOR};
use super::style::{Palette, Style, group, wrap};
use crate::figure::{Panel, Scale};
use crate::samples::Series;

/// The maximum length of a line of a name, in characters.
const LENGTH: usize = 21;

/// The length of the piece of line shown before a name.
const SAMPLE: f64 = 60.0;

/// The minimum average distance at which points are marked.
const APART: f64 = 24.0;

/// The room for a tick's label, at the left and below.
const ROOM: (f64, f64) = (46.0, 120.0);

/// A panel of lines.
pub(super) struct Lines<'p> {
    panel: &'p Panel,
    lines: Vec<Line>,
    height: f64,
}

struct Line {
    name: Vec<String>,
    style: Style,
    /// Its place in the order of arrival, which determines the shape of its marks.
    number: usize,
    /// The median for each x.
    points: Vec<(f64, f64)>,
}

impl<'p> Lines<'p> {
    /// Creates a panel that is at least `height` high.
    pub(super) fn new(
        panel: &'p Panel,
        drawn: &[&Series],
        palette: &mut Palette,
        height: f64,
    ) -> Self {
        let mut groups: Vec<&str> = Vec::new();
        let mut lines: Vec<Line> = Vec::new();
        for series in drawn {
            let shown = (panel.shown)(&series.name);
            let group = group(shown).0.unwrap_or(shown);
            let member = groups.iter().filter(|known| **known == group).count();
            groups.push(group);
            lines.push(Line {
                name: wrap(shown, LENGTH),
                style: palette.style((panel.family)(group), member),
                number: lines.len(),
                points: series.medians(),
            });
        }
        // List the names in the order of the lines' right ends.
        let end = |line: &Line| line.points.last().map_or(0.0, |(_, y)| *y);
        lines.sort_by(|one, other| end(other).total_cmp(&end(one)));
        let names: f64 = lines.iter().map(Line::height).sum();
        Self { panel, lines, height: height.max(names) }
    }

    /// Returns the width of the ticks' labels and the axis's name.
    pub(super) fn left(&self) -> Result<f64> {
        let labels: Vec<String> =
            self.y((self.height, 0.0)).ticks(ROOM.0).into_iter().filter_map(|t| t.label).collect();
        Ok(widest(labels.iter().map(String::as_str), Font::Text)? + LINE + MARGIN)
    }

    /// Returns the width of the column of names.
    pub(super) fn right(&self) -> Result<f64> {
        let names = self.lines.iter().flat_map(|line| &line.name).map(String::as_str);
        let last = width("0000", Font::Text)? / 2.0;
        if !self.named() {
            return Ok(last);
        }
        Ok(last + SAMPLE + MARGIN + widest(names, Font::Text)?)
    }

    pub(super) fn height(&self) -> f64 {
        self.height
    }

    /// Returns whether names are shown. A single line needs none: the panel's labels describe it.
    fn named(&self) -> bool {
        self.lines.len() > 1
    }

    fn y(&self, ends: (f64, f64)) -> Axis {
        let values: Vec<f64> =
            self.lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).collect();
        Axis::around(self.panel.scale, &values, ends)
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame) -> Result<()> {
        let Frame { left, right, top } = *frame;
        let bottom = top + self.height;
        let points = self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::to(points.map(|(x, _)| *x).fold(0.0, f64::max), (left, right));
        let y = self.y((bottom, top));
        self.grid(canvas, frame, &x, &y)?;
        let logarithmic = self.panel.scale == Scale::Logarithmic;
        let names = right + width("0000", Font::Text)? / 2.0;
        let mut name = top;
        for line in &self.lines {
            let points = line.points.iter().filter(|(_, value)| !logarithmic || *value > 0.0);
            let pixels: Vec<(f64, f64)> =
                points.map(|(at, value)| (x.at(*at), y.at(*value))).collect();
            let marks = marks(&pixels);
            canvas.path(&thin(&pixels), line.style.dash, line.style.colour.stroke_width(DATA))?;
            for at in &marks {
                mark(canvas, line.number, *at, line.style.colour)?;
            }
            if self.named() {
                line.name(canvas, (names, name), !marks.is_empty())?;
            }
            name += line.height();
        }
        let axes = [(left, top), (left, bottom), (right, bottom)];
        canvas.path(&axes, None, BLACK.stroke_width(2))
    }

    fn grid(&self, canvas: &Canvas<'_>, frame: &Frame, x: &Axis, y: &Axis) -> Result<()> {
        let Frame { left, right, top } = *frame;
        let bottom = top + self.height;
        for tick in x.ticks(ROOM.1) {
            let at = x.at(tick.value);
            canvas.path(&[(at, top), (at, bottom)], None, GRID.stroke_width(2))?;
            let label = tick.label.unwrap_or_default();
            canvas.text(&label, Font::Text, HPos::Center, (at, bottom + LINE / 2.0 + 6.0))?;
        }
        for tick in y.ticks(ROOM.0) {
            let at = y.at(tick.value);
            let colour = if tick.label.is_some() { GRID } else { MINOR };
            canvas.path(&[(left, at), (right, at)], None, colour.stroke_width(2))?;
            if let Some(label) = tick.label {
                canvas.text(&label, Font::Text, HPos::Right, (left - 10.0, at))?;
            }
        }
        let below = (f64::midpoint(left, right), bottom + LINE * 1.5 + 10.0);
        canvas.text(self.panel.x_label, Font::Text, HPos::Center, below)?;
        let beside = (MARGIN + LINE / 2.0, f64::midpoint(top, bottom));
        canvas.text(self.panel.y_label, Font::Upwards, HPos::Center, beside)
    }
}

impl Line {
    /// Returns the height of its name.
    fn height(&self) -> f64 {
        self.name.iter().fold(MARGIN / 2.0, |sum, _| sum + LINE)
    }

    fn name(&self, canvas: &Canvas<'_>, (x, y): (f64, f64), marked: bool) -> Result<()> {
        let middle = y + LINE / 2.0;
        let piece = [(x, middle), (x + SAMPLE, middle)];
        canvas.path(&piece, self.style.dash, self.style.colour.stroke_width(DATA + 2))?;
        if marked {
            mark(canvas, self.number, (x + SAMPLE / 2.0, middle), self.style.colour)?;
        }
        let mut at = middle;
        for text in &self.name {
            canvas.text(text, Font::Text, HPos::Left, (x + SAMPLE + 12.0, at))?;
            at += LINE;
        }
        Ok(())
    }
}

/// Returns the points to mark: all if they are far enough apart, or the middle one of a line that
/// is too short to be visible otherwise.
fn marks(pixels: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (pixels.first(), pixels.last()) else { return Vec::new() };
    let length = last.0 - first.0;
    if length < APART {
        return vec![pixels[pixels.len() / 2]];
    }
    let needed = pixels.iter().skip(1).fold(0.0, |sum, _| sum + APART);
    if length >= needed { pixels.to_vec() } else { Vec::new() }
}

/// Draws a mark whose shape depends on the line's number, so that lines that lie on top of each
/// other can be told apart.
fn mark(canvas: &Canvas<'_>, number: usize, (x, y): (f64, f64), colour: RGBColor) -> Result<()> {
    let corners: &[(f64, f64)] = match number % 4 {
        0 => return canvas.disc((x, y), 8, colour),
        1 => &[(-11.0, -11.0), (11.0, -11.0), (11.0, 11.0), (-11.0, 11.0), (-11.0, -11.0)],
        2 => &[(0.0, -15.0), (14.0, 10.0), (-14.0, 10.0), (0.0, -15.0)],
        _ => &[(0.0, -15.0), (15.0, 0.0), (0.0, 15.0), (-15.0, 0.0), (0.0, -15.0)],
    };
    let path: Vec<(f64, f64)> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
    canvas.path(&path, None, colour.stroke_width(3))
}

/// Keeps only the first, the lowest, the highest and the last of the points in one column of
/// pixels. The others would not be visible.
fn thin(pixels: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let same_column = |one: &(f64, f64), other: &(f64, f64)| {
        (one.0.round() - other.0.round()).abs() < f64::EPSILON
    };
    let mut left = Vec::new();
    for column in pixels.chunk_by(same_column) {
        let by_height = |one: &usize, other: &usize| column[*one].1.total_cmp(&column[*other].1);
        let lowest = (0..column.len()).max_by(by_height).unwrap_or(0);
        let highest = (0..column.len()).min_by(by_height).unwrap_or(0);
        let mut kept = [0, lowest, highest, column.len() - 1];
        kept.sort_unstable();
        for (number, at) in kept.iter().enumerate() {
            if !kept[..number].contains(at) {
                left.push(column[*at]);
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_keeps_its_ends_and_extremes() {
        let column = [(1.0, 5.0), (1.1, 6.0), (1.2, 1.0), (1.3, 4.0), (1.4, 9.0), (2.0, 3.0)];
        assert_eq!(thin(&column), [(1.0, 5.0), (1.2, 1.0), (1.4, 9.0), (2.0, 3.0)]);
        assert_eq!(thin(&[]), []);
    }

    #[test]
    fn points_far_enough_apart_are_marked() {
        let apart = [(0.0, 1.0), (100.0, 1.0)];
        assert_eq!(marks(&apart), apart);
        let many: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), 1.0)).collect();
        assert_eq!(marks(&many), []);
        assert_eq!(marks(&[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]), [(1.0, 2.0)]);
    }
}
