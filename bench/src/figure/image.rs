// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures boot time against the size of what is loaded (figure 2 of the paper): the noop guest's
//! kernel with ramdisks of several sizes.

use std::fs;

use anyhow::Result;
use chaos::guests::Host;
use chaos_bench::guest::config;
use chaos_bench::let_xen_scrub;

use crate::args::Args;
use crate::first_words::first_words;
use crate::samples::Samples;

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let sizes: &[usize] = if args.quick { &[1, 8] } else { &[1, 2, 4, 8, 16, 32, 48, 64] };
    let rounds = if args.quick { 2 } else { 5 };
    samples.total(sizes.len() * rounds * 2)?;
    for &mib in sizes {
        // No page is all zero, and no two neighbouring pages are equal.
        let padding: Vec<u8> =
            (0..mib << 20).map(|at| (at ^ (at >> 12)).to_le_bytes()[0] | 1).collect();
        fs::write("/tmp/padding", &padding)?;
        drop(padding);
        // The guest has the same memory for all sizes, so that only the loading grows.
        let config = config("noop.cfg", &["memory=80", "ramdisk='/tmp/padding'"])?;
        // The first create after the file was written is not counted.
        for round in 0..=rounds {
            let_xen_scrub();
            let times = first_words(host, &config, "noop: ready")?;
            if round > 0 {
                samples.time("until it may run", mib, times.create_ns)?;
                samples.time("until its first words", mib, times.words_ns)?;
            }
        }
    }
    Ok(())
}
