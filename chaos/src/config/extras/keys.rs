// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the keys of extras.

use std::path::PathBuf;

use xen::units::{DomainHandle, KiB};

use super::bootloader;
use super::{Affinity, Extras, Limits, SHIM_CMDLINE, Shim, TimerMode, TscMode};
use crate::config::Action;
use crate::config::domain::MAX_COMMAND_LINE;
use crate::config::number::{BLANKS, parse_number};
use crate::config::problem::ConfigProblem;
use crate::config::reader::Reader;
use crate::config::value::{Atom, Kind, Value};
use crate::cpu_list::CpuList;

/// Returns the extras of a guest with these values of `memory=` and `vcpus=`; `None` if the config
/// says nothing of this kind. `is_pv` says whether its kernel is a PV kernel, and `on_crash` is the value of
/// `on_crash=`.
pub(in crate::config) fn build(
    reader: &mut Reader<'_>,
    memory: KiB,
    vcpus: u32,
    is_pv: bool,
    on_crash: Action,
) -> Option<Box<Extras>> {
    let mut limits = limits(reader, memory, vcpus);
    let driver_domain = is_set(reader, "driver_domain");
    if driver_domain {
        // A backend maps grants of its frontends.
        limits.maptrack_frames.get_or_insert(DRIVER_MAPTRACK_FRAMES);
    }
    let most_cap = 100 * limits.vcpus.unwrap_or(vcpus);
    let extras = Extras {
        uuid: uuid(reader),
        limits,
        cpus: affinity(reader, "cpus"),
        cpus_soft: affinity(reader, "cpus_soft"),
        weight: number_of(reader, "cpu_weight", 1..=u16::MAX.into()).map(narrow),
        cap: number_of(reader, "cap", 0..=most_cap.min(u16::MAX.into())).map(narrow),
        pool: reader.text("pool").map(|(text, _)| text.to_owned()).filter(|text| !text.is_empty()),
        tsc_mode: named(reader, "tsc_mode", &TSC_MODES).unwrap_or_default(),
        timer_mode: named(reader, "timer_mode", &TIMER_MODES).unwrap_or_default(),
        time_offset: time_offset(reader).unwrap_or(0),
        localtime: is_set(reader, "localtime"),
        driver_domain,
        // As in xl, `on_crash=` says nothing of the watchdog.
        on_watchdog: reader
            .optional_action("on_watchdog")
            .or((on_crash != Action::Destroy).then_some(Action::Destroy)),
        on_soft_reset: match reader.peek("on_soft_reset") {
            // xl's default.
            Some("soft-reset") => None,
            _ => reader.optional_action("on_soft_reset"),
        },
        shim: shim(reader, is_pv),
        bootloader: bootloader::build(reader),
    };
    (extras != Extras::default()).then(|| Box::new(extras))
}

/// The frames for tracking grants of a driver domain: libxl's default for each domain.
const DRIVER_MAPTRACK_FRAMES: u32 = 1024;

fn limits(reader: &mut Reader<'_>, memory: KiB, vcpus: u32) -> Limits {
    // libxl's limits: the largest number of an `int`, and of event channels (FIFO).
    const FRAMES: u32 = i32::MAX.cast_unsigned();
    const EVENT_CHANNELS: u32 = (1 << 17) - 1;
    Limits {
        memory: max_memory(reader, memory),
        vcpus: max_vcpus(reader, vcpus),
        grant_frames: number_of(reader, "max_grant_frames", 1..=FRAMES),
        maptrack_frames: number_of(reader, "max_maptrack_frames", 0..=FRAMES),
        // In xl, 0 means the usual number.
        event_channels: number_of(reader, "max_event_channels", 0..=EVENT_CHANNELS)
            .filter(|number| *number > 0),
    }
}

/// Returns `maxmem=` if it is more than the guest starts with.
fn max_memory(reader: &mut Reader<'_>, memory: KiB) -> Option<KiB> {
    let (most, span) = reader.memory("maxmem")?;
    if most < memory && !reader.faults.is_unknown("memory") {
        reader.refuse("maxmem", span, ConfigProblem::Less { key: "maxmem", of: "memory" });
    }
    (most > memory).then_some(most)
}

/// Returns `maxvcpus=` if it is more than the guest starts with.
fn max_vcpus(reader: &mut Reader<'_>, vcpus: u32) -> Option<u32> {
    let (most, span) = reader.number("maxvcpus", super::super::domain::VCPUS)?;
    if most < vcpus && !reader.faults.is_unknown("vcpus") {
        reader.refuse("maxvcpus", span, ConfigProblem::Less { key: "maxvcpus", of: "vcpus" });
    }
    (most > vcpus).then_some(most)
}

fn uuid(reader: &mut Reader<'_>) -> Option<DomainHandle> {
    let (text, value) = reader.text("uuid")?;
    let wrong = || ConfigProblem::Uuid { text: text.to_owned() };
    // Xen's own domains have zeros.
    let parsed = text.parse().ok().filter(|handle: &DomainHandle| handle.0 != [0; 16]);
    reader.value("uuid", value, parsed.ok_or_else(wrong))
}

/// Returns the lists of `cpus=` or `cpus_soft=`. A list without parts asks for nothing.
fn affinity(reader: &mut Reader<'_>, key: &'static str) -> Affinity {
    let Some(setting) = reader.find(key) else { return Affinity::Any };
    match &setting.value.kind {
        Kind::Atom(Atom { text, .. }) => match cpu_list(reader, key, text, &setting.value) {
            Some(list) if !list.is_empty() => Affinity::All(list),
            _ => Affinity::Any,
        },
        Kind::List(values) => {
            let mut lists = Vec::new();
            for value in values {
                match &value.kind {
                    Kind::Atom(Atom { text, .. }) => {
                        lists.extend(cpu_list(reader, key, text, value));
                    }
                    Kind::List(_) => {
                        let wanted = "a list of CPUs for each vCPU";
                        let problem = ConfigProblem::Type { key, wanted, found: "a list in it" };
                        reader.refuse(key, value.span, problem);
                    }
                }
            }
            match lists.iter().all(CpuList::is_empty) {
                true => Affinity::Any,
                false => Affinity::Each(lists),
            }
        }
    }
}

fn cpu_list(
    reader: &mut Reader<'_>,
    key: &'static str,
    text: &str,
    value: &Value,
) -> Option<CpuList> {
    let list = text.parse().map_err(|error| ConfigProblem::CpuList { key, error });
    reader.value(key, value, list)
}

const TSC_MODES: [(&str, TscMode); 3] = [
    ("default", TscMode::Default),
    ("always_emulate", TscMode::AlwaysEmulate),
    ("native", TscMode::Native),
];

const TIMER_MODES: [(&str, TimerMode); 4] = [
    ("delay_for_missed_ticks", TimerMode::DelayForMissedTicks),
    ("no_delay_for_missed_ticks", TimerMode::NoDelayForMissedTicks),
    ("no_missed_ticks_pending", TimerMode::NoMissedTicksPending),
    ("one_missed_tick_pending", TimerMode::OneMissedTickPending),
];

/// Returns the value with a name, or with a number, which xl accepts, too: the values are in the order
/// of their numbers.
fn named<T: Copy>(
    reader: &mut Reader<'_>,
    key: &'static str,
    values: &'static [(&'static str, T)],
) -> Option<T> {
    let (text, value) = reader.text(key)?;
    let numbered = || values.get(usize::try_from(parse_number(text).ok()?).ok()?);
    let found = values.iter().find(|(name, _)| *name == text).or_else(numbered);
    let names = || values.iter().map(|(name, _)| *name).collect();
    let found = found.map(|(_, value)| *value).ok_or_else(|| ConfigProblem::NoSuchValue {
        key,
        text: text.to_owned(),
        names: names(),
    });
    reader.value(key, value, found)
}

/// Returns `rtc_timeoffset=`, which may be negative.
fn time_offset(reader: &mut Reader<'_>) -> Option<i32> {
    let key = "rtc_timeoffset";
    let (text, value) = reader.text(key)?;
    let text = text.trim_matches(BLANKS);
    let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |digits| (digits, -1));
    let number = parse_number(digits).ok().and_then(|number| i64::try_from(number).ok());
    let offset = number.and_then(|number| i32::try_from(number * sign).ok());
    let wrong = || ConfigProblem::TimeOffset { text: text.to_owned() };
    reader.value(key, value, offset.ok_or_else(wrong))
}

/// Returns the PV shim, if the config asks for one.
fn shim(reader: &mut Reader<'_>, is_pv: bool) -> Option<Shim> {
    let is_asked = is_set(reader, "pvshim");
    let path = reader.text("pvshim_path").map(|(text, _)| text).filter(|text| !text.is_empty());
    let path = path.map(PathBuf::from);
    let cmdline = reader.text("pvshim_cmdline").map(|(text, _)| text);
    let mut cmdline = cmdline.filter(|text| !text.is_empty()).unwrap_or(SHIM_CMDLINE).to_owned();
    if let Some((extra, _)) = reader.text("pvshim_extra").filter(|(text, _)| !text.is_empty()) {
        cmdline = format!("{cmdline} {extra}");
    }
    if cmdline.len() > MAX_COMMAND_LINE
        && let Some(setting) = reader.find("pvshim_extra").or(reader.find("pvshim_cmdline"))
    {
        let (key, length, most) = ("pvshim_extra", cmdline.len(), MAX_COMMAND_LINE);
        let problem = ConfigProblem::CommandLine { key, length, most };
        reader.refuse(key, setting.value.span, problem);
    }
    (is_pv || is_asked).then_some(Shim { path, cmdline })
}

/// Returns whether a key that is true or false is true. 0 and an empty one are false, as in xl.
fn is_set(reader: &mut Reader<'_>, key: &'static str) -> bool {
    is_set_unless(reader, key, false)
}

/// The same, and `default` if it is not set or empty.
pub(super) fn is_set_unless(reader: &mut Reader<'_>, key: &'static str, default: bool) -> bool {
    number_of(reader, key, 0..=u32::MAX).map_or(default, |number| number != 0)
}

/// Returns the words of a text between blanks.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(BLANKS).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Returns a number in a range; `None` also for an empty text, which asks for nothing.
fn number_of(
    reader: &mut Reader<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<u32>,
) -> Option<u32> {
    match reader.peek(key) {
        Some("") => None,
        _ => reader.number(key, range).map(|(number, _)| number),
    }
}

/// Converts a number from a range of 16 bits.
fn narrow(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
