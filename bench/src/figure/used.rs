// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures how much CPU time guests, dom0 and noxsd have used.

use std::time::Instant;

use anyhow::{Context, Result};
use chaos::guests::Host;
use chaos_bench::guest::Service;
use xen::units::DomId;

/// The CPU time used up to a moment.
pub(crate) struct Used {
    at: Instant,
    guests_ns: u64,
    dom0_ns: u64,
    noxsd_ns: u64,
}

/// The CPU time used between two moments, in percent of one CPU.
pub(crate) struct Shares {
    /// All guests, by Xen's count.
    pub(crate) guests: f64,
    /// dom0 including noxsd, by Xen's count.
    pub(crate) dom0: f64,
    /// noxsd, by Linux's count. If a guest preempts noxsd on the same CPU, Linux counts the guest's
    /// time as noxsd's.
    pub(crate) noxsd: f64,
}

impl Used {
    pub(crate) fn now(host: &Host, noxsd: &Service) -> Result<Self> {
        let noxsd_ns = noxsd.cpu_ns()?;
        let domains = host.xen.domain_list(DomId(1))?;
        let dom0 = host.xen.domain_info(DomId::DOM0)?.context("there is no dom0")?;
        Ok(Self {
            at: Instant::now(),
            guests_ns: domains.iter().map(|info| info.cpu_time_ns).sum(),
            dom0_ns: dom0.cpu_time_ns,
            noxsd_ns,
        })
    }

    /// Returns what was used between `self` and `now`.
    pub(crate) fn until(&self, now: &Self) -> Shares {
        let took = (now.at - self.at).as_secs_f64() * 1e9;
        #[allow(clippy::cast_precision_loss)]
        let percent = |begin: u64, end: u64| end.saturating_sub(begin) as f64 / took * 100.0;
        Shares {
            guests: percent(self.guests_ns, now.guests_ns),
            dom0: percent(self.dom0_ns, now.dom0_ns),
            noxsd: percent(self.noxsd_ns, now.noxsd_ns),
        }
    }
}
