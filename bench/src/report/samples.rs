// SPDX-License-Identifier: GPL-3.0-or-later
//! Samples, grouped by series.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result};

/// What was measured, and on which system.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Facts about the run, such as the versions of Xen, kernel and QEMU, the revision, the command.
    pub(crate) facts: BTreeMap<String, String>,
    /// The series, in the order in which they arrived.
    pub(crate) series: Vec<Series>,
}

/// The samples of one name: one line of a plot.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Samples {
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    pub(crate) fn add(&mut self, name: &str, x: f64, y: f64) {
        match self.series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push((x, y)),
            None => self.series.push(Series { name: name.to_owned(), points: vec![(x, y)] }),
        }
    }

    pub(crate) fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// Writes the samples as CSV (RFC 4180). Names with a comma are quoted.
    pub(crate) fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "series,x,y")?;
        for series in &self.series {
            let comma = series.name.contains(',');
            let name = if comma { format!("\"{}\"", series.name) } else { series.name.clone() };
            for (x, y) in &series.points {
                writeln!(out, "{name},{x},{y}")?;
            }
        }
        Ok(())
    }

    /// Adds the samples of a file that [`write_csv`](Self::write_csv) has written.
    pub(crate) fn read_csv(&mut self, text: &str) -> Result<()> {
        for line in text.lines().skip(1) {
            self.read_row(line).with_context(|| format!("invalid sample: {line}"))?;
        }
        Ok(())
    }

    /// Adds the sample of a row: a name, x and y.
    pub(crate) fn read_row(&mut self, line: &str) -> Result<()> {
        // Split from the right, because a name may contain a comma.
        let mut words = line.rsplitn(3, ',');
        let (y, x, name) = (words.next(), words.next(), words.next());
        let name = name.context("must be a name and two numbers")?;
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        self.add(name, x.unwrap_or_default().parse()?, y.unwrap_or_default().parse()?);
        Ok(())
    }
}

impl Series {
    /// Returns the values in the order in which they arrived.
    pub(crate) fn values(&self) -> Vec<f64> {
        self.points.iter().map(|(_, y)| *y).collect()
    }

    /// Returns the median at each x, sorted by x.
    pub(crate) fn medians(&self) -> Vec<(f64, f64)> {
        let mut sorted = self.points.clone();
        sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
        let at_one_x = sorted.chunk_by(|one, other| one.0.total_cmp(&other.0).is_eq());
        let median_of = |points: &[(f64, f64)]| {
            let values: Vec<f64> = points.iter().map(|(_, y)| *y).collect();
            (points[0].0, median(&values))
        };
        at_one_x.map(median_of).collect()
    }

    /// Returns the median of the first `span` values.
    pub(crate) fn first(&self, span: usize) -> f64 {
        let values = self.values();
        median(&values[..span.min(values.len())])
    }

    /// Returns the median of the last `span` values.
    pub(crate) fn last(&self, span: usize) -> f64 {
        let values = self.values();
        median(&values[values.len() - span.min(values.len())..])
    }
}

/// Returns the median; of an even number of values, the upper one of the two in the middle; of
/// none, NaN.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_sorts_the_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn each_x_has_its_own_median() {
        let points = vec![(8.0, 1.0), (1.0, 5.0), (8.0, 3.0), (8.0, 2.0)];
        let series = Series { name: String::new(), points };
        assert_eq!(series.medians(), [(1.0, 5.0), (8.0, 2.0)]);
    }

    #[test]
    fn names_with_commas_are_quoted_in_csv() {
        let mut samples = Samples::default();
        samples.add("a, b", 1.0, 0.5);
        let mut text = Vec::new();
        samples.write_csv(&mut text).expect("a Vec takes everything");
        assert_eq!(text, b"series,x,y\n\"a, b\",1,0.5\n");
        let mut again = Samples::default();
        let text = std::str::from_utf8(&text).expect("it is UTF-8");
        again.read_csv(text).expect("write_csv wrote it");
        assert_eq!(again.series[0].name, "a, b");
        assert_eq!(again.series[0].points, [(1.0, 0.5)]);
    }
}
