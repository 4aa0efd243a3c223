// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures the CPU time that idle guests and their backends use in a minute (figure 15 of the
//! paper).

use std::time::Duration;

use anyhow::Result;
use chaos::guests::Host;
use chaos_bench::chaosd::Daemon;
use chaos_bench::guest::Service;

use crate::args::Args;
use crate::samples::Samples;
use crate::side_by_side::{SHELLS, alive, daytime, destroy, from_pool};
use crate::used::Used;

const FLAVOUR: &str = "memory='4M'\nbridges=['xenbr0']";

/// How long to wait for the work that follows a create: noxsd's for the new guest, and chaosd's
/// refill of the pool.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let guests = args.guests(1000, 50);
    let minute = Duration::from_secs(if args.quick { 10 } else { 60 });
    samples.total(8)?;
    let noxsd = Service::find("noxsd")?;
    window(host, &noxsd, minute, 0, samples)?;
    let mut daemon = Daemon::start(FLAVOUR, SHELLS)?;
    for number in 0..guests {
        from_pool(host, &mut daemon, &noxsd, &daytime(number)?)?;
    }
    window(host, &noxsd, minute, guests, samples)?;
    alive(host, guests)?;
    destroy(host, guests)?;
    daemon.stop()
}

/// Measures the CPU time of all domains for `length` while they are idle, in percent of one CPU.
fn window(
    host: &Host,
    noxsd: &Service,
    length: Duration,
    guests: usize,
    samples: &mut Samples,
) -> Result<()> {
    std::thread::sleep(SETTLE);
    let begin = Used::now(host, noxsd)?;
    std::thread::sleep(length);
    let shares = begin.until(&Used::now(host, noxsd)?);
    samples.add("guests", guests, shares.guests)?;
    samples.add("noxsd, as Linux counts", guests, shares.noxsd)?;
    samples.add("dom0, noxsd included", guests, shares.dom0)?;
    samples.add("all domains", guests, shares.guests + shares.dom0)
}
