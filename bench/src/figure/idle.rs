//! What guests that do nothing take of the CPU in a minute, with their backends (figure 15 of the
//! paper).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chaos::lifecycle::Host;
use chaos_bench::chaosd::Daemon;
use chaos_bench::guest::Service;
use xen::units::DomId;

use crate::Args;
use crate::samples::Samples;
use crate::side_by_side::{SHELLS, daytime, destroy, from_pool};

const FLAVOUR: &str = "memory='4M'\nbridges=['xenbr0']";

/// How long what a create leaves to be done may take: noxsd's last words, chaosd's shells.
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
    destroy(host, guests)?;
    daemon.end()
}

/// CPU time of everything while nothing is asked for, in percent of one CPU.
fn window(
    host: &Host,
    noxsd: &Service,
    length: Duration,
    guests: usize,
    samples: &mut Samples,
) -> Result<()> {
    std::thread::sleep(SETTLE);
    let begin = Used::now(host, noxsd)?;
    let started = Instant::now();
    std::thread::sleep(length);
    let took = started.elapsed().as_secs_f64() * 1e9;
    let end = Used::now(host, noxsd)?;
    #[allow(clippy::cast_precision_loss)]
    let percent = |begin: u64, end: u64| (end - begin) as f64 / took * 100.0;
    samples.add("guests", guests, percent(begin.guests, end.guests))?;
    // Linux takes what guests do on the same CPU meanwhile for noxsd's, so this is no part of
    // dom0's time, which Xen counts.
    samples.add("noxsd, as Linux counts", guests, percent(begin.noxsd, end.noxsd))?;
    samples.add("dom0, noxsd included", guests, percent(begin.dom0, end.dom0))?;
    samples.add("all domains", guests, percent(begin.all(), end.all()))
}

/// CPU time used, in nanoseconds.
struct Used {
    guests: u64,
    dom0: u64,
    noxsd: u64,
}

impl Used {
    fn now(host: &Host, noxsd: &Service) -> Result<Self> {
        let noxsd = noxsd.cpu_ns()?;
        let domains = host.xen.domain_list(DomId(1))?;
        let dom0 = host.xen.domain_info(DomId(0))?.context("there is no dom0")?.cpu_time_ns;
        Ok(Self { guests: domains.iter().map(|info| info.cpu_time_ns).sum(), dom0, noxsd })
    }

    fn all(&self) -> u64 {
        self.guests + self.dom0
    }
}
