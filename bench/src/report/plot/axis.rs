// SPDX-License-Identifier: GPL-3.0-or-later
//! Maps values to pixels, and chooses the ticks of an axis.

use super::number::{exponent, plain};
use crate::figure::Scale;

/// The first digits of round numbers.
const ROUND: [f64; 3] = [1.0, 2.0, 5.0];

/// The minimum length of a power of ten for minor ticks, in pixels.
const MINOR: f64 = 80.0;

/// Maps values to pixels.
#[derive(Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// The pixels of `low` and `high`.
    ends: (f64, f64),
}

/// A value at which a grid line is drawn.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    /// `None` for a minor tick.
    pub(super) label: Option<String>,
}

impl Axis {
    /// Creates a linear axis from zero to `high`.
    pub(super) fn to(high: f64, ends: (f64, f64)) -> Self {
        // If all values are zero, use any positive end.
        Self { scale: Scale::Linear, low: 0.0, high: if high > 0.0 { high } else { 1.0 }, ends }
    }

    /// Creates an axis for lines, with some room above the values, and below if it does not start
    /// at zero.
    pub(super) fn around(scale: Scale, values: &[f64], ends: (f64, f64)) -> Self {
        let (least, most) = positive(values);
        match scale {
            Scale::Linear => Self::to(most * 1.05, ends),
            Scale::Logarithmic => {
                Self { scale, low: round_below(least / 1.1), high: round_above(most * 1.1), ends }
            }
        }
    }

    /// Creates an axis for bars. It is longer than the longest bar, and the shortest bar is visible.
    pub(super) fn up_to(scale: Scale, values: &[f64], ends: (f64, f64)) -> Self {
        let (least, most) = positive(values);
        match scale {
            Scale::Linear => Self::to(most * 1.05, ends),
            Scale::Logarithmic => {
                Self { scale, low: round_below(least / 1.5), high: most * 1.2, ends }
            }
        }
    }

    /// Returns the pixel of a value. On a logarithmic axis, values below its start, including zero
    /// and negative ones, are at its start.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.high,
            Scale::Logarithmic => {
                (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
            }
        };
        self.ends.0 + share * (self.ends.1 - self.ends.0)
    }

    /// Returns ticks at round numbers, as many as fit if each needs `room` pixels.
    pub(super) fn ticks(&self, room: f64) -> Vec<Tick> {
        match self.scale {
            Scale::Linear => self.linear(room),
            Scale::Logarithmic => self.logarithmic(room),
        }
    }

    fn length(&self) -> f64 {
        (self.ends.1 - self.ends.0).abs()
    }

    fn linear(&self, room: f64) -> Vec<Tick> {
        let step = round_above(self.high * room / self.length());
        let decimals = -exponent(step);
        (0..)
            .map(|number| f64::from(number) * step)
            .take_while(|value| *value <= self.high * 1.000_001)
            .map(|value| Tick { value, label: Some(plain(value, decimals)) })
            .collect()
    }

    fn logarithmic(&self, room: f64) -> Vec<Tick> {
        let decade = self.length() / (self.high / self.low).log10();
        // Label 1, 2 and 5 if there is room between 1 and 2, otherwise only every `apart`th power
        // of ten.
        let dense = decade * 2_f64.log10() >= room;
        let apart = (1..).find(|apart| f64::from(*apart) * decade >= room).unwrap_or(1);
        let mut ticks = Vec::new();
        for power in exponent(self.low)..=exponent(self.high) {
            for first in 1..10 {
                let first = f64::from(first);
                let value = first * 10_f64.powi(power);
                if value < self.low * 0.999_999 || value > self.high * 1.000_001 {
                    continue;
                }
                let is_power = first < 2.0 && power.rem_euclid(apart) == 0;
                if is_power || (dense && ROUND.contains(&first)) {
                    ticks.push(Tick { value, label: Some(plain(value, -power)) });
                } else if decade >= MINOR {
                    ticks.push(Tick { value, label: None });
                }
            }
        }
        ticks
    }
}

/// Returns the least and the largest of the positive values, or 1 and 1 if there are none.
fn positive(values: &[f64]) -> (f64, f64) {
    let values = || values.iter().copied().filter(|value| *value > 0.0);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if least > most { (1.0, 1.0) } else { (least, most) }
}

fn round_below(value: f64) -> f64 {
    let power = 10_f64.powi(exponent(value));
    let below = ROUND.into_iter().rev().find(|first| first * power <= value * 1.000_001);
    below.unwrap_or(1.0) * power
}

fn round_above(value: f64) -> f64 {
    let power = 10_f64.powi(exponent(value));
    let above = ROUND.into_iter().find(|first| first * power >= value * 0.999_999);
    above.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, room: f64) -> Vec<String> {
        axis.ticks(room).into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_within_the_data() {
        let axis = Axis::to(1000.0, (0.0, 500.0));
        assert_eq!(labels(&axis, 90.0), ["0", "200", "400", "600", "800", "1000"]);
        let axis = Axis::to(0.26, (0.0, 500.0));
        assert_eq!(labels(&axis, 90.0), ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25"]);
    }

    #[test]
    fn logarithmic_ticks_are_1_2_5_if_there_is_room() {
        let axis = Axis::around(Scale::Logarithmic, &[0.6, 90.0], (600.0, 0.0));
        assert_eq!(labels(&axis, 40.0), ["0.5", "1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(&axis, 100.0), ["1", "10", "100"]);
        assert_eq!(labels(&axis, 300.0), ["1", "100"]);
    }

    #[test]
    fn minor_ticks_are_between_the_labelled_ones() {
        let axis = Axis::around(Scale::Logarithmic, &[0.6, 90.0], (600.0, 0.0));
        let ticks = axis.ticks(40.0);
        assert!(ticks.contains(&Tick { value: 30.0, label: None }));
        assert!(ticks.iter().all(|tick| (0.5..=100.0).contains(&tick.value)));
    }

    #[test]
    fn values_map_to_pixels() {
        let axis = Axis::around(Scale::Logarithmic, &[0.6, 90.0], (600.0, 0.0));
        assert!((axis.at(0.5) - 600.0).abs() < 1e-6);
        assert!(axis.at(100.0).abs() < 1e-6);
        assert!((axis.at(0.0) - 600.0).abs() < 1e-6, "zero has no logarithm: at the start");
        assert!((Axis::to(8.0, (100.0, 200.0)).at(2.0) - 125.0).abs() < 1e-6);
    }

    #[test]
    fn zeros_and_no_values_have_a_finite_axis() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            assert!(Axis::around(scale, &[0.0], (0.0, 100.0)).at(0.0).is_finite());
            assert!(Axis::up_to(scale, &[], (0.0, 100.0)).at(0.0).is_finite());
        }
    }
}
