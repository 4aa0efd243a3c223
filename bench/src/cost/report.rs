//! What was measured, as a table and as JSON.

use std::fmt::Write;

use chaos::guests::Host;
use serde::Serialize;

/// Everything that was measured.
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
    /// What is promised in docs/performance.md.
    limit: Option<f64>,
    samples: Vec<f64>,
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

    /// The table: median, worst and what is promised.
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
            let missed = row.limit.is_some_and(|limit| row.median > limit);
            let _ = writeln!(
                text,
                "{:<width$}  {:>10.3}  {:>10.3}  {limit:>8}  {:<6} {}{}",
                row.name,
                row.median,
                row.worst,
                row.unit,
                row.samples.len(),
                if missed { "  OVER THE LIMIT" } else { "" },
            );
        }
        text
    }
}
