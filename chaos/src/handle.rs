//! Domain handles that tell who made the domain.
//!
//! Xen keeps 16 bytes for each domain that mean nothing to it. Ours say that the domain is ours
//! and which process made it. So a creator that was killed leaves nothing that cannot be
//! recognised: a domain with our mark, without a record, whose creator is gone, is half-made.
//!
//! Layout, shown as a UUID of version 8 (RFC 9562, section 5.8):
//! `c4a05000-rrrr-8rrr-Rrpp-ppppssssssss`, with `r` random, `p` the creator's process id and `s`
//! the low 32 bits of the time it started, in clock ticks after boot.

use std::io;
use std::process;

use xen::units::DomainHandle;

/// First four bytes of each handle.
const MARK: [u8; 4] = [0xc4, 0xa0, 0x50, 0x00];

/// The process that makes domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creator {
    pid: u32,
    started: u32,
}

impl Creator {
    /// This process.
    ///
    /// # Errors
    /// `/proc` is not mounted or not as expected.
    pub fn this_process() -> io::Result<Self> {
        let pid = process::id();
        Ok(Self { pid, started: started(pid)? })
    }

    /// A new handle that names this creator.
    ///
    /// # Errors
    /// The kernel has no random numbers.
    pub fn new_handle(self) -> io::Result<DomainHandle> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes[4..9]).map_err(io::Error::from)?;
        bytes[..4].copy_from_slice(&MARK);
        bytes[6] = 0x80 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        bytes[9..12].copy_from_slice(&self.pid.to_be_bytes()[1..]);
        bytes[12..].copy_from_slice(&self.started.to_be_bytes());
        Ok(DomainHandle(bytes))
    }

    /// The creator named by a handle, or `None` if another toolstack made the domain.
    #[must_use]
    pub fn of(handle: DomainHandle) -> Option<Self> {
        let [m0, m1, m2, m3, _, _, version, _, variant, p0, p1, p2, s0, s1, s2, s3] = handle.0;
        let ours = [m0, m1, m2, m3] == MARK && version >> 4 == 8 && variant >> 6 == 2;
        ours.then(|| Self {
            pid: u32::from_be_bytes([0, p0, p1, p2]),
            started: u32::from_be_bytes([s0, s1, s2, s3]),
        })
    }

    /// Whether the process still runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        started(self.pid).is_ok_and(|started| started == self.started)
    }
}

/// When a process started, in clock ticks after boot, low 32 bits: field 22 of `/proc/PID/stat`
/// (proc_pid_stat(5)). The second field may contain spaces and parentheses; it ends at the last
/// closing one.
fn started(pid: u32) -> io::Result<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let started = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_ascii_whitespace().nth(19))
        .and_then(|ticks| ticks.parse::<u64>().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not as expected")))?;
    Ok(u32::try_from(started & u64::from(u32::MAX)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_its_creator() {
        let me = Creator::this_process().unwrap();
        let handle = me.new_handle().unwrap();
        assert_eq!(Creator::of(handle), Some(me));
        assert!(me.is_alive());
        assert_ne!(handle, me.new_handle().unwrap(), "handles are unique");
    }

    #[test]
    fn a_process_that_is_gone_or_whose_number_was_reused_is_not_alive() {
        let me = Creator::this_process().unwrap();
        assert!(!Creator { started: me.started.wrapping_add(1), ..me }.is_alive());
        assert!(!Creator { pid: (1 << 24) - 1, started: 0 }.is_alive());
    }

    #[test]
    fn other_toolstacks_handles_are_not_ours() {
        assert_eq!(Creator::of(DomainHandle([0; 16])), None);
        assert_eq!(Creator::of(DomainHandle([0xc4; 16])), None);
    }
}
