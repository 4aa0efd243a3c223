// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the stream of samples that `figure` writes, and shows the progress.

use std::io::BufRead;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::samples::Samples;

/// Reads all samples. If stderr is a terminal, shows there how many have arrived and how long the
/// rest will take.
pub(crate) fn read(input: impl BufRead) -> Result<Samples> {
    let mut samples = Samples::default();
    let bar = ProgressBar::new_spinner();
    for line in input.lines() {
        let line = line?;
        if let Some(fact) = line.strip_prefix("# ") {
            let (key, value) =
                fact.split_once(": ").with_context(|| format!("invalid fact: {line}"))?;
            if key == "total" {
                bar.set_length(value.parse().with_context(|| format!("invalid total: {line}"))?);
                bar.set_style(ProgressStyle::with_template(
                    "{bar:40} {pos}/{len} samples, {elapsed} elapsed, about {eta} left",
                )?);
            } else {
                samples.facts.insert(key.to_owned(), value.to_owned());
            }
            continue;
        }
        samples.read_row(&line).with_context(|| format!("invalid sample: {line}"))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn reads_facts_and_samples() {
        let text = "# xen: 4.17\n# total: 2\nxl,1,2.5\nall, too,2,3\n";
        let samples = read(text.as_bytes()).expect("it is well-formed");
        assert_eq!(samples.facts["xen"], "4.17");
        assert_eq!(samples.series[0].points, [(1.0, 2.5)]);
        assert_eq!(samples.series[1].name, "all, too");
    }

    #[test]
    fn refuses_invalid_samples() {
        assert!(read("xl,1\n".as_bytes()).is_err());
        assert!(read("xl,1,much\n".as_bytes()).is_err());
    }
}
