// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parameters of cpupools with the schedulers credit and credit2.

use xen_abi::sysctl;

use super::Scheduler;
use crate::error::Error;
use crate::hypercall::Xen;
use crate::units::CpupoolId;

/// The parameters of a cpupool with the scheduler credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditParams {
    /// How long a vCPU runs before the next one, in milliseconds: 1 to 1000.
    pub timeslice_ms: u32,
    /// How long a vCPU runs at least before another interrupts it, in microseconds: 100 to
    /// 500 000, and at most the time slice; 0 means no limit.
    pub ratelimit_us: u32,
    /// How long a vCPU stays on its CPU after it has run, in microseconds: at most 100 000.
    pub migration_delay_us: u32,
}

/// The parameters of a cpupool with the scheduler credit2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit2Params {
    /// How long a vCPU runs at least before another interrupts it, in microseconds: 100 to
    /// 500 000; 0 means no limit.
    pub ratelimit_us: u32,
}

impl Xen {
    /// Returns the parameters of a cpupool with the scheduler credit.
    ///
    /// # Errors
    /// `ESRCH` if the cpupool does not exist, `EINVAL` if it has another scheduler.
    pub fn credit_params(&self, pool: CpupoolId) -> Result<CreditParams, Error> {
        self.pool_call(pool, Scheduler::Credit, None).map(CreditParams::from)
    }

    /// Sets the parameters of a cpupool with the scheduler credit, for all its domains.
    ///
    /// # Errors
    /// As for [`Xen::credit_params`]; `EINVAL` also if a value is out of range.
    pub fn set_credit_params(&self, pool: CpupoolId, params: CreditParams) -> Result<(), Error> {
        self.pool_call(pool, Scheduler::Credit, Some(params.into())).map(drop)
    }

    /// Returns the parameters of a cpupool with the scheduler credit2.
    ///
    /// # Errors
    /// As for [`Xen::credit_params`].
    pub fn credit2_params(&self, pool: CpupoolId) -> Result<Credit2Params, Error> {
        let params = self.pool_call(pool, Scheduler::Credit2, None)?;
        Ok(Credit2Params { ratelimit_us: params[sysctl::CREDIT2_RATELIMIT_US] })
    }

    /// Sets the parameters of a cpupool with the scheduler credit2, for all its domains.
    ///
    /// # Errors
    /// As for [`Xen::set_credit_params`].
    pub fn set_credit2_params(&self, pool: CpupoolId, params: Credit2Params) -> Result<(), Error> {
        let mut words = [0; 4];
        words[sysctl::CREDIT2_RATELIMIT_US] = params.ratelimit_us;
        self.pool_call(pool, Scheduler::Credit2, Some(words)).map(drop)
    }

    /// Sets a cpupool's parameters, or returns them.
    fn pool_call(
        &self,
        pool: CpupoolId,
        scheduler: Scheduler,
        params: Option<[u32; 4]>,
    ) -> Result<[u32; 4], Error> {
        let mut raw = sysctl::SchedulerOp {
            cpupool_id: pool.0,
            sched_id: scheduler.number(),
            cmd: match params {
                Some(_) => sysctl::XEN_SYSCTL_SCHEDOP_PUTINFO,
                None => sysctl::XEN_SYSCTL_SCHEDOP_GETINFO,
            },
            params: params.unwrap_or_default(),
            ..sysctl::SchedulerOp::default()
        };
        self.sysctl("sysctl scheduler_op", sysctl::XEN_SYSCTL_SCHEDULER_OP, &mut raw)?;
        Ok(raw.params)
    }
}

impl From<[u32; 4]> for CreditParams {
    fn from(words: [u32; 4]) -> Self {
        Self {
            timeslice_ms: words[sysctl::CREDIT_TSLICE_MS],
            ratelimit_us: words[sysctl::CREDIT_RATELIMIT_US],
            migration_delay_us: words[sysctl::CREDIT_VCPU_MIGR_DELAY_US],
        }
    }
}

impl From<CreditParams> for [u32; 4] {
    fn from(params: CreditParams) -> Self {
        let mut words = [0; 4];
        words[sysctl::CREDIT_TSLICE_MS] = params.timeslice_ms;
        words[sysctl::CREDIT_RATELIMIT_US] = params.ratelimit_us;
        words[sysctl::CREDIT_VCPU_MIGR_DELAY_US] = params.migration_delay_us;
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_parameters_keep_their_places() {
        let params = CreditParams { timeslice_ms: 1, ratelimit_us: 2, migration_delay_us: 3 };
        assert_eq!(<[u32; 4]>::from(params), [1, 2, 3, 0]);
        assert_eq!(CreditParams::from([1, 2, 3, 0]), params);
    }
}
