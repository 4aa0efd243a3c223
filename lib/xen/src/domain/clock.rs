// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clocks of a domain.

use xen_abi::domctl::{self, SetTimeOffset, TscInfo};

use crate::error::Error;
use crate::hypercall::{Xen, guest_only};
use crate::units::DomId;

/// How a domain reads the time stamp counter (`XEN_CPUID_TSC_MODE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TscMode {
    /// From the CPU if all CPUs of the host have the same counter, which does not stop; emulated
    /// otherwise.
    Default,
    /// Emulated.
    AlwaysEmulate,
    /// From the CPU.
    NeverEmulate,
}

impl Xen {
    /// Sets how a domain that has not run yet reads the time stamp counter, which has the frequency of
    /// the CPU.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_tsc_mode(&self, domid: DomId, mode: TscMode) -> Result<(), Error> {
        let name = "domctl settscinfo";
        guest_only(name, domid)?;
        let tsc_mode = match mode {
            TscMode::Default => domctl::XEN_CPUID_TSC_MODE_DEFAULT,
            TscMode::AlwaysEmulate => domctl::XEN_CPUID_TSC_MODE_ALWAYS_EMULATE,
            TscMode::NeverEmulate => domctl::XEN_CPUID_TSC_MODE_NEVER_EMULATE,
        };
        let mut payload = TscInfo { tsc_mode, ..TscInfo::default() };
        self.domctl(name, domctl::XEN_DOMCTL_SETTSCINFO, domid, &mut payload).map(drop)
    }

    /// Sets how far the time of day that a domain reads is ahead of UTC, in seconds.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_time_offset(&self, domid: DomId, seconds: i64) -> Result<(), Error> {
        let name = "domctl settimeoffset";
        guest_only(name, domid)?;
        let mut payload = SetTimeOffset { time_offset_seconds: seconds };
        self.domctl(name, domctl::XEN_DOMCTL_SETTIMEOFFSET, domid, &mut payload).map(drop)
    }
}
