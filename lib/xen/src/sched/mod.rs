// SPDX-License-Identifier: MIT OR Apache-2.0
//! Schedulers: the shares of domains, and the parameters of cpupools.
//!
//! The limits and the meaning of each parameter are those of Xen's `common/sched/credit.c` and
//! `credit2.c`.

mod params;
mod share;

use xen_abi::{domctl, sysctl};

use crate::error::Error;
use crate::hypercall::Xen;

pub use params::{Credit2Params, CreditParams};
pub use share::CpuShare;

/// A scheduler (`XEN_SCHEDULER_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Shares by weight and cap; Xen's default before 4.12.
    Credit,
    /// Shares by weight and cap; Xen's default.
    Credit2,
    /// A fixed plan in time (ARINC 653).
    Arinc653,
    /// Budgets in periods of time.
    Rtds,
    /// One vCPU for each CPU.
    Null,
    /// An unknown one.
    Other(u32),
}

impl Scheduler {
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            domctl::XEN_SCHEDULER_CREDIT => Self::Credit,
            domctl::XEN_SCHEDULER_CREDIT2 => Self::Credit2,
            domctl::XEN_SCHEDULER_ARINC653 => Self::Arinc653,
            domctl::XEN_SCHEDULER_RTDS => Self::Rtds,
            domctl::XEN_SCHEDULER_NULL => Self::Null,
            other => Self::Other(other),
        }
    }

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Credit => domctl::XEN_SCHEDULER_CREDIT,
            Self::Credit2 => domctl::XEN_SCHEDULER_CREDIT2,
            Self::Arinc653 => domctl::XEN_SCHEDULER_ARINC653,
            Self::Rtds => domctl::XEN_SCHEDULER_RTDS,
            Self::Null => domctl::XEN_SCHEDULER_NULL,
            Self::Other(number) => number,
        }
    }

    /// Returns xl's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Credit2 => "credit2",
            Self::Arinc653 => "arinc653",
            Self::Rtds => "rtds",
            Self::Null => "null",
            Self::Other(_) => "unknown",
        }
    }
}

impl Xen {
    /// Returns the scheduler that Xen was started with: that of the first cpupool, and of domains
    /// in it.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn scheduler(&self) -> Result<Scheduler, Error> {
        let mut raw = sysctl::SchedId::default();
        self.sysctl("sysctl sched_id", sysctl::XEN_SYSCTL_SCHED_ID, &mut raw)?;
        Ok(Scheduler::from_number(raw.sched_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_scheduler() {
        for number in 0..12 {
            assert_eq!(Scheduler::from_number(number).number(), number);
        }
        assert_eq!(Scheduler::from_number(6).name(), "credit2");
        assert_eq!(Scheduler::from_number(4), Scheduler::Other(4));
    }
}
