// SPDX-License-Identifier: GPL-3.0-or-later
//! Summarizes the samples, as JSON and as a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::figure::Figure;
use crate::goal::Goal;
use crate::samples::{Samples, Series, median};

/// How many values at each end the medians `first` and `last` are taken from.
const SPAN: usize = 10;

/// The contents of the table: facts, a row per series, and goals.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    figure: &'static str,
    title: &'static str,
    unit: &'static str,
    facts: BTreeMap<String, String>,
    series: Vec<Row>,
    goals: Vec<Goal>,
}

/// The summary of one series.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    samples: usize,
    median: f64,
    least: f64,
    most: f64,
    /// The median of the first ten values, in the order in which they arrived.
    first: f64,
    /// The median of the last ten values.
    last: f64,
}

/// Returns the facts of a summary that was written as JSON.
pub(crate) fn facts(json: &[u8]) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Written {
        facts: BTreeMap<String, String>,
    }
    Ok(serde_json::from_slice::<Written>(json)?.facts)
}

impl Row {
    fn new(series: &Series) -> Self {
        let values = series.values();
        Self {
            name: series.name.clone(),
            samples: values.len(),
            median: median(&values),
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            first: series.first(SPAN),
            last: series.last(SPAN),
        }
    }
}

impl Summary {
    pub(crate) fn new(figure: &Figure, samples: &Samples) -> Self {
        Self {
            figure: figure.name,
            title: figure.title,
            unit: figure.unit,
            facts: samples.facts.clone(),
            series: samples.series.iter().map(Row::new).collect(),
            goals: (figure.goals)(samples),
        }
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}: {}\n", self.figure, self.title);
        for (key, value) in &self.facts {
            let _ = writeln!(text, "{key}: {value}");
        }
        let names = self.series.iter().map(|row| row.name.chars().count());
        let width = names.max().unwrap_or(0).max(self.unit.chars().count());
        let _ = writeln!(
            text,
            "\n{:<width$} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
            self.unit, "samples", "median", "least", "most", "first 10", "last 10"
        );
        for row in &self.series {
            let _ = writeln!(
                text,
                "{:<width$} {:>8} {:>10.4} {:>10.4} {:>10.4} {:>10.4} {:>10.4}",
                row.name, row.samples, row.median, row.least, row.most, row.first, row.last
            );
        }
        for goal in &self.goals {
            let met = if goal.met { "met" } else { "NOT MET" };
            let _ = write!(text, "\ngoal: {}: {:.3}", goal.what, goal.value);
            let _ = write!(text, ", limit {}: {met}", goal.limit);
        }
        text.push('\n');
        text
    }
}
