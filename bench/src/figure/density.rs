// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates many guests of 1 MiB (figures 10 and 14 of the paper). Measures how long each create
//! takes, how much memory of Xen, dom0 and the daemons each guest costs, and how long each guest
//! takes to power off. All guests answer the request to power off, so all of them were alive.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use chaos::guests::{self, GuestState, Host, ShutdownOptions};
use chaos_bench::chaosd::Daemon;
use chaos_bench::guest::{Service, config, nanoseconds, number_in};
use chaos_bench::words::PATIENCE;
use nix::sys::statvfs::statvfs;
use noxs::Request;

use crate::args::Args;
use crate::samples::Samples;
use crate::side_by_side::{SHELLS, alive, all_ns, from_pool, guest, name};

const FLAVOUR: &str = "memory='1M'";

/// How many guests are created between two measurements of memory.
const STEP: usize = 500;

/// How many creates at each end are reported by stage.
const ENDS: usize = 100;

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let guests = args.guests(8000, 100);
    let step = STEP.min(guests / 2).max(1);
    let mut daemon = Daemon::start(FLAVOUR, SHELLS)?;
    let noxsd = Service::find("noxsd")?;
    samples.total(2 * guests + guests / step * 6 + 2 * ENDS.min(guests) * 7)?;
    let begin = Memory::now(host, &noxsd, &daemon)?;
    for number in 0..guests {
        let config = config("noop.cfg", &[&name(number), "memory=1"])?;
        let created = from_pool(host, &mut daemon, &noxsd, &config)?;
        samples.time("create", number + 1, all_ns(&created))?;
        if number < ENDS || number + ENDS >= guests {
            for (stage, ns) in &created.daemon_stages {
                samples.time(&format!("stage {stage}"), number + 1, *ns)?;
            }
        }
        if (number + 1) % step == 0 {
            begin.report(&Memory::now(host, &noxsd, &daemon)?, number + 1, samples)?;
        }
    }
    alive(host, guests)?;
    for number in (0..guests).rev() {
        let name = guest(number);
        let started = Instant::now();
        let outcome = guests::shutdown(host, &name, POWEROFF)?;
        samples.time("end", number + 1, nanoseconds(started)?)?;
        let state = outcome.state;
        ensure!(state == GuestState::PoweredOff, "{name} has not powered off: it is {state:?}");
    }
    #[allow(clippy::cast_precision_loss)]
    samples.add("alive", guests, guests as f64)?;
    daemon.stop()
}

/// Waits until the guest has answered, powered off, and been destroyed.
const POWEROFF: ShutdownOptions = ShutdownOptions {
    request: Request::Poweroff,
    wait: true,
    is_supervised: false,
    timeout: PATIENCE,
};

/// Memory in use, in KiB. The first two are negated free memory, so only differences count.
struct Memory {
    xen: i64,
    dom0: i64,
    noxsd: i64,
    chaosd: i64,
    records: i64,
}

impl Memory {
    fn now(host: &Host, noxsd: &Service, daemon: &Daemon) -> Result<Self> {
        let records = statvfs("/run")?;
        let used = (records.blocks() - records.blocks_free()) * records.fragment_size();
        Ok(Self {
            xen: -i64::try_from(host.xen.physinfo()?.free.to_kib().0)?,
            dom0: -i64::try_from(number_in(Path::new("/proc/meminfo"), "MemAvailable:")?)?,
            noxsd: i64::try_from(noxsd.private_kib()?)?,
            chaosd: i64::try_from(Service::with_id(daemon.pid()).private_kib()?)?,
            records: i64::try_from(used)? / 1024,
        })
    }

    /// Writes samples of the memory used between `self` and `now`, in KiB per guest.
    fn report(&self, now: &Self, guests: usize, samples: &mut Samples) -> Result<()> {
        #[allow(clippy::cast_precision_loss)]
        let each = |before: i64, now: i64| (now - before) as f64 / guests as f64;
        let ours = [
            ("noxsd", each(self.noxsd, now.noxsd)),
            ("chaosd", each(self.chaosd, now.chaosd)),
            ("records", each(self.records, now.records)),
        ];
        samples.add("KiB: Xen, the guest's own 1 MiB included", guests, each(self.xen, now.xen))?;
        samples.add("KiB: dom0, all of it", guests, each(self.dom0, now.dom0))?;
        for (name, kib) in ours {
            samples.add(&format!("KiB: {name}"), guests, kib)?;
        }
        samples.add("KiB: ours", guests, ours.iter().map(|(_, kib)| kib).sum())
    }
}
