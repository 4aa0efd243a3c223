//! The stream of samples.

use std::io::{Stdout, Write};

use anyhow::Result;
use chaos::guests::Host;

/// Where samples go.
pub(crate) struct Samples(Stdout);

impl Samples {
    /// Begins the stream with what is measured on.
    pub(crate) fn new(host: &Host) -> Result<Self> {
        let mut samples = Self(std::io::stdout());
        let (major, minor) = host.xen.version();
        samples.fact("xen", &format!("{major}.{minor}"))?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        samples.fact("kernel", kernel.trim())?;
        Ok(samples)
    }

    /// Something to be recorded with the result.
    pub(crate) fn fact(&mut self, key: &str, value: &str) -> Result<()> {
        self.line(&format!("# {key}: {value}"))
    }

    /// How many samples come: what the progress is told from.
    pub(crate) fn total(&mut self, total: usize) -> Result<()> {
        self.fact("total", &total.to_string())
    }

    /// One sample.
    pub(crate) fn add(&mut self, series: &str, x: usize, y: f64) -> Result<()> {
        self.line(&format!("{series},{x},{y}"))
    }

    /// One sample of a time, given in nanoseconds; it goes out in milliseconds.
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
