// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes the families that have samples of each guest.
//!
//! Among a thousand guests these are nine of ten thousand lines of the text. The library that writes the
//! others formats each label of each line anew, which takes five times as long.

use chaos::guests::GuestFigures;

/// What all lines begin with.
const PREFIX: &str = "chaos_guest_";

/// A guest, with the labels that all its samples have.
pub(super) struct Labelled<'a> {
    pub(super) guest: &'a GuestFigures,
    /// `{name="web",domid="5"`, without the closing brace.
    labels: String,
}

impl<'a> From<&'a GuestFigures> for Labelled<'a> {
    fn from(guest: &'a GuestFigures) -> Self {
        let mut labels = String::with_capacity(guest.name.len() + 24);
        labels.push_str("{name=\"");
        for c in guest.name.chars() {
            match c {
                '\\' => labels.push_str("\\\\"),
                '"' => labels.push_str("\\\""),
                '\n' => labels.push_str("\\n"),
                c => labels.push(c),
            }
        }
        labels.push_str("\",domid=\"");
        labels.push_str(itoa::Buffer::new().format(guest.identity.domid.0));
        labels.push('"');
        Self { guest, labels }
    }
}

/// The types of families.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number that rises and falls.
    Gauge,
    /// A number that only rises.
    Counter,
}

/// A family that is being written.
pub(super) struct Family<'a> {
    text: &'a mut String,
    /// Its name with the suffix of its type.
    name: String,
}

impl<'a> Family<'a> {
    /// Begins a family. `name` is what follows `chaos_guest_`; if it ends with a unit, that is said.
    pub(super) fn new(text: &'a mut String, kind: Kind, name: &str, help: &str) -> Self {
        let of_kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        for (what, says) in [("HELP", help), ("TYPE", of_kind)] {
            push(text, &["# ", what, " ", PREFIX, name, " ", says, "\n"]);
        }
        let is_unit = |unit: &&str| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
        if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| is_unit(unit)) {
            push(text, &["# UNIT ", PREFIX, name, " ", unit, "\n"]);
        }
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        Self { text, name: format!("{PREFIX}{name}{suffix}") }
    }

    /// Writes a sample of a guest.
    pub(super) fn sample(&mut self, of: &Labelled<'_>, value: u64) {
        let mut digits = itoa::Buffer::new();
        push(self.text, &[&self.name, &of.labels, "} ", digits.format(value), "\n"]);
    }

    /// Writes a sample of a guest's device. `label` is the label of its number.
    pub(super) fn device(&mut self, of: &Labelled<'_>, label: &str, number: u16, value: u64) {
        let (mut numbers, mut values) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (number, value) = (numbers.format(number), values.format(value));
        push(self.text, &[&self.name, &of.labels, ",", label, "=\"", number, "\"} ", value, "\n"]);
    }

    /// Writes a sample of a guest that is a time.
    pub(super) fn seconds(&mut self, of: &Labelled<'_>, ns: u64) {
        const SECOND: u64 = 1_000_000_000;
        let mut whole = itoa::Buffer::new();
        // The leading 1 keeps the zeros behind it, and is cut off.
        let mut fraction = itoa::Buffer::new();
        let fraction = fraction.format(SECOND + ns % SECOND)[1..].trim_end_matches('0');
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        let whole = whole.format(ns / SECOND);
        push(self.text, &[&self.name, &of.labels, "} ", whole, ".", fraction, "\n"]);
    }
}

fn push(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::tests::guest;

    #[test]
    fn times_are_decimal_numbers() {
        let guest = guest("a", 7);
        for (ns, written) in [
            (0, "0.0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (2_000_000_000, "2.0"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            let mut text = String::new();
            Family::new(&mut text, Kind::Counter, "x_seconds", "X.").seconds(&(&guest).into(), ns);
            let line = format!("chaos_guest_x_seconds_total{{name=\"a\",domid=\"7\"}} {written}");
            assert_eq!(text.lines().last(), Some(line.as_str()));
        }
    }
}
