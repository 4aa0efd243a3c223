// SPDX-License-Identifier: GPL-3.0-or-later
//! Boots a guest with Debian's kernel, created by chaos in XenStore mode and by xl.

use std::fs;
use std::path::absolute;

use anyhow::{Context, Result};
use chaos::guests::Host;
use chaos_bench::guest::config;
use chaos_bench::let_xen_scrub;

use crate::first_words::{first_words, words_of_xl};
use crate::samples::Samples;

const FILE: &str = "/tmp/debian.cfg";

/// The last text that the guest's init prints.
const WORD: &str = "linux: ready";

/// The number of samples per round of [`measure`].
pub(crate) const SAMPLES: usize = 2 + 1;

pub(crate) fn measure(host: &Host, rounds: usize, samples: &mut Samples) -> Result<()> {
    // Both toolstacks read this file. The images are in the page cache, as all files of the test
    // bed's dom0 are.
    let text = format!(
        "name='debian'\ntype='pvh'\nkernel='{}'\nramdisk='{}'\nmemory=128\nvcpus=1\n\
         cmdline='console=hvc0 quiet'\nvif=['bridge=xenbr0']\n",
        absolute("linux")?.display(),
        absolute("linux.cpio")?.display()
    );
    fs::write(FILE, text)?;
    let ours = config(FILE, &["store='xenstore'"])?;
    // The first create also pays for one-time set-up.
    for round in 0..=rounds {
        let_xen_scrub();
        let times = first_words(host, &ours, WORD)?;
        if round > 0 {
            samples.time("Debian, chaos [XS]: until it may run", round, times.create_ns)?;
            samples.time("Debian, chaos [XS]: until its first words", round, times.words_ns)?;
        }
    }
    for round in 0..=rounds {
        let_xen_scrub();
        let ns = words_of_xl(FILE, "debian", WORD).context("Debian under xl")?;
        if round > 0 {
            samples.time("Debian, xl: until its first words", round, ns)?;
        }
    }
    Ok(())
}
