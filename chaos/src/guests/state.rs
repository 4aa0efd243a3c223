//! The states that `chaos list` shows. Their names are API: they stand in its JSON.

use serde::Serialize;
use xen::domain::{DomainInfo, ShutdownReason};

use super::classify::Condition;

/// How a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestState {
    /// It has a CPU right now.
    Running,
    /// It waits for something.
    Blocked,
    /// It was paused, or never started.
    Paused,
    /// It wants a CPU.
    Runnable,
    /// It powered off.
    PoweredOff,
    /// It asked to be rebooted.
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
    /// Its creator was killed before it was done.
    Incomplete,
    /// Only its record is left.
    Gone,
    /// It has ended, and chaosd has yet to restart it.
    PendingRestart,
}

impl GuestState {
    /// Returns the state of a domain.
    #[must_use]
    pub fn of(info: Option<&DomainInfo>, condition: &Condition) -> Self {
        let Some(info) = info else { return Self::Gone };
        match condition {
            Condition::Creating => return Self::Creating,
            Condition::Shell => return Self::Shell,
            Condition::Incomplete => return Self::Incomplete,
            _ => {}
        }
        if info.state.dying {
            return Self::Dying;
        }
        match Self::of_end(info) {
            Some(end) => end,
            None if info.state.paused => Self::Paused,
            None if info.state.running => Self::Running,
            None if info.state.blocked => Self::Blocked,
            None => Self::Runnable,
        }
    }

    /// Returns how a domain has shut down, also if it was destroyed since and Xen still knows it.
    #[must_use]
    pub fn of_end(info: &DomainInfo) -> Option<Self> {
        Some(match info.state.shutdown? {
            ShutdownReason::Poweroff => Self::PoweredOff,
            ShutdownReason::Reboot | ShutdownReason::SoftReset => Self::Rebooted,
            ShutdownReason::Suspend => Self::Suspended,
            _ => Self::Crashed,
        })
    }

    /// Returns the word for people: that of the JSON, with a space for a hyphen where English has
    /// one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Runnable => "runnable",
            Self::PoweredOff => "powered off",
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

    /// Returns whether the guest has ended and only waits to be removed.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::PoweredOff | Self::Rebooted | Self::Crashed | Self::Dying | Self::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_for_people_is_that_of_the_json() {
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
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(json.as_str().unwrap(), state.as_str().replace(' ', "-"));
        }
    }
}
