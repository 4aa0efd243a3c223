// SPDX-License-Identifier: GPL-3.0-or-later
//! The states that `chaos list` shows. Their names are API: they stand in its JSON.

use serde::Serialize;
use xen::domain::{DomainInfo, ShutdownReason};

use super::classify::Condition;
use crate::config::{Action, DomainConfig};

/// The state of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestState {
    /// At least one vCPU runs on a CPU now.
    Running,
    /// All vCPUs wait for an event.
    Blocked,
    /// It was paused, or has never started.
    Paused,
    /// It waits for a CPU.
    Runnable,
    /// It powered off.
    PoweredOff,
    /// It asked for a reboot.
    Rebooted,
    /// It suspended.
    Suspended,
    /// It crashed.
    Crashed,
    /// Xen is destroying it.
    Dying,
    /// Another process is creating it.
    Creating,
    /// It waits in chaosd's pool.
    Shell,
    /// Its creator was killed before it was complete.
    Incomplete,
    /// Only its record is left.
    Gone,
    /// It has shut down, and chaosd has yet to restart it.
    PendingRestart,
}

impl GuestState {
    /// Returns the state of a domain.
    #[must_use]
    pub fn of(info: Option<&DomainInfo>, condition: &Condition) -> Self {
        let Some(info) = info else { return Self::Gone };
        // First: without its record, such a domain looks like one that was never complete.
        if info.state.dying {
            return Self::Dying;
        }
        match condition {
            Condition::Creating => return Self::Creating,
            Condition::Shell => return Self::Shell,
            Condition::Incomplete => return Self::Incomplete,
            _ => {}
        }
        match Self::of_end(info) {
            Some(end) => end,
            None if info.state.paused => Self::Paused,
            None if info.state.running => Self::Running,
            None if info.state.blocked => Self::Blocked,
            None => Self::Runnable,
        }
    }

    /// Returns how a domain shut down; `None` if it has not. A domain that was destroyed since has
    /// an answer as long as Xen still knows it.
    #[must_use]
    pub fn of_end(info: &DomainInfo) -> Option<Self> {
        Some(match info.state.shutdown? {
            ShutdownReason::Poweroff => Self::PoweredOff,
            ShutdownReason::Reboot | ShutdownReason::SoftReset => Self::Rebooted,
            ShutdownReason::Suspend => Self::Suspended,
            _ => Self::Crashed,
        })
    }

    /// Returns what a config says to do with a guest that has ended in this state. One that is
    /// suspended is kept: who suspends a guest resumes or destroys it.
    #[must_use]
    pub fn action(self, config: &DomainConfig) -> Action {
        match self {
            Self::PoweredOff => config.on_poweroff,
            Self::Rebooted => config.on_reboot,
            Self::Suspended => Action::Preserve,
            _ => config.on_crash,
        }
    }

    /// Returns the state's name, the same in tables and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Runnable => "runnable",
            Self::PoweredOff => "powered-off",
            Self::Rebooted => "rebooted",
            Self::Suspended => "suspended",
            Self::Crashed => "crashed",
            Self::Dying => "dying",
            Self::Creating => "creating",
            Self::Shell => "shell",
            Self::Incomplete => "incomplete",
            Self::Gone => "gone",
            Self::PendingRestart => "pending-restart",
        }
    }

    /// Returns the state as it reads in a sentence, such as "redis powered off and is destroyed".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PoweredOff => "powered off",
            state => state.name(),
        }
    }

    /// Returns whether the guest has shut down or is gone, so that only its removal is left.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::PoweredOff | Self::Rebooted | Self::Crashed | Self::Dying | Self::Gone)
    }
}

#[cfg(test)]
mod tests {
    use xen_abi::domctl::GetDomainInfo;

    use super::*;

    #[test]
    fn a_name_is_the_word_of_the_json() {
        for state in [
            GuestState::Running,
            GuestState::Blocked,
            GuestState::Paused,
            GuestState::Runnable,
            GuestState::PoweredOff,
            GuestState::Rebooted,
            GuestState::Suspended,
            GuestState::Crashed,
            GuestState::Dying,
            GuestState::Creating,
            GuestState::Shell,
            GuestState::Incomplete,
            GuestState::Gone,
            GuestState::PendingRestart,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }

    #[test]
    fn a_domain_that_is_destroyed_is_dying_though_its_record_is_gone() {
        let mut info = DomainInfo::from(GetDomainInfo::default());
        assert_eq!(GuestState::of(Some(&info), &Condition::Incomplete), GuestState::Incomplete);
        info.state.dying = true;
        assert_eq!(GuestState::of(Some(&info), &Condition::Incomplete), GuestState::Dying);
    }

    #[test]
    fn a_sentence_has_no_hyphen_in_powered_off() {
        assert_eq!(GuestState::PoweredOff.as_str(), "powered off");
        assert_eq!(GuestState::Crashed.as_str(), "crashed");
    }
}
