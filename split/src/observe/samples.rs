// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes the families that have samples of each guest.
//!
//! Among a thousand guests these are nine of ten thousand lines of the text. The library that writes the
//! others formats each label of each line anew, which takes five times as long.

use chaos::guests::{DeviceFigures, GuestFigures};

/// What all lines begin with.
const PREFIX: &str = "chaos_guest_";

/// The labels of guests or devices. All samples of one have the same.
///
/// A guest's is its name alone: its domid is another one after each restart, and a new label is a new
/// series for Prometheus.
pub(super) struct Labels {
    /// Those of all, one after another: `{name="web"} `.
    text: String,
    /// Where those of each end.
    ends: Vec<usize>,
}

impl Labels {
    fn with_capacity(number: usize, length: usize) -> Self {
        Self { text: String::with_capacity(length), ends: Vec::with_capacity(number) }
    }

    /// Returns those of guests.
    pub(super) fn of_guests(guests: &[GuestFigures]) -> Self {
        let length = guests.iter().map(|guest| guest.name.len() + 12).sum();
        let mut labels = Self::with_capacity(guests.len(), length);
        for guest in guests {
            let text = &mut labels.text;
            text.push_str("{name=\"");
            escape(&guest.name, text);
            text.push_str(END);
            labels.ends.push(text.len());
        }
        labels
    }

    /// Returns those of devices of one kind. `guests` are those of the guests.
    pub(super) fn of_devices<T>(kind: &str, devices: &[DeviceFigures<T>], guests: &[&str]) -> Self {
        // A guess: some guests have more devices than others.
        let average = guests.iter().map(|one| one.len()).sum::<usize>() / guests.len().max(1);
        let mut labels =
            Self::with_capacity(devices.len(), devices.len() * (average + kind.len() + 8));
        for device in devices {
            let of_guest = guests[device.guest];
            let of_guest = of_guest.strip_suffix(END).unwrap_or(of_guest);
            let mut index = itoa::Buffer::new();
            let text = &mut labels.text;
            push(text, &[of_guest, "\",", kind, "=\"", index.format(device.index), END]);
            labels.ends.push(text.len());
        }
        labels
    }

    /// Returns those of each, in their order.
    pub(super) fn each(&self) -> Vec<&str> {
        let mut start = 0;
        let next = |end: &usize| &self.text[std::mem::replace(&mut start, *end)..*end];
        self.ends.iter().map(next).collect()
    }
}

/// How the labels end, with what separates them from the value.
const END: &str = "\"} ";

/// Writes the value of a label.
fn escape(value: &str, text: &mut String) {
    if !value.contains(['\\', '"', '\n']) {
        return text.push_str(value);
    }
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
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
    /// What each line begins with: the end of the line before it, and the family's name with the suffix
    /// of its type.
    name: String,
}

impl<'a> Family<'a> {
    /// Begins a family. `name` is what follows `chaos_guest_`; if it ends with a unit, that is said.
    pub(super) fn new(text: &'a mut String, kind: Kind, name: &str, help: &str) -> Self {
        let of_kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        push(text, &["# HELP ", PREFIX, name, " ", help]);
        push(text, &["\n# TYPE ", PREFIX, name, " ", of_kind]);
        let is_unit = |unit: &&str| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
        if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| is_unit(unit)) {
            push(text, &["\n# UNIT ", PREFIX, name, " ", unit]);
        }
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        Self { text, name: format!("\n{PREFIX}{name}{suffix}") }
    }

    /// Writes a sample for each of these labels, and ends the family.
    pub(super) fn numbers(self, of: &[&str], values: impl Iterator<Item = u64>) {
        for (labels, value) in of.iter().zip(values) {
            self.text.push_str(&self.name);
            self.text.push_str(labels);
            match u8::try_from(value) {
                // Most are 0: frames dropped, devices broken.
                Ok(digit @ 0..10) => self.text.push(char::from(b'0' + digit)),
                _ => self.text.push_str(itoa::Buffer::new().format(value)),
            }
        }
        self.text.push('\n');
    }

    /// Writes a sample for each of these labels that is a time in nanoseconds, and ends the family.
    pub(super) fn seconds(self, of: &[&str], values: impl Iterator<Item = u64>) {
        const SECOND: u64 = 1_000_000_000;
        for (labels, ns) in of.iter().zip(values) {
            let mut whole = itoa::Buffer::new();
            // The leading 1 keeps the zeros behind it, and is cut off.
            let mut fraction = itoa::Buffer::new();
            let fraction = fraction.format(SECOND + ns % SECOND)[1..].trim_end_matches('0');
            let fraction = if fraction.is_empty() { "0" } else { fraction };
            let whole = whole.format(ns / SECOND);
            push(self.text, &[&self.name, labels, whole, ".", fraction]);
        }
        self.text.push('\n');
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
        let labels = Labels::of_guests(&[guest("a", 7)]);
        for (ns, written) in [
            (0, "0.0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (2_000_000_000, "2.0"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            let mut text = String::new();
            let family = Family::new(&mut text, Kind::Counter, "x_seconds", "X.");
            family.seconds(&labels.each(), [ns].into_iter());
            let line = format!("chaos_guest_x_seconds_total{{name=\"a\"}} {written}");
            assert_eq!(text.lines().last(), Some(line.as_str()));
        }
    }
}
