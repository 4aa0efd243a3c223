//! What Xen tells of the machine and of itself.

use crate::error::Error;
use crate::hypercall::Xen;
use crate::sys::sysctl::{PhysInfo, ReadConsole, XEN_SYSCTL_PHYSINFO, XEN_SYSCTL_READCONSOLE};
use crate::units::Pages;

/// The machine (`struct xen_sysctl_physinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Physical CPUs.
    pub cpus: u32,
    /// Clock rate of a CPU in kHz.
    pub cpu_khz: u32,
    /// All memory.
    pub total: Pages,
    /// Memory that no domain has. Includes [`HostInfo::scrub`].
    pub free: Pages,
    /// Free memory that must still be cleared before a domain gets it.
    pub scrub: Pages,
    /// Free memory that is promised to domains already.
    pub outstanding: Pages,
}

impl Xen {
    /// Asks about the machine.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn physinfo(&self) -> Result<HostInfo, Error> {
        let mut raw = PhysInfo::default();
        self.sysctl("sysctl physinfo", XEN_SYSCTL_PHYSINFO, &mut raw)?;
        Ok(HostInfo {
            cpus: raw.nr_cpus,
            cpu_khz: raw.cpu_khz,
            total: Pages(raw.total_pages),
            free: Pages(raw.free_pages),
            scrub: Pages(raw.scrub_pages),
            outstanding: Pages(raw.outstanding_pages),
        })
    }

    /// Reads what Xen has printed on its console since `index`, which starts at 0 and is moved on.
    /// Empty if there is nothing new.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn read_console(&self, index: &mut u32) -> Result<Vec<u8>, Error> {
        const AT_ONCE: usize = 16 * 1024;
        let data = self.data(AT_ONCE)?;
        let mut answer = ReadConsole { incremental: 1, index: *index, ..ReadConsole::default() };
        self.sysctl_with("sysctl readconsole", XEN_SYSCTL_READCONSOLE, &mut answer, &data)?;
        let count = usize::try_from(answer.count).map_or(AT_ONCE, |count| count.min(AT_ONCE));
        let mut text = vec![0; count];
        data.get_into(0, text.as_mut_slice());
        *index = answer.index;
        Ok(text)
    }
}
