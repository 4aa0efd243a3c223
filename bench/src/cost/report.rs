// SPDX-License-Identifier: GPL-3.0-or-later
//! The results, as a table and as JSON.

use std::fmt::Write;

use chaos::guests::Host;
use serde::Serialize;

/// All results.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    xen: String,
    kernel: String,
    rows: Vec<Row>,
}

/// One figure with its raw samples.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    unit: &'static str,
    median: f64,
    worst: f64,
    /// The limit of docs/performance.md for the median, if there is one.
    limit: Option<f64>,
    samples: Vec<f64>,
}

impl Row {
    /// Returns whether the median is above the limit, or is NaN because there are no samples.
    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| {
            self.median.partial_cmp(&limit).is_none_or(std::cmp::Ordering::is_gt)
        })
    }
}

impl Report {
    pub(crate) fn new(host: &Host) -> Self {
        let (major, minor) = host.xen.version();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let (xen, kernel) = (format!("{major}.{minor}"), kernel.trim().to_owned());
        Self { xen, kernel, rows: Vec::new() }
    }

    /// Adds times, given in nanoseconds.
    pub(crate) fn times(&mut self, name: impl Into<String>, limit_ms: Option<f64>, ns: &[u64]) {
        #[allow(clippy::cast_precision_loss)]
        let samples = ns.iter().map(|ns| *ns as f64 / 1e6).collect();
        self.add(name.into(), "ms", limit_ms, samples);
    }

    /// Adds another quantity.
    pub(crate) fn add(
        &mut self,
        name: String,
        unit: &'static str,
        limit: Option<f64>,
        samples: Vec<f64>,
    ) {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        let worst = sorted.last().copied().unwrap_or(f64::NAN);
        self.rows.push(Row { name, unit, median, worst, limit, samples });
    }

    /// Returns whether at least one row is above its limit.
    pub(crate) fn is_over_a_limit(&self) -> bool {
        self.rows.iter().any(Row::is_over)
    }

    /// Returns the table: median, worst and limit of each row.
    pub(crate) fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut text = format!("Xen {}, dom0 Linux {}\n", self.xen, self.kernel);
        let _ = writeln!(
            text,
            "{:<width$}  {:>10}  {:>10}  {:>8}  {:<6} samples",
            "", "median", "worst", "limit", "unit"
        );
        for row in &self.rows {
            let limit = row.limit.map_or_else(String::new, |limit| format!("{limit:.3}"));
            let _ = writeln!(
                text,
                "{:<width$}  {:>10.3}  {:>10.3}  {limit:>8}  {:<6} {}{}",
                row.name,
                row.median,
                row.worst,
                row.unit,
                row.samples.len(),
                if row.is_over() { "  OVER THE LIMIT" } else { "" },
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(limit: Option<f64>, samples: &[f64]) -> Report {
        let mut report = Report { xen: String::new(), kernel: String::new(), rows: Vec::new() };
        report.add("a row".to_owned(), "ms", limit, samples.to_vec());
        report
    }

    #[test]
    fn a_median_above_its_limit_is_shown_and_reported() {
        let report = report(Some(1.0), &[0.5, 1.1, 1.2]);
        assert!(report.is_over_a_limit());
        assert!(report.table().contains("OVER THE LIMIT"));
    }

    #[test]
    fn the_worst_sample_may_be_above_the_limit() {
        assert!(!report(Some(1.0), &[0.5, 1.0, 1.2]).is_over_a_limit());
        assert!(!report(None, &[5.0]).is_over_a_limit());
    }

    #[test]
    fn a_limit_without_a_sample_is_exceeded() {
        assert!(report(Some(1.0), &[]).is_over_a_limit());
    }
}
