// SPDX-License-Identifier: GPL-3.0-or-later
//! Draws each series as a bar, with names to the left and values to the right.

use anyhow::Result;
use plotters::style::text_anchor::HPos;
use plotters::style::{BLACK, Color, RGBColor, WHITE};

use super::axis::Axis;
use super::canvas::{Canvas, Font, LINE, MARGIN, widest, width};
use super::frame::{Frame, GRID, MINOR};
use super::number::significant;
use super::style::{Palette, group, wrap};
use crate::figure::Panel;
use crate::samples::{Series, median};

/// The distance from one bar to the next, and the height of a bar.
const ROW: f64 = 42.0;
const BAR: f64 = 28.0;

/// The gap between two groups.
const GAP: f64 = 18.0;

/// The maximum length of a line of a name, in characters.
const LENGTH: usize = 38;

/// A panel of bars.
pub(super) struct Bars<'p> {
    panel: &'p Panel,
    groups: Vec<Group>,
}

/// Bars whose names have the same part before the colon.
struct Group {
    /// The lines of the common part, in a row of its own; empty if the group has no such row.
    head: Vec<String>,
    colour: RGBColor,
    bars: Vec<Bar>,
}

struct Bar {
    name: Vec<String>,
    value: f64,
}

impl<'p> Bars<'p> {
    pub(super) fn new(panel: &'p Panel, drawn: &[&Series], palette: &mut Palette) -> Self {
        let rows = drawn
            .iter()
            .map(|series| ((panel.shown)(&series.name).to_owned(), median(&series.values())));
        Self { panel, groups: groups(panel, rows, palette) }
    }

    /// Creates a panel with one group for each x, with one bar for each series.
    pub(super) fn of_x(
        panel: &'p Panel,
        drawn: &[&Series],
        unit: &str,
        palette: &mut Palette,
    ) -> Self {
        let rows = drawn.iter().flat_map(|series| {
            let name = (panel.shown)(&series.name);
            series.medians().into_iter().map(move |(x, y)| (format!("{x} {unit}: {name}"), y))
        });
        Self { panel, groups: groups(panel, rows, palette) }
    }

    /// Returns the width of the column of names.
    pub(super) fn left(&self) -> Result<f64> {
        let names = self.groups.iter().flat_map(|group| &group.bars).flat_map(|bar| &bar.name);
        let heads = self.groups.iter().flat_map(|group| &group.head);
        let names = widest(names.map(String::as_str), Font::Text)?;
        Ok(names.max(widest(heads.map(String::as_str), Font::Head)?) + MARGIN)
    }

    /// Returns the width of the widest value, because it may stand behind the longest bar.
    pub(super) fn right(&self) -> Result<f64> {
        let values: Vec<String> = self.values().into_iter().map(significant).collect();
        Ok(widest(values.iter().map(String::as_str), Font::Text)? + MARGIN)
    }

    pub(super) fn height(&self) -> f64 {
        let between = GAP * (self.groups.iter().skip(1).fold(0.0, |sum, _| sum + 1.0));
        self.groups.iter().map(Group::height).sum::<f64>() + between + GAP
    }

    fn values(&self) -> Vec<f64> {
        self.groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value).collect()
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame) -> Result<()> {
        let Frame { left, right, top } = *frame;
        let bottom = top + self.height();
        let axis = Axis::up_to(self.panel.scale, &self.values(), (left, right));
        let ticks = axis.ticks(110.0);
        for tick in &ticks {
            let x = axis.at(tick.value);
            let colour = if tick.label.is_some() { GRID } else { MINOR };
            canvas.path(&[(x, top), (x, bottom)], None, colour.stroke_width(2))?;
            if let Some(label) = &tick.label {
                canvas.text(label, Font::Text, HPos::Center, (x, bottom + LINE / 2.0 + 6.0))?;
            }
        }
        let middle = (f64::midpoint(left, right), bottom + LINE * 1.5 + 10.0);
        canvas.text(self.panel.y_label, Font::Text, HPos::Center, middle)?;
        let mut y = top + GAP / 2.0;
        for group in &self.groups {
            group.draw(canvas, &axis, left, y)?;
            y += group.height() + GAP;
        }
        let black = BLACK.stroke_width(2);
        canvas.path(&[(left, top), (left, bottom), (right, bottom)], None, black)
    }
}

impl Group {
    fn height(&self) -> f64 {
        height(&self.head) + self.bars.iter().map(|bar| height(&bar.name)).sum::<f64>()
    }

    fn draw(&self, canvas: &Canvas<'_>, axis: &Axis, left: f64, top: f64) -> Result<()> {
        let mut y = top;
        names(canvas, &self.head, Font::Head, (left, y))?;
        y += height(&self.head);
        for bar in &self.bars {
            names(canvas, &bar.name, Font::Text, (left, y))?;
            let middle = y + height(&bar.name) / 2.0;
            let end = axis.at(bar.value);
            let (from, to) = ((left, middle - BAR / 2.0), (end, middle + BAR / 2.0));
            canvas.area(from, to, self.colour.filled())?;
            let value = significant(bar.value);
            // Paint over the grid lines behind the value.
            let to = (end + 12.0 + width(&value, Font::Text)?, middle + BAR / 2.0);
            canvas.area((end + 2.0, middle - BAR / 2.0), to, WHITE.filled())?;
            canvas.text(&value, Font::Text, HPos::Left, (end + 10.0, middle))?;
            y += height(&bar.name);
        }
        Ok(())
    }
}

/// Returns the height of a name's lines.
fn height(lines: &[String]) -> f64 {
    lines.iter().skip(1).fold(if lines.is_empty() { 0.0 } else { ROW }, |sum, _| sum + LINE)
}

/// Draws the lines of a name to the left of the axis.
fn names(canvas: &Canvas<'_>, lines: &[String], font: Font, (x, y): (f64, f64)) -> Result<()> {
    let mut middle = y + ROW / 2.0;
    for line in lines {
        canvas.text(line, font, HPos::Right, (x - 14.0, middle))?;
        middle += LINE;
    }
    Ok(())
}

/// Collects the bars of each group at the place of its first one. Bars without a group form one
/// group together.
fn groups(
    panel: &Panel,
    rows: impl Iterator<Item = (String, f64)>,
    palette: &mut Palette,
) -> Vec<Group> {
    let mut gathered: Vec<(String, Vec<(String, f64)>)> = Vec::new();
    for (name, value) in rows {
        let key = group(&name).0.unwrap_or_default();
        match gathered.iter_mut().find(|(known, _)| known == key) {
            Some((_, bars)) => bars.push((name, value)),
            None => gathered.push((key.to_owned(), vec![(name, value)])),
        }
    }
    let groups = gathered.into_iter().map(|(key, bars)| {
        // A single bar shows its whole name; several show their common part once, above them.
        let head = if bars.len() > 1 && !key.is_empty() { wrap(&key, LENGTH) } else { Vec::new() };
        let name = |name: &str| {
            if head.is_empty() { whole(name) } else { wrap(group(name).1, LENGTH) }
        };
        let bars = bars.iter().map(|(full, value)| Bar { name: name(full), value: *value });
        let bars = bars.collect();
        Group { colour: palette.colour((panel.family)(&key)), head, bars }
    });
    groups.collect()
}

/// Returns the lines of a name with its group. Breaks between the two first.
fn whole(name: &str) -> Vec<String> {
    match group(name) {
        (Some(group), rest) if name.chars().count() > LENGTH => {
            let mut lines = wrap(&format!("{group}:"), LENGTH);
            lines.extend(wrap(rest, LENGTH));
            lines
        }
        _ => wrap(name, LENGTH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(rows: &[(&str, f64)]) -> Vec<Group> {
        let rows = rows.iter().map(|(name, value)| ((*name).to_owned(), *value));
        groups(&Panel::BARS, rows, &mut Palette::default())
    }

    #[test]
    fn bars_of_a_group_stand_together() {
        let groups = grouped(&[("xl: all", 3.0), ("chaos: all", 1.0), ("xl: rest", 2.0)]);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].head, ["xl"]);
        let names: Vec<&Vec<String>> = groups[0].bars.iter().map(|bar| &bar.name).collect();
        assert_eq!(names, [&["all"], &["rest"]]);
        assert_ne!(groups[0].colour, groups[1].colour);
    }

    #[test]
    fn a_single_bar_shows_its_whole_name() {
        let groups = grouped(&[("xl: all", 3.0)]);
        assert!(groups[0].head.is_empty());
        assert_eq!(groups[0].bars[0].name, ["xl: all"]);
        let name = "chaos create redis, warm pool: until its first words";
        let groups = grouped(&[(name, 3.0)]);
        let lines = ["chaos create redis, warm pool:", "until its first words"];
        assert_eq!(groups[0].bars[0].name, lines);
    }

    #[test]
    fn bars_without_a_group_have_one_colour() {
        let groups = grouped(&[("encode", 1.0), ("decode", 2.0)]);
        assert_eq!(groups.len(), 1);
        assert!(groups[0].head.is_empty());
        assert_eq!(groups[0].bars.len(), 2);
    }
}
