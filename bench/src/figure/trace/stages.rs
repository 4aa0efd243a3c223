// SPDX-License-Identifier: GPL-3.0-or-later
//! Attributes each moment of xl's create to a stage. On one CPU each moment belongs to exactly one
//! task.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};

use super::events::{Event, Tid, What};
use super::landmarks::{Mark, mark};

/// A part of xl's create, on which a moment is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// xl itself before it reads the config: `execve`, the dynamic linker, opening Xen and
    /// XenStore.
    Start,
    /// xl itself from there until it asks libxl to create the guest.
    Config,
    /// xl itself while it opens the image, parses it, and copies it into the guest.
    Load,
    /// The rest of xl itself, its threads, and the process that it leaves behind to watch the
    /// guest. It lasts until xl's parent learns of its exit: for a user the command ends there.
    Toolstack,
    /// xl in a request to Linux's privcmd driver: Xen itself, and what the driver does around
    /// hypercalls, such as mapping the guest's memory.
    Hypervisor,
    /// xenstored, and the kernel thread that does nothing but carry its messages (Linux,
    /// `drivers/xen/xenbus/xenbus_comms.c`).
    XenStore,
    /// The hotplug script and all processes that it runs. A process that becomes a script counts
    /// from its creation, since it has no other purpose.
    Scripts,
    /// Kernel threads in which drivers work, and udevd.
    Drivers,
    /// The backend of guests' consoles.
    Console,
    /// Everything else: the idle task, timers, the measuring process.
    Rest,
}

impl Stage {
    pub(crate) const ALL: [Self; 10] = [
        Self::Start,
        Self::Config,
        Self::Load,
        Self::Toolstack,
        Self::Hypervisor,
        Self::XenStore,
        Self::Scripts,
        Self::Drivers,
        Self::Console,
        Self::Rest,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start of xl",
            Self::Config => "config",
            Self::Load => "load",
            Self::Toolstack => "toolstack",
            Self::Hypervisor => "hypervisor",
            Self::XenStore => "XenStore",
            Self::Scripts => "devices, scripts",
            Self::Drivers => "devices, kernel",
            Self::Console => "devices, xenconsoled",
            Self::Rest => "waiting and others",
        }
    }

    /// Returns the stage of a task that does not descend from xl, by its name.
    fn of_other(name: &str) -> Self {
        // netback's threads are named after the interface: `vif1.0-q0-guest-rx`.
        let netback =
            || name.strip_prefix("vif").is_some_and(|id| id.starts_with(char::is_numeric));
        match name {
            "xenstored" | "oxenstored" | "xenbus" => Self::XenStore,
            "xenwatch" | "udevd" | "systemd-udevd" | "(udev-worker)" => Self::Drivers,
            "xenconsoled" => Self::Console,
            _ if name.starts_with("kworker/") || netback() => Self::Drivers,
            _ => Self::Rest,
        }
    }
}

/// Returns the nanoseconds of each stage, in the order of [`Stage::ALL`], from the moment when the
/// process `xl` first has the CPU until its parent has the CPU back after xl's exit.
///
/// # Errors
/// The trace does not cover the whole process, or has a gap.
pub(crate) fn stages(events: &[Event<'_>], xl: Tid) -> Result<[u64; Stage::ALL.len()]> {
    let parent = events.iter().find(|event| event.what == What::Fork { child: xl });
    let parent = parent.context("the trace lacks xl's creation")?.tid;
    let mut moment = Moment::new(events, xl);
    let mut spent = [0; Stage::ALL.len()];
    let (mut last, mut xl_exited) = (None, false);
    for event in events {
        if let Some(last) = last {
            ensure!(event.tid == moment.tid, "the trace has a gap at {event:?}");
            let us = event.at_us.checked_sub(last).context("the trace is not in time order")?;
            spent[moment.stage() as usize] += us * 1000;
        }
        moment.pass(event);
        if let What::Switch { ended, to, .. } = event.what {
            xl_exited |= event.tid == xl && ended;
            if xl_exited && to == parent {
                ensure!(last.is_some(), "the trace lacks the switch to xl");
                moment.check()?;
                return Ok(spent);
            }
            if to == xl {
                last = Some(event.at_us);
            }
        }
        last = last.map(|_| event.at_us);
    }
    bail!("the trace lacks xl's exit")
}

/// What each task is doing at a moment.
struct Moment<'a> {
    xl: Tid,
    /// The tasks that descend from xl, itself included; true for scripts and their descendants.
    family: HashMap<Tid, bool>,
    /// The task that has the CPU.
    tid: Tid,
    name: &'a str,
    in_hypercall: HashSet<Tid>,
    /// The stage that xl's first thread has reached.
    reached: Stage,
    /// How many functions that load the image xl's first thread is in; they nest.
    loading: usize,
    loaded: bool,
}

impl<'a> Moment<'a> {
    fn new(events: &[Event<'_>], xl: Tid) -> Self {
        Self {
            xl,
            family: family(events, xl),
            tid: 0,
            name: "",
            in_hypercall: HashSet::new(),
            reached: Stage::Start,
            loading: 0,
            loaded: false,
        }
    }

    fn stage(&self) -> Stage {
        match self.family.get(&self.tid) {
            None => Stage::of_other(self.name),
            Some(true) => Stage::Scripts,
            Some(false) if self.in_hypercall.contains(&self.tid) => Stage::Hypervisor,
            Some(false) if self.tid != self.xl => Stage::Toolstack,
            Some(false) if self.loading > 0 => Stage::Load,
            Some(false) => self.reached,
        }
    }

    fn pass(&mut self, event: &Event<'a>) {
        match event.what {
            What::Switch { to, name, .. } => (self.tid, self.name) = (to, name),
            // All requests to the privcmd driver have the type 'P' (Linux,
            // `include/uapi/xen/privcmd.h` and `asm-generic/ioctl.h`).
            What::Ioctl { request } if (request >> 8) & 0xff == u64::from(b'P') => {
                self.in_hypercall.insert(event.tid);
            }
            What::IoctlEnd => {
                self.in_hypercall.remove(&event.tid);
            }
            What::Other(name) if event.tid == self.xl => match mark(name) {
                Some(Mark::Config) => self.reached = Stage::Config,
                Some(Mark::Create) if self.reached == Stage::Config => {
                    self.reached = Stage::Toolstack;
                }
                Some(Mark::Load) => {
                    self.loading += 1;
                    self.loaded = true;
                }
                Some(Mark::Loaded) => self.loading = self.loading.saturating_sub(1),
                Some(Mark::Create) | None => {}
            },
            _ => {}
        }
    }

    /// Checks that xl has passed all landmarks.
    fn check(&self) -> Result<()> {
        ensure!(self.reached == Stage::Toolstack, "the trace lacks the end of xl's config stage");
        ensure!(self.loaded && self.loading == 0, "the trace lacks xl's loading of the image");
        Ok(())
    }
}

/// Returns the tasks that descend from xl, itself included, and for each whether it is a script or
/// descends from one.
fn family(events: &[Event<'_>], xl: Tid) -> HashMap<Tid, bool> {
    let mut family = HashMap::from([(xl, false)]);
    let execs = events.iter().filter(|event| event.what == What::Exec).map(|event| event.tid);
    let execs: HashSet<Tid> = execs.collect();
    for event in events {
        if let (What::Fork { child }, Some(&of_script)) = (&event.what, family.get(&event.tid)) {
            family.insert(*child, of_script || execs.contains(child));
        }
    }
    family
}

#[cfg(test)]
mod tests;
