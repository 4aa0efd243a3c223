// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables with the columns of xl, which scripts read.

use std::fmt::Write as _;
use std::time::Duration;

use chaos::escape;
use chaos::guests::ListedGuest;
use xen::domain::{DomainInfo, ShutdownReason};

/// What stands for the name of a domain that chaos has not named.
const NO_NAME: &str = "(null)";

/// Returns the name of a domain, as one line.
pub(crate) fn name(guest: &ListedGuest) -> String {
    guest.name.as_deref().map_or_else(|| NO_NAME.to_owned(), |name| escape::line(name).into_owned())
}

/// Returns the table of `xl list`. Guests without a domain have no line, as in xl. `header` and `more`
/// are the columns that follow.
pub(crate) fn guests(
    guests: &[ListedGuest],
    header: &str,
    more: impl Fn(&DomainInfo) -> String,
) -> String {
    let mut text = format!(
        "{:<40} {:>5} {:>5} {:>5}\t{}\t{}{header}\n",
        "Name", "ID", "Mem", "VCPUs", "State", "Time(s)"
    );
    for guest in guests {
        let Some(info) = &guest.info else { continue };
        let flag = |is_set: bool, letter: char| if is_set { letter } else { '-' };
        let state = info.state;
        // The letters of the reasons, in the order of their numbers.
        let reason = match state.shutdown {
            None | Some(ShutdownReason::Poweroff) => '-',
            Some(ShutdownReason::Reboot) => 'r',
            Some(ShutdownReason::Suspend) => 's',
            Some(ShutdownReason::Crash) => 'c',
            Some(ShutdownReason::Watchdog) => 'w',
            Some(ShutdownReason::SoftReset) => 'S',
            Some(ShutdownReason::Other(_)) => '?',
        };
        let flags: String = [
            flag(state.running, 'r'),
            flag(state.blocked, 'b'),
            flag(state.paused, 'p'),
            flag(state.shutdown.is_some(), 's'),
            reason,
            flag(state.dying, 'd'),
        ]
        .into_iter()
        .collect();
        let _ = writeln!(
            text,
            "{:<40} {:>5} {:>5} {:>5}     {flags}  {:>8.1}{}",
            name(guest),
            info.domid.0,
            guest.memory_kib / 1024,
            info.online_vcpus,
            Duration::from_nanos(guest.cpu_time_ns).as_secs_f64(),
            more(info),
        );
    }
    text
}

/// The uptime of a domain.
#[derive(Clone, Debug)]
pub(crate) struct Uptime {
    pub(crate) name: String,
    pub(crate) domid: u16,
    pub(crate) seconds: u64,
}

/// Returns the table of `xl uptime`; with the time of day, that of `xl uptime -s`.
pub(crate) fn uptimes(uptimes: &[Uptime], short: Option<&str>) -> String {
    let mut text = match short {
        None => format!("{:<33} {:>4} {}\n", "Name", "ID", "Uptime"),
        Some(_) => String::new(),
    };
    for Uptime { name, domid, seconds } in uptimes {
        let name = escape::line(name);
        let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
        let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
        let days = match days {
            0 => String::new(),
            1 => "1 day, ".to_owned(),
            days => format!("{days} days, "),
        };
        let _ = match short {
            Some(now) => {
                writeln!(text, " {now} up {days}{hours:>2}:{minutes:02}, {name} ({domid})")
            }
            None => writeln!(text, "{name:<33} {domid:>4} {days}{hours:>2}:{minutes:02}:{rest:02}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_has_days_hours_minutes_and_seconds() {
        let uptime = |seconds| Uptime { name: "web".to_owned(), domid: 7, seconds };
        let all = [uptime(59), uptime(86_400 + 3661), uptime(2 * 86_400 + 36_000)];
        assert_eq!(
            uptimes(&all, None),
            "Name                                ID Uptime\n\
             web                                  7  0:00:59\n\
             web                                  7 1 day,  1:01:01\n\
             web                                  7 2 days, 10:00:00\n"
        );
        assert_eq!(uptimes(&all[1..2], Some("12:34:56")), " 12:34:56 up 1 day,  1:01, web (7)\n");
    }
}
