// SPDX-License-Identifier: GPL-3.0-or-later
//! Domain handles that name the process that created the domain.
//!
//! Xen stores a handle of 16 bytes for each domain and does not interpret it. A handle of chaos
//! marks the domain as created by chaos, and names the process that created it. So what a killed
//! creator leaves can be recognized: a domain with the mark, without a record, whose creator is
//! gone, is incomplete.
//!
//! Layout, shown as a UUID of version 8 (RFC 9562, section 5.8):
//! `c4a05000-rrrr-8rrr-Rrpp-ppppmmmmmmmm`, with `r` random, `p` the creator's process id and `m`
//! the low 32 bits of the time at which the handle was created, in clock ticks after boot.

use std::io;
use std::process;

use nix::time::{ClockId, clock_gettime};
use noxs_control::DomainId;
use xen::units::{DomId, DomainHandle};

use crate::random;

/// First four bytes of each handle of chaos.
const MARK: [u8; 4] = [0xc4, 0xa0, 0x50, 0x00];

/// Process name of the daemon.
const DAEMON: &str = "chaosd";

/// Clock ticks per second in `/proc`: `USER_HZ` of Linux on x86.
const TICKS_PER_SECOND: i64 = 100;

/// A domain, identified even if its number is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DomainIdentity {
    /// Its number.
    pub domid: DomId,
    /// Its handle.
    pub handle: DomainHandle,
}

impl From<DomainIdentity> for DomainId {
    fn from(DomainIdentity { domid, handle }: DomainIdentity) -> Self {
        Self { domid: domid.0, handle: handle.0 }
    }
}

/// The process that created a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creator {
    pid: u32,
    /// When the handle was created, in clock ticks after boot, low 32 bits.
    created: u32,
}

/// Returns a new handle that names this process.
///
/// # Errors
/// The kernel has no random numbers or no clock.
pub fn new_handle() -> io::Result<DomainHandle> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes[4..9])?;
    bytes[..4].copy_from_slice(&MARK);
    bytes[6] = 0x80 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    bytes[9..12].copy_from_slice(&process::id().to_be_bytes()[1..]);
    bytes[12..].copy_from_slice(&low_bits(now()?).to_be_bytes());
    Ok(DomainHandle(bytes))
}

impl Creator {
    /// Returns the creator that a handle names; `None` if another toolstack created the domain.
    #[must_use]
    pub fn of(handle: DomainHandle) -> Option<Self> {
        let [m0, m1, m2, m3, _, _, version, _, variant, p0, p1, p2, t0, t1, t2, t3] = handle.0;
        let ours = [m0, m1, m2, m3] == MARK && version >> 4 == 8 && variant >> 6 == 2;
        ours.then(|| Self {
            pid: u32::from_be_bytes([0, p0, p1, p2]),
            created: u32::from_be_bytes([t0, t1, t2, t3]),
        })
    }

    /// Returns whether the creator is this process.
    #[must_use]
    pub fn is_this_process(self) -> bool {
        self.pid == process::id() && self.is_alive()
    }

    /// Returns whether the process is still running. A process with its number that started after
    /// the handle was created is another one.
    #[must_use]
    pub fn is_alive(self) -> bool {
        match (now(), started(self.pid)) {
            (Ok(now), Ok(started)) => self.is_younger_than(started, now),
            _ => false,
        }
    }

    /// Returns whether the handle was created after the process with its number `started`.
    ///
    /// The times wrap after 497 days, so ages are compared: the process has its whole age, and the
    /// handle is taken to be less than 497 days old.
    fn is_younger_than(self, started: u64, now: u64) -> bool {
        u64::from(low_bits(now).wrapping_sub(self.created)) <= now.saturating_sub(started)
    }

    /// Returns whether the process is a `chaosd`. Then a domain without a record is a shell of its
    /// pool.
    #[must_use]
    pub fn is_daemon(self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/comm", self.pid))
            .is_ok_and(|name| name.trim_end() == DAEMON)
    }
}

/// Returns the time in clock ticks after boot.
fn now() -> io::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let ticks = now.tv_sec() * TICKS_PER_SECOND + now.tv_nsec() * TICKS_PER_SECOND / 1_000_000_000;
    Ok(ticks.cast_unsigned())
}

/// Returns when a process that has not exited started, in clock ticks after boot: field 22 of
/// `/proc/PID/stat` (proc_pid_stat(5)). Field 2 may contain spaces and parentheses; it ends at the
/// last closing parenthesis.
pub(crate) fn started(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).trim_start();
    if fields.starts_with(['Z', 'X']) {
        return Err(io::Error::other("it has exited, and its parent has yet to learn of that"));
    }
    fields
        .split_ascii_whitespace()
        .nth(19)
        .and_then(|ticks| ticks.parse::<u64>().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: field 22 must be a number")))
}

fn low_bits(ticks: u64) -> u32 {
    u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_its_creator() {
        let handle = new_handle().unwrap();
        let me = Creator::of(handle).unwrap();
        assert_eq!(me.pid, process::id());
        assert!(me.is_alive() && me.is_this_process());
        assert_ne!(handle, new_handle().unwrap(), "handles are unique");
    }

    #[test]
    fn a_process_that_is_gone_or_whose_number_was_reused_is_not_alive() {
        let me = Creator::of(new_handle().unwrap()).unwrap();
        let before = low_bits(started(me.pid).unwrap()).wrapping_sub(1);
        assert!(!Creator { created: before, ..me }.is_alive());
        assert!(!Creator { pid: (1 << 24) - 1, ..me }.is_alive());
        assert!(!Creator { pid: 1, ..me }.is_this_process());
    }

    #[test]
    fn a_process_that_has_exited_is_not_alive_until_its_parent_learns_of_it() {
        let mut child = process::Command::new("true").spawn().unwrap();
        let id = rustix::process::Pid::from_child(&child);
        let flags = rustix::process::PidfdFlags::empty();
        let exited = rustix::process::pidfd_open(id, flags).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let readable = daemon::wait::readable(std::os::fd::AsFd::as_fd(&exited), deadline);
        assert_eq!(readable, Ok(true));
        assert!(std::path::Path::new(&format!("/proc/{}", child.id())).exists());
        assert!(!Creator { pid: child.id(), created: low_bits(now().unwrap()) }.is_alive());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_may_run_for_years_before_it_creates_a_handle() {
        const DAY: u64 = 24 * 60 * 60 * 100;
        let started = 5 * DAY;
        for days in [1, 200, 249, 400, 496, 498, 745, 1500] {
            let created = started + days * DAY;
            let creator = Creator { pid: 7, created: low_bits(created) };
            for now in [created, created + 1, created + 30 * DAY] {
                assert!(creator.is_younger_than(started, now), "after {days} days");
                assert!(!creator.is_younger_than(created + 1, now + 1), "its number was reused");
            }
        }
    }

    #[test]
    fn handles_of_other_toolstacks_name_no_creator() {
        assert_eq!(Creator::of(DomainHandle([0; 16])), None);
        assert_eq!(Creator::of(DomainHandle([0xc4; 16])), None);
    }
}
