// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures what a frame from one guest to another costs: both guests, and dom0 with `noxsd`.

use anyhow::{Context, Result};
use chaos::guests::Host;
use chaos_bench::{frames, let_xen_scrub};

use crate::limits;
use crate::report::Report;

/// Bytes of the frames, and the limits.
const SIZES: [(usize, f64); 2] = [(64, limits::FRAME), (1500, limits::LONG_FRAME)];

/// Frames of a round.
const FRAMES: u64 = 20_000;

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    for (size, limit) in SIZES {
        let mut samples = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let_xen_scrub();
            let counted = frames::from_guest_to_guest(host, size, FRAMES, || Ok(()), || Ok(()))
                .with_context(|| format!("frames of {size} bytes"))?;
            samples.push(counted.each_ns() / 1e3);
        }
        report.add(
            format!("a frame of {size} bytes from guest to guest"),
            "us",
            Some(limit),
            samples,
        );
    }
    Ok(())
}
