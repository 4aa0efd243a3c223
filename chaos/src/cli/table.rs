// SPDX-License-Identifier: GPL-3.0-or-later
//! The tables that people read and the JSON of `create`.

use std::fmt::Write;

use chaos::config::{ConfigError, ConfigErrors, vif_label};
use chaos::escape;
use chaos::guests::{ListedDisk, ListedGuest, ListedGuestVif};
use chaos::request::FlavourStatus;
use daemon::chain::chain;
use serde::Serialize;

/// A guest that was created, as `create --json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct CreatedRow {
    pub(crate) name: String,
    pub(crate) domid: u16,
    pub(crate) handle: String,
    /// Where its shell came from: `cold` (prepared for it), `pool`, or `warm` (with its kernel).
    pub(crate) shell: &'static str,
    pub(crate) total_ns: u64,
    pub(crate) stages: Vec<StageRow>,
}

/// What is wrong with a config, as `create --json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigErrorRows<'a> {
    errors: Vec<ConfigErrorRow<'a>>,
    /// Whether there are more.
    more: bool,
}

#[derive(Debug, Serialize)]
struct ConfigErrorRow<'a> {
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
}

impl<'a> ConfigErrorRows<'a> {
    pub(crate) fn new(errors: &'a ConfigErrors) -> Self {
        let errors_of = errors.iter().map(|error| match error {
            ConfigError::Wrong { position, problem } => ConfigErrorRow {
                file: Some(&position.file),
                line: Some(position.line),
                column: Some(position.column),
                message: problem.to_string(),
            },
            error => {
                let line = match error {
                    ConfigError::NotText { line, .. } => Some(*line),
                    _ => None,
                };
                ConfigErrorRow { file: error.file(), line, column: None, message: message(error) }
            }
        });
        Self { errors: errors_of.collect(), more: errors.are_more() }
    }
}

/// Returns the message of an error without the file at its beginning.
fn message(error: &ConfigError) -> String {
    let text = chain(error);
    let file = error.file().unwrap_or_default();
    match text.strip_prefix(file).and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) => message.to_owned(),
        None => text,
    }
}

/// One stage of a create.
#[derive(Debug, Serialize)]
pub(crate) struct StageRow {
    pub(crate) name: String,
    pub(crate) ns: u64,
}

impl CreatedRow {
    /// Returns the stages in milliseconds, one per line.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let rows = self.stages.iter().map(|stage| (stage.name.as_str(), stage.ns));
        for (name, ns) in rows.chain([("total", self.total_ns)]) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<30}{:>10} ms", milliseconds(ns));
        }
        text
    }
}

/// Returns the table of the pool, one flavour per line.
pub(crate) fn pool(flavours: &[FlavourStatus]) -> String {
    let names = flavours.iter().map(|flavour| flavour.name.chars().count());
    let width = names.max().unwrap_or(0).max(7);
    let mut text = format!(
        "{:<width$}  {:>9}  {:>5}  {:>5}  {:>8}  {:>4}  {:>4}  {:>8}  {:>8}  {:>10}  {:>9}  {}\n",
        "FLAVOUR",
        "MEM(KiB)",
        "VCPUS",
        "READY",
        "CREATING",
        "LOW",
        "HIGH",
        "HITS",
        "MISSES",
        "REFILL(ms)",
        "HELD(KiB)",
        "DEVICES AND KERNEL"
    );
    for flavour in flavours {
        let learned = flavour.is_learned.then(|| "learned".to_owned());
        let console = flavour.console.then(|| "console".to_owned());
        let vifs = flavour.bridges.iter().map(|bridge| format!("vif on {bridge}"));
        let disks = match flavour.disks {
            0 => None,
            1 => Some("1 disk".to_owned()),
            disks => Some(format!("{disks} disks")),
        };
        let devices: Vec<String> = learned
            .into_iter()
            .chain(console)
            .chain(vifs)
            .chain(disks)
            .chain(flavour.kernel.clone())
            .collect();
        let shells = u64::from(flavour.ready) + u64::from(flavour.creating);
        let held = flavour.memory_kib.saturating_mul(shells);
        let _ = writeln!(
            text,
            "{:<width$}  {:>9}  {:>5}  {:>5}  {:>8}  {:>4}  {:>4}  {:>8}  {:>8}  {:>10}  {:>9}  {}",
            flavour.name,
            flavour.memory_kib,
            flavour.vcpus,
            flavour.ready,
            flavour.creating,
            flavour.low,
            flavour.high,
            flavour.hits,
            flavour.misses,
            milliseconds(flavour.refill_ns),
            held,
            escape::line(&devices.join(", "))
        );
    }
    text
}

/// Returns an amount of memory in MiB, with one digit after the point if it is not an integer.
pub(crate) fn mebibytes(kib: u64) -> String {
    match kib % 1024 {
        0 => (kib / 1024).to_string(),
        rest => format!("{}.{}", kib / 1024, rest * 10 / 1024),
    }
}

fn milliseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000, ns / 1000 % 1000)
}

/// Returns the table of the guests, one per line. Below a guest follow its broken devices and what
/// is wrong with its record.
pub(crate) fn guests(guests: &[ListedGuest]) -> String {
    const NONE: &str = "-";
    let name = |guest: &ListedGuest| {
        guest
            .name
            .as_deref()
            .map_or_else(|| NONE.to_owned(), |name| escape::line(name).into_owned())
    };
    let width = guests.iter().map(|guest| name(guest).chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:<width$}  {:>5}  {:>9}  {:>5}  {:<15}  {:>9}  {:>7}\n",
        "NAME", "ID", "MEM(MiB)", "VCPUS", "STATE", "CPU(s)", "AGE"
    );
    for guest in guests {
        let _ = writeln!(
            text,
            "{:<width$}  {:>5}  {:>9}  {:>5}  {:<15}  {:>9}  {:>7}",
            name(guest),
            guest.domid.map_or_else(|| NONE.to_owned(), |domid| domid.to_string()),
            mebibytes(guest.memory_kib),
            guest.vcpus,
            guest.state.name(),
            milliseconds(guest.cpu_time_ns / 1000),
            guest.age_ms.map_or_else(|| NONE.to_owned(), age),
        );
        for device in &guest.broken_devices {
            let _ = writeln!(
                text,
                "  {}",
                escape::line(&format!(
                    "{} is broken: {}",
                    label(guest, &device.device),
                    device.reason
                ))
            );
        }
        if let Some(fault) = &guest.fault {
            let _ = writeln!(text, "  {}", escape::line(fault));
        }
    }
    text
}

/// Returns the table of the vifs of guests, with the columns of xl and the name.
pub(crate) fn vifs(vifs: &[ListedGuestVif]) -> String {
    let mut text = format!(
        "{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>5}/{:<11} {:<15} {}\n",
        "Idx", "BE", "MAC", "handle", "state", "evt-ch", "tx-", "rx-ring-ref", "bridge", "vifname"
    );
    for vif in vifs {
        let _ = writeln!(
            text,
            "{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>5}/{:<11} {:<15} {}",
            vif.devid,
            vif.backend_domid,
            vif.mac.as_deref().unwrap_or("-"),
            vif.devid,
            vif.state.number(),
            vif.event_channel.map_or_else(|| "-".to_owned(), |port| port.to_string()),
            vif.tx_ring,
            vif.rx_ring,
            escape::line(&vif.bridge),
            vif.vifname.as_deref().map_or("-".into(), escape::line)
        );
    }
    text
}

/// Returns the table of the disks of guests, with the columns of xl and the name.
pub(crate) fn disks(disks: &[ListedDisk]) -> String {
    let mut text = format!(
        "{:<9} {:<8} {:<3} {:<6} {:<5} {:<6} {:<8} {}\n",
        "Vdev", "name", "BE", "handle", "state", "evt-ch", "ring-ref", "target"
    );
    for disk in disks {
        let _ = writeln!(
            text,
            "{:<9} {:<8} {:<3} {:<6} {:<5} {:<6} {:<8} {}",
            disk.vdev_number,
            disk.vdev,
            disk.backend_domid,
            disk.number,
            disk.state.number(),
            disk.event_channel.map_or_else(|| "-".to_owned(), |port| port.to_string()),
            disk.ring,
            escape::line(&disk.target)
        );
    }
    text
}

/// Returns a device with the name that its user has given it, if it is a vif with one.
fn label(guest: &ListedGuest, device: &str) -> String {
    let number = device.strip_prefix("vif").and_then(|number| number.parse::<u16>().ok());
    match number
        .and_then(|number| guest.vifs.iter().map(|vif| &vif.config).find(|vif| vif.devid == number))
    {
        Some(vif) => vif_label(vif.devid.into(), vif.name.as_deref()),
        None => device.to_owned(),
    }
}

/// Returns a duration in the largest unit that fits, as docker shows it.
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
    use chaos::guests::{BrokenDevice, GuestState, ListedVif, ShownVif};

    use super::*;

    fn guest() -> ListedGuest {
        ListedGuest {
            name: Some("a\nb\u{202e}".to_owned()),
            domid: Some(7),
            handle: None,
            memory_kib: 4096,
            vcpus: 1,
            state: GuestState::Running,
            cpu_time_ns: 0,
            age_ms: None,
            vifs: Vec::new(),
            broken_devices: vec![BrokenDevice {
                device: "vif0".to_owned(),
                reason: "\x1b[2J\nfake  5".to_owned(),
            }],
            fault: Some("\x07\r".to_owned()),
            info: None,
        }
    }

    #[test]
    fn text_from_elsewhere_adds_no_row_and_sends_nothing_to_the_terminal() {
        let text = guests(&[guest()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text:?}");
        assert!(lines[1].starts_with("a\\nb\\u{202e}      7  "), "{text:?}");
        assert_eq!(lines[2], "  vif0 is broken: \\x1b[2J\\nfake  5");
        assert_eq!(lines[3], "  \\x07\\r");
    }

    #[test]
    fn a_broken_vif_is_shown_with_its_name() {
        let vif = |devid, name: Option<&str>| ListedVif {
            config: ShownVif {
                script: None,
                script_ip: None,
                devid,
                name: name.map(str::to_owned),
                mac: None,
                bridge: "xenbr0".to_owned(),
                ipv4: None,
                gateway: None,
                ipv6: None,
                ipv6_gateway: None,
                mtu: 1500,
                rate: None,
            },
            dropped: None,
        };
        let guest = ListedGuest {
            vifs: vec![vif(0, None), vif(1, Some("lan\u{202e}"))],
            broken_devices: ["console", "vif0", "vif1", "vif2"]
                .map(|device| BrokenDevice { device: device.to_owned(), reason: "x".to_owned() })
                .into(),
            ..guest()
        };
        let text = guests(&[guest]);
        let lines: Vec<&str> = text.lines().skip(2).take(4).collect();
        let expected = [
            "  console is broken: x",
            "  vif0 is broken: x",
            "  vif1 (lan\\u{202e}) is broken: x",
            "  vif2 is broken: x",
        ];
        assert_eq!(lines, expected, "{text:?}");
    }

    #[test]
    fn ages_and_times_have_fitting_units() {
        let amounts = [4096, 4100, 4608, 1020].map(mebibytes);
        assert_eq!(amounts, ["4", "4.0", "4.5", "0.9"]);
        assert_eq!(age(0), "0s");
        assert_eq!(age(59_999), "59s");
        assert_eq!(age(60_000), "1m");
        assert_eq!(age(7_200_000), "2h");
        assert_eq!(age(900_000_000), "10d");
        assert_eq!(milliseconds(1_234_567), "1.234");
    }
}
