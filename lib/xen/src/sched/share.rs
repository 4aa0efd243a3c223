// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shares of domains with the schedulers credit and credit2.

use xen_abi::domctl;

use super::Scheduler;
use crate::error::Error;
use crate::hypercall::Xen;
use crate::units::DomId;

/// A domain's share of the CPUs with the schedulers credit and credit2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare {
    /// Its part of the CPU time, in relation to the weights of other domains: 1 to 65535; Xen's
    /// default is 256.
    pub weight: u16,
    /// The most CPU time it gets even if CPUs are idle, in percent of one CPU; 0 means no limit.
    /// credit2 accepts at most 100 for each vCPU of the domain.
    pub cap: u16,
}

impl CpuShare {
    /// Returns why Xen would not apply the share.
    fn problem(self, scheduler: Scheduler) -> Option<&'static str> {
        // `csched_dom_cntl` and `csched2_dom_cntl` leave the old values for these, and succeed.
        match scheduler {
            Scheduler::Credit | Scheduler::Credit2 if self.weight == 0 => {
                Some("Xen ignores weight 0; must be 1 to 65535")
            }
            Scheduler::Credit if self.cap == u16::MAX => {
                Some("Xen ignores cap 65535; must be less")
            }
            Scheduler::Credit | Scheduler::Credit2 => None,
            _ => Some("only the schedulers credit and credit2 have weights and caps"),
        }
    }
}

impl Xen {
    /// Returns a domain's share. The domain may be dom0: nothing is changed.
    ///
    /// # Errors
    /// [`Error::Refused`] if the scheduler has no weights; `EINVAL` if it is not the one of the
    /// domain's cpupool, `ESRCH` if the domain does not exist.
    pub fn cpu_share(&self, domid: DomId, scheduler: Scheduler) -> Result<CpuShare, Error> {
        // Any valid share: Xen overwrites it.
        let share = CpuShare { weight: 1, cap: 0 };
        self.share_call(domid, scheduler, domctl::XEN_DOMCTL_SCHEDOP_GETINFO, share)
    }

    /// Sets a domain's share. Weights of dom0 decide how well backends and the toolstack work
    /// beside busy guests, so the domain may be dom0, as with xl. A cap of dom0 slows down
    /// everything that it serves; Xen and xl accept one.
    ///
    /// # Errors
    /// As for [`Xen::cpu_share`]. [`Error::Refused`] also for values that Xen would ignore. `EINVAL`
    /// also if the cap is above 100 for each vCPU, with credit2, which has set the weight then.
    pub fn set_cpu_share(
        &self,
        domid: DomId,
        scheduler: Scheduler,
        share: CpuShare,
    ) -> Result<(), Error> {
        let cmd = domctl::XEN_DOMCTL_SCHEDOP_PUTINFO;
        self.share_call(domid, scheduler, cmd, share).map(drop)
    }

    fn share_call(
        &self,
        domid: DomId,
        scheduler: Scheduler,
        cmd: u32,
        share: CpuShare,
    ) -> Result<CpuShare, Error> {
        let operation = "domctl scheduler_op";
        if let Some(reason) = share.problem(scheduler) {
            return Err(Error::Refused { operation, domid, reason });
        }
        let mut raw = domctl::SchedulerOp {
            sched_id: scheduler.number(),
            cmd,
            weight: share.weight,
            cap: share.cap,
            ..domctl::SchedulerOp::default()
        };
        self.domctl(operation, domctl::XEN_DOMCTL_SCHEDULER_OP, domid, &mut raw)?;
        Ok(CpuShare { weight: raw.weight, cap: raw.cap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_that_xen_would_ignore_are_refused() {
        let (credit, credit2) = (Scheduler::Credit, Scheduler::Credit2);
        let share = |weight, cap| CpuShare { weight, cap };
        assert_eq!(share(1, 0).problem(credit), None);
        assert_eq!(share(u16::MAX, 100).problem(credit2), None);
        assert!(share(0, 0).problem(credit).is_some_and(|text| text.contains("weight 0")));
        assert!(share(0, 0).problem(credit2).is_some_and(|text| text.contains("weight 0")));
        assert!(share(1, u16::MAX).problem(credit).is_some());
        assert!(share(1, 0).problem(Scheduler::Rtds).is_some());
    }
}
