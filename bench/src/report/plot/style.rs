// SPDX-License-Identifier: GPL-3.0-or-later
//! The styles by which series are told apart.

use plotters::style::RGBColor;

/// Colours that remain apart for most people with a colour vision deficiency (Okabe and Ito,
/// "Color Universal Design"); yellow is too pale for a line on white.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(130, 130, 130),
];

/// The lengths of a dash and of the gap after it, in pixels; `None` for a solid line.
pub(super) type Dash = Option<(i32, i32)>;

const DASHES: [Dash; 4] = [None, Some((16, 8)), Some((4, 8)), Some((36, 10))];

/// The look of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) colour: RGBColor,
    pub(super) dash: Dash,
}

/// The colours of a figure. A name has the same colour in all panels.
#[derive(Debug, Default)]
pub(super) struct Palette(Vec<String>);

impl Palette {
    /// Returns the number of a name, in the order of first use.
    fn number(&mut self, name: &str) -> usize {
        self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        })
    }

    pub(super) fn colour(&mut self, name: &str) -> RGBColor {
        COLOURS[self.number(name) % COLOURS.len()]
    }

    /// Returns the style of line number `member` of this name. All lines of a name have one colour
    /// and differ in their dashes. When all colours are in use, they repeat with the next dash.
    pub(super) fn style(&mut self, name: &str, member: usize) -> Style {
        let number = self.number(name);
        let dash = DASHES[(member + number / COLOURS.len()) % DASHES.len()];
        Style { colour: COLOURS[number % COLOURS.len()], dash }
    }
}

/// Splits the name of a series into its group, if it has one, and the rest.
pub(super) fn group(name: &str) -> (Option<&str>, &str) {
    match name.split_once(": ") {
        Some((group, rest)) => (Some(group), rest),
        None => (None, name),
    }
}

/// Breaks a text between words into lines of at most `length` characters. A longer word stays
/// whole.
pub(super) fn wrap(text: &str, length: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= length => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_is_before_the_first_colon() {
        assert_eq!(group("xl, a vif: all: of it"), (Some("xl, a vif"), "all: of it"));
        assert_eq!(group("create"), (None, "create"));
    }

    #[test]
    fn twelve_styles_are_distinct() {
        let mut palette = Palette::default();
        let styles: Vec<Style> =
            (0..12).map(|number| palette.style(&number.to_string(), 0)).collect();
        for (number, style) in styles.iter().enumerate() {
            assert!(!styles[..number].contains(style), "style {number} is not unique");
        }
    }

    #[test]
    fn a_name_keeps_its_colour() {
        let mut palette = Palette::default();
        let (first, second) = (palette.style("xl", 0), palette.style("xl", 1));
        assert_ne!(palette.colour("chaos"), first.colour);
        assert_eq!(second.colour, first.colour);
        assert_ne!(second.dash, first.dash);
    }

    #[test]
    fn texts_break_between_words() {
        assert_eq!(wrap("Xen, the guest's own 1 MiB", 12), ["Xen, the", "guest's own", "1 MiB"]);
        assert_eq!(wrap("short", 12), ["short"]);
        assert_eq!(wrap("unbreakably-long", 4), ["unbreakably-long"]);
    }
}
