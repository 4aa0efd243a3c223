// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes the stream of samples that `report` reads.

use std::io::{Stdout, Write};

use anyhow::Result;
use chaos::guests::Host;

/// The stream to which samples are written.
pub(crate) struct Samples(Stdout);

impl Samples {
    /// Starts the stream with the versions of Xen and of dom0's kernel.
    pub(crate) fn new(host: &Host) -> Result<Self> {
        let mut samples = Self(std::io::stdout());
        let (major, minor) = host.xen.version();
        samples.fact("xen", &format!("{major}.{minor}"))?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        samples.fact("kernel", kernel.trim())?;
        Ok(samples)
    }

    /// Writes a fact to be recorded with the result.
    pub(crate) fn fact(&mut self, key: &str, value: &str) -> Result<()> {
        self.line(&format!("# {key}: {value}"))
    }

    /// Writes the expected number of samples, from which `report` computes the progress.
    pub(crate) fn total(&mut self, total: usize) -> Result<()> {
        self.fact("total", &total.to_string())
    }

    /// Writes one sample.
    pub(crate) fn add(&mut self, series: &str, x: usize, y: f64) -> Result<()> {
        self.line(&format!("{series},{x},{y}"))
    }

    /// Writes one sample of a time. Takes nanoseconds and writes milliseconds.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn time(&mut self, series: &str, x: usize, ns: u64) -> Result<()> {
        self.add(series, x, ns as f64 / 1e6)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let mut out = self.0.lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }
}
