//! Tables for people and objects for programs.

use std::fmt::Write;

use chaos::lifecycle::ListedGuest;
use chaos::record::Record;
use chaos::timings::{Stage, Timings};
use serde::Serialize;

/// What `create --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct CreatedJson<'a> {
    name: &'a str,
    domid: u16,
    handle: &'a str,
    total_ns: u64,
    stages: &'a [Stage],
}

impl<'a> CreatedJson<'a> {
    pub(crate) fn new(record: &'a Record, timings: &'a Timings) -> Self {
        Self {
            name: &record.name,
            domid: record.domid,
            handle: &record.handle,
            total_ns: timings.total_ns(),
            stages: timings.stages(),
        }
    }
}

/// The stages of an operation, in milliseconds.
pub(crate) fn stages(timings: &Timings) -> String {
    let mut text = String::new();
    let rows = timings.stages().iter().map(|stage| (stage.name, stage.ns));
    for (name, ns) in rows.chain([("total", timings.total_ns())]) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<22}{:>10} ms", milliseconds(ns));
    }
    text
}

fn milliseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000, ns / 1000 % 1000)
}

/// The guests, one a line, each with its troubles below.
pub(crate) fn guests(guests: &[ListedGuest]) -> String {
    const NO_NAME: &str = "-";
    let name = |guest: &ListedGuest| guest.name.clone().unwrap_or_else(|| NO_NAME.to_owned());
    let width = guests.iter().map(|guest| name(guest).chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:<width$}  {:>5}  {:>9}  {:>5}  {:<11}  {:>9}  {:>7}\n",
        "NAME", "ID", "MEM(KiB)", "VCPUS", "STATE", "CPU(s)", "AGE"
    );
    for guest in guests {
        let _ = writeln!(
            text,
            "{:<width$}  {:>5}  {:>9}  {:>5}  {:<11}  {:>9}  {:>7}",
            name(guest),
            guest.domid,
            guest.memory_kib,
            guest.vcpus,
            guest.state.as_str(),
            milliseconds(guest.cpu_time_ns / 1000),
            guest.age_ms.map_or_else(|| NO_NAME.to_owned(), age),
        );
        for device in &guest.broken_devices {
            let _ = writeln!(text, "  {} is broken: {}", device.device, device.reason);
        }
        if let Some(fault) = &guest.fault {
            let _ = writeln!(text, "  {fault}");
        }
    }
    text
}

/// A duration in its largest fitting unit, as docker shows it.
fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_times_read_well() {
        assert_eq!(age(0), "0s");
        assert_eq!(age(59_999), "59s");
        assert_eq!(age(60_000), "1m");
        assert_eq!(age(7_200_000), "2h");
        assert_eq!(age(900_000_000), "10d");
        assert_eq!(milliseconds(1_234_567), "1.234");
    }
}
