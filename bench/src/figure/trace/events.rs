// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses the `trace` file of Linux's tracing, which has one event per line (Linux,
//! `Documentation/trace/ftrace.rst`, "Output format").

use anyhow::{Context, Result, bail, ensure};

/// A thread ID of Linux.
pub(crate) type Tid = i32;

/// An event of the trace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// When it happened, in microseconds, which is the resolution of Linux's text.
    pub(crate) at_us: u64,
    /// The thread that had the CPU.
    pub(crate) tid: Tid,
    pub(crate) what: What<'a>,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What<'a> {
    /// The CPU switches to the thread `to`; `ended` says whether the previous one has exited.
    Switch { ended: bool, to: Tid, name: &'a str },
    /// The thread creates a process or thread.
    Fork { child: Tid },
    /// The thread executes another program.
    Exec,
    /// The thread enters the system call `ioctl`.
    Ioctl { request: u64 },
    /// The thread returns from `ioctl`.
    IoctlEnd,
    /// Any other event, by its name.
    Other(&'a str),
}

/// Parses all events. Skips lines that are not events.
///
/// # Errors
/// The trace says that events were lost.
pub(crate) fn parse(text: &str) -> Result<Vec<Event<'_>>> {
    let mut events = Vec::new();
    for line in text.lines() {
        if let Some(counts) = line.strip_prefix("# entries-in-buffer/entries-written: ") {
            let counts = counts.split_whitespace().next().unwrap_or_default();
            let (kept, written) = counts.split_once('/').context("the trace has no counts")?;
            ensure!(kept == written, "the trace kept {kept} of {written} events");
        }
        // `CPU:0 [LOST 12 EVENTS]`
        if line.starts_with("CPU:") && line.contains(" [LOST ") {
            bail!("the trace lost events: {line}");
        }
        events.extend(event(line));
    }
    Ok(events)
}

/// Parses `TASK-TID [CPU] FLAGS SECONDS.MICROSECONDS: NAME: WHAT`. The name of a task may contain
/// any of these separators.
fn event(line: &str) -> Option<Event<'_>> {
    if line.starts_with('#') {
        return None;
    }
    let places = line.match_indices(" [").map(|(place, _)| line.split_at(place));
    places.filter_map(|(task, rest)| after_task(task, rest)).next()
}

fn after_task<'a>(task: &str, rest: &'a str) -> Option<Event<'a>> {
    let tid = task.trim_end().rsplit_once('-')?.1.parse().ok()?;
    let (cpu, rest) = rest.strip_prefix(" [")?.split_once("] ")?;
    let _: u32 = cpu.parse().ok()?;
    let (_flags, rest) = rest.trim_start().split_once(' ')?;
    let (at, rest) = rest.trim_start().split_once(": ")?;
    let (seconds, fraction) = at.split_once('.')?;
    if fraction.len() != 6 {
        return None;
    }
    let at_us =
        seconds.parse::<u64>().ok()?.checked_mul(1_000_000)? + fraction.parse::<u64>().ok()?;
    let (name, fields) = rest.split_once(':')?;
    Some(Event { at_us, tid, what: what(name, fields.trim_start())? })
}

/// The system call number of `ioctl` on x86-64.
pub(super) const IOCTL: i64 = 16;

fn what<'a>(name: &'a str, fields: &'a str) -> Option<What<'a>> {
    Some(match name {
        "sched_switch" => {
            let (from, to) = fields.split_once(" ==> next_comm=")?;
            // Split from the right, because a task's name may look like a field.
            let (name, to) = to.rsplit_once(" next_pid=")?;
            let state = from.rsplit_once(" prev_state=")?.1;
            let ended = state.starts_with(['X', 'Z']);
            What::Switch { ended, to: first_word(to)?.parse().ok()?, name }
        }
        "sched_process_fork" => {
            let child = fields.rsplit_once(" child_pid=")?.1;
            What::Fork { child: first_word(child)?.parse().ok()? }
        }
        "sched_process_exec" => What::Exec,
        "sys_enter" => {
            // `NR 16 (a, 305000, ...)`
            let (number, arguments) = fields.strip_prefix("NR ")?.split_once(" (")?;
            (number.parse() == Ok(IOCTL)).then_some(())?;
            let request = arguments.split([',', ')']).nth(1)?.trim();
            What::Ioctl { request: u64::from_str_radix(request, 16).ok()? }
        }
        "sys_exit" => {
            let (number, _) = fields.strip_prefix("NR ")?.split_once(' ')?;
            (number.parse() == Ok(IOCTL)).then_some(())?;
            What::IoctlEnd
        }
        other => What::Other(other),
    })
}

fn first_word(text: &str) -> Option<&str> {
    text.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::{Event, What, parse};

    /// The head of the file as Linux 6.1 writes it.
    const HEAD: &str = "\
# tracer: nop
#
# entries-in-buffer/entries-written: 6/6   #P:1
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
";

    #[test]
    fn reads_each_kind_of_event() {
        let text = format!(
            "{HEAD}\
              sh-124     [000] .....     3.134029: sched_process_fork: comm=sh pid=124 child_comm=sh child_pid=161
              xl-161     [000] .....     3.135436: sched_process_exec: filename=/usr/local/sbin/xl pid=161 old_pid=161
              xl-161     [000] .....     3.143715: sys_enter: NR 16 (a, 305000, 7ffdd52941b0, 0, 0, 0)
              xl-161     [000] .N...     3.143716: sys_exit: NR 16 = -25
              xl-161     [000] .....     3.143717: xlu_cfg_readdata: (0x7f715ef660b0)
              xl-161     [000] d..2. 12345.143786: sched_switch: prev_comm=xl prev_pid=161 prev_prio=120 prev_state=R+ ==> next_comm=xenstored next_pid=131 next_prio=120
"
        );
        let events = parse(&text).expect("it is well-formed");
        let event = |at_us, tid, what| Event { at_us, tid, what };
        assert_eq!(
            events,
            [
                event(3_134_029, 124, What::Fork { child: 161 }),
                event(3_135_436, 161, What::Exec),
                event(3_143_715, 161, What::Ioctl { request: 0x30_5000 }),
                event(3_143_716, 161, What::IoctlEnd),
                event(3_143_717, 161, What::Other("xlu_cfg_readdata")),
                event(
                    12_345_143_786,
                    161,
                    What::Switch { ended: false, to: 131, name: "xenstored" }
                ),
            ]
        );
    }

    #[test]
    fn task_names_may_look_like_other_fields() {
        let text = " a-1 [0] b: c-77 [001] d..2. 1.000002: sched_switch: prev_comm=a prev_pid=1 \
                    prev_prio=1 prev_state=Z ==> next_comm=x next_pid=5 y next_pid=6 next_prio=1\n";
        let switch = What::Switch { ended: true, to: 6, name: "x next_pid=5 y" };
        let events = parse(text).expect("it is well-formed");
        assert_eq!(events, [Event { at_us: 1_000_002, tid: 77, what: switch }]);
    }

    #[test]
    fn lines_that_are_not_events_are_skipped() {
        let text = "nonsense\n\n xl-1 [000] ..... 1.5: early: x\n xl-1 [000] ..... 1.000000: \
                    sys_enter: NR 257 (0, 1)\n xl-1 [000] ..... 1.000000: sched_switch: nothing\n";
        assert_eq!(parse(text).expect("nothing is lost"), []);
    }

    #[test]
    fn lost_events_are_an_error() {
        assert!(parse("# entries-in-buffer/entries-written: 5/6   #P:1\n").is_err());
        assert!(parse("CPU:0 [LOST 12 EVENTS]\n").is_err());
    }
}
