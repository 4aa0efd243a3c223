// SPDX-License-Identifier: GPL-3.0-or-later
//! The text of the metrics, in the format of OpenMetrics 1.0.
//!
//! Names, labels and units are an interface: they change only with an entry in `CHANGELOG.md`. Directions
//! are those of the guest: it receives and transmits, reads and writes.

use std::collections::BTreeMap;
use std::fmt;

use chaos::guests::{DeviceFigures, Figures, GuestFigures, GuestState, Usage};
use noxs_control::{VbdStatus, VifStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::samples::{Family, Kind, Labels};
use super::tally::{BOUNDS_NS, DaemonFigures, Histogram};

/// The states that a guest with a domain can have, and that of a pending restart.
const STATES: [GuestState; 10] = [
    GuestState::Running,
    GuestState::Blocked,
    GuestState::Paused,
    GuestState::Runnable,
    GuestState::PoweredOff,
    GuestState::Rebooted,
    GuestState::Suspended,
    GuestState::Crashed,
    GuestState::Dying,
    GuestState::PendingRestart,
];

/// All figures at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Those of the guests.
    pub(super) figures: Figures,
    /// Those of the main thread.
    pub(super) daemon: DaemonFigures,
}

impl Snapshot {
    /// Returns the text, in the memory of an earlier one: touching new memory takes longer than writing.
    pub(super) fn render(self, mut text: String) -> String {
        let Figures { guests, vifs, vbds, .. } = &self.figures;
        let lines = 4 * guests.len() + 5 * vifs.len() + 7 * vbds.len();
        text.clear();
        text.reserve(8 * 1024 + lines * 96);
        let labels = Labels::of_guests(guests);
        let labels = labels.each();
        usage(&mut text, guests, &labels);
        self::vifs(&mut text, vifs, &labels);
        self::vbds(&mut text, vbds, &labels);
        let mut registry = Registry::with_prefix("chaos");
        registry.register_collector(Box::new(self));
        // Ends the text, too. Writing to a string never fails.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

/// A family of metrics: all samples of one name.
struct Encoded<'a> {
    encoder: MetricEncoder<'a>,
}

impl Encoded<'_> {
    fn gauge(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        self.encoder.encode_family(labels)?.encode_gauge(&value.min(i64::MAX as u64).cast_signed())
    }

    fn counter(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        self.encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn seconds(&mut self, labels: &impl EncodeLabelSet, ns: u64) -> fmt::Result {
        let value = seconds(ns);
        self.encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn histogram(&mut self, labels: &impl EncodeLabelSet, histogram: &Histogram) -> fmt::Result {
        let bounds = BOUNDS_NS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(histogram.counts).collect();
        let (sum, count) = (seconds(histogram.sum_ns), histogram.counts.iter().sum());
        self.encoder
            .encode_family(labels)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric is a double; it loses less than 1 ns in 100 days"
)]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// No labels.
const NONE: [(&str, &str); 0] = [];

/// Writes families.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn family<'a>(
        &'a mut self,
        name: &'a str,
        help: &'a str,
        kind: MetricType,
    ) -> Result<Encoded<'a>, fmt::Error> {
        static SECONDS: Unit = Unit::Seconds;
        static BYTES: Unit = Unit::Bytes;
        // The unit is the last word of the name, which the encoder adds.
        let units = [("_seconds", &SECONDS), ("_bytes", &BYTES)];
        let found =
            units.iter().find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, *unit)));
        let (name, unit) = match found {
            Some((name, unit)) => (name, Some(unit)),
            None => (name, None),
        };
        Ok(Encoded { encoder: self.0.encode_descriptor(name, help, unit, kind)? })
    }

    fn gauges<'a>(&'a mut self, name: &'a str, help: &'a str) -> Result<Encoded<'a>, fmt::Error> {
        self.family(name, help, MetricType::Gauge)
    }

    fn counters<'a>(&'a mut self, name: &'a str, help: &'a str) -> Result<Encoded<'a>, fmt::Error> {
        self.family(name, help, MetricType::Counter)
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        let mut build = writer.family("build", "Version of chaosd.", MetricType::Info)?;
        build.encoder.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        hosts(&mut writer, self)?;
        pool(&mut writer, &self.daemon)?;
        creates(&mut writer, &self.daemon)?;
        restarts(&mut writer, &self.daemon)
    }
}

/// Writes what belongs to no single guest.
fn hosts(writer: &mut Writer<'_>, snapshot: &Snapshot) -> fmt::Result {
    let Figures { guests, dom0, unnamed, foreign, unserved, .. } = &snapshot.figures;
    let mut states: BTreeMap<_, _> = STATES.iter().map(|state| (state.name(), 0)).collect();
    for guest in guests {
        *states.entry(guest.state.name()).or_default() += 1;
    }
    states.insert(GuestState::PendingRestart.name(), snapshot.daemon.pending_restarts);
    let mut family = writer.gauges("guests", "Guests of chaos by state.")?;
    for (state, number) in states {
        family.gauge(&[("state", state)], number as u64)?;
    }
    let help = "Domains of chaos without a name: shells, and guests that are being created.";
    writer.gauges("unnamed_domains", help)?.gauge(&NONE, *unnamed as u64)?;
    let help = "Domains of other toolstacks.";
    writer.gauges("foreign_domains", help)?.gauge(&NONE, *foreign as u64)?;
    let help = "Whether noxsd answers; otherwise the figures of vifs and disks are missing.";
    writer.gauges("noxsd_up", help)?.gauge(&NONE, unserved.is_none().into())?;
    let Some(Usage { cpu_time_ns, memory, .. }) = dom0 else { return Ok(()) };
    writer.counters("dom0_cpu_seconds", "CPU time of dom0.")?.seconds(&NONE, *cpu_time_ns)?;
    writer.gauges("dom0_memory_bytes", "Memory of dom0.")?.gauge(&NONE, memory.to_bytes().0)
}

/// Writes what guests use of CPUs and memory.
fn usage(text: &mut String, guests: &[GuestFigures], labels: &[&str]) {
    let family = Family::new(text, Kind::Counter, "cpu_seconds", "CPU time of the guest.");
    family.seconds(labels, guests.iter().map(|guest| guest.usage.cpu_time_ns));
    let families: [Counted<GuestFigures>; 3] = [
        ("memory_bytes", "Memory of the guest.", |guest| guest.usage.memory.to_bytes().0),
        ("vcpus", "vCPUs of the guest.", |guest| guest.usage.vcpus.into()),
        ("broken_devices", "Devices of the guest that noxsd has taken out of service.", |guest| {
            guest.broken_devices as u64
        }),
    ];
    for (name, help, value) in families {
        Family::new(text, Kind::Gauge, name, help).numbers(labels, guests.iter().map(value));
    }
}

/// A family of the numbers of guests or devices: its name, its help, and the value of one.
type Counted<T> = (&'static str, &'static str, fn(&T) -> u64);

/// Writes what has passed the vifs.
fn vifs(text: &mut String, vifs: &[DeviceFigures<VifStatus>], guests: &[&str]) {
    let families: [Counted<VifStatus>; 5] = [
        ("vif_receive_bytes", "Bytes that the guest has received.", |vif| vif.to_guest_bytes),
        ("vif_transmit_bytes", "Bytes that the guest has sent.", |vif| vif.from_guest_bytes),
        ("vif_receive_frames", "Frames that the guest has received.", |vif| vif.to_guest_frames),
        ("vif_transmit_frames", "Frames that the guest has sent.", |vif| vif.from_guest_frames),
        ("vif_dropped_frames", "Frames that were dropped in either direction.", |vif| {
            vif.dropped_frames
        }),
    ];
    devices(text, vifs, &Labels::of_devices("vif", vifs, guests).each(), &families);
}

/// Writes what has passed the disks.
fn vbds(text: &mut String, vbds: &[DeviceFigures<VbdStatus>], guests: &[&str]) {
    let families: [Counted<VbdStatus>; 7] = [
        ("vbd_read_bytes", "Bytes that the guest has read.", |vbd| vbd.read_bytes),
        ("vbd_written_bytes", "Bytes that the guest has written.", |vbd| vbd.written_bytes),
        ("vbd_read_requests", "Requests that have read.", |vbd| vbd.read_requests),
        ("vbd_write_requests", "Requests that have written.", |vbd| vbd.write_requests),
        ("vbd_flush_requests", "Requests that have flushed.", |vbd| vbd.flush_requests),
        ("vbd_discard_requests", "Requests that have discarded.", |vbd| vbd.discard_requests),
        ("vbd_failed_requests", "Requests that have failed.", |vbd| vbd.failed_requests),
    ];
    devices(text, vbds, &Labels::of_devices("vbd", vbds, guests).each(), &families);
}

/// Writes what has passed devices of one kind.
fn devices<T>(
    text: &mut String,
    devices: &[DeviceFigures<T>],
    labels: &[&str],
    families: &[Counted<T>],
) {
    for (name, help, value) in families {
        let values = devices.iter().map(|device| value(&device.counters));
        Family::new(text, Kind::Counter, name, help).numbers(labels, values);
    }
}

/// Writes the state of the pool.
fn pool(writer: &mut Writer<'_>, daemon: &DaemonFigures) -> fmt::Result {
    let mut family = writer.gauges("pool_shells", "Shells of the flavour.")?;
    for flavour in &daemon.flavours {
        let name = ("flavour", flavour.name.as_str());
        family.gauge(&[name, ("state", "ready")], flavour.ready.into())?;
        family.gauge(&[name, ("state", "creating")], flavour.creating.into())?;
    }
    let help = "Number of shells up to which the flavour is refilled.";
    let mut family = writer.gauges("pool_high_shells", help)?;
    for flavour in &daemon.flavours {
        family.gauge(&[("flavour", flavour.name.as_str())], flavour.high.into())?;
    }
    let mut family = writer.counters("pool_hits", "Creates that found a shell of the flavour.")?;
    for flavour in &daemon.flavours {
        family.counter(&[("flavour", flavour.name.as_str())], flavour.hits)?;
    }
    let help = "Creates of the flavour that found no shell.";
    let mut family = writer.counters("pool_misses", help)?;
    for flavour in &daemon.flavours {
        family.counter(&[("flavour", flavour.name.as_str())], flavour.misses)?;
    }
    Ok(())
}

/// Writes how long creates took.
fn creates(writer: &mut Writer<'_>, daemon: &DaemonFigures) -> fmt::Result {
    let help = "Time of creates through chaosd by the origin of the shell, restarts included.";
    let mut family = writer.family("create_seconds", help, MetricType::Histogram)?;
    for (shell, histogram) in &daemon.creates.creates {
        family.histogram(&[("shell", *shell)], histogram)?;
    }
    let help = "Time of the stages of these creates.";
    let mut family = writer.family("create_stage_seconds", help, MetricType::Histogram)?;
    for (stage, histogram) in &daemon.creates.stages {
        family.histogram(&[("stage", *stage)], histogram)?;
    }
    let help = "Creates through chaosd that failed after they were found to be valid.";
    writer.counters("create_failures", help)?.counter(&NONE, daemon.creates.failures)
}

/// Writes how often guests were restarted.
fn restarts(writer: &mut Writer<'_>, daemon: &DaemonFigures) -> fmt::Result {
    let mut family = writer.counters("restarts", "Guests that were restarted, by cause.")?;
    for (cause, number) in &daemon.restarts.all {
        family.counter(&[("cause", *cause)], *number)?;
    }
    let help = "How often the guest of this name was restarted, by cause.";
    let mut family = writer.counters("guest_restarts", help)?;
    for ((name, cause), number) in &daemon.restarts.guests {
        family.counter(&[("name", name.as_str()), ("cause", *cause)], *number)?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::process::{Command, Stdio};

    use chaos::clients::chaosd::protocol::{FlavourStatus, Origin};
    use chaos::handle::DomainIdentity;
    use chaos::records::NameChanges;
    use chaos::timings::Stage;
    use xen::units::{DomId, DomainHandle, KiB};

    use super::*;
    use crate::observe::plain;

    pub(in crate::observe) fn guest(name: &str, domid: u16) -> GuestFigures {
        GuestFigures {
            name: name.into(),
            identity: DomainIdentity { domid: DomId(domid), handle: DomainHandle([1; 16]) },
            state: GuestState::Blocked,
            usage: Usage { cpu_time_ns: 1_500_000_000, memory: KiB(8192), vcpus: 1 },
            broken_devices: 0,
        }
    }

    pub(in crate::observe) fn figures(guests: Vec<GuestFigures>) -> Figures {
        let dom0 = Some(Usage { cpu_time_ns: 1, memory: KiB(1 << 20), vcpus: 1 });
        let vif = VifStatus { from_guest_bytes: 1, to_guest_bytes: 2, ..VifStatus::default() };
        let vbd = VbdStatus { read_bytes: 3, failed_requests: 4, ..VbdStatus::default() };
        let vif = |guest| DeviceFigures { guest, index: 0, counters: vif };
        let vbd = |guest| DeviceFigures { guest, index: 1, counters: vbd };
        Figures {
            vifs: (0..guests.len()).map(vif).collect(),
            vbds: (0..guests.len()).map(vbd).collect(),
            guests,
            dom0,
            unnamed: 2,
            foreign: 1,
            unserved: None,
            changes: NameChanges::default(),
        }
    }

    fn daemon() -> DaemonFigures {
        let mut daemon = DaemonFigures { pending_restarts: 3, ..DaemonFigures::default() };
        let stages = [Stage { name: "receive", ns: 30_000 }, Stage { name: "unpause", ns: 80_000 }];
        daemon.creates.created(Origin::Warm, &stages);
        daemon.restarts.begins("web", "crashed");
        daemon.restarts.restarted("web", Default::default);
        daemon.flavours.push(FlavourStatus {
            name: "small".into(),
            memory_kib: 8192,
            vcpus: 1,
            console: true,
            bridges: Vec::new(),
            disks: 0,
            kernel: None,
            is_learned: false,
            low: 1,
            high: 4,
            ready: 2,
            creating: 1,
            hits: 7,
            misses: 5,
            refill_ns: 0,
        });
        daemon
    }

    /// Returns a text with all families.
    pub(in crate::observe) fn example() -> String {
        let figures = figures(vec![guest("web", 5), guest("a\"b\\c", 6)]);
        Snapshot { figures, daemon: daemon() }.render(String::new())
    }

    #[test]
    fn each_figure_has_its_line() {
        let text = example();
        for line in [
            "# TYPE chaos_build info",
            concat!("chaos_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "chaos_guests{state=\"blocked\"} 2",
            "chaos_guests{state=\"pending-restart\"} 3",
            "chaos_guests{state=\"crashed\"} 0",
            "chaos_unnamed_domains 2",
            "chaos_foreign_domains 1",
            "chaos_noxsd_up 1",
            "# UNIT chaos_guest_cpu_seconds seconds",
            "chaos_guest_cpu_seconds_total{name=\"web\"} 1.5",
            "chaos_guest_memory_bytes{name=\"web\"} 8388608",
            "chaos_guest_memory_bytes{name=\"a\\\"b\\\\c\"} 8388608",
            "chaos_guest_vcpus{name=\"web\"} 1",
            "chaos_guest_vif_receive_bytes_total{name=\"web\",vif=\"0\"} 2",
            "chaos_guest_vif_transmit_bytes_total{name=\"web\",vif=\"0\"} 1",
            "chaos_guest_vbd_read_bytes_total{name=\"web\",vbd=\"1\"} 3",
            "chaos_guest_vbd_failed_requests_total{name=\"web\",vbd=\"1\"} 4",
            "chaos_pool_shells{flavour=\"small\",state=\"ready\"} 2",
            "chaos_pool_hits_total{flavour=\"small\"} 7",
            "chaos_create_seconds_count{shell=\"warm\"} 1",
            "chaos_create_stage_seconds_bucket{le=\"0.00005\",stage=\"receive\"} 1",
            "chaos_restarts_total{cause=\"crashed\"} 1",
            "chaos_guest_restarts_total{name=\"web\",cause=\"crashed\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    /// `PROMTOOL` names the program: `scripts/check/metrics` sets it, and `scripts/test` runs that.
    #[test]
    fn promtool_accepts_the_metrics() {
        let Some(promtool) = std::env::var_os("PROMTOOL") else { return };
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = plain::from_openmetrics(&example());
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let checked = child.wait_with_output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
        assert!(checked.status.success() && stderr.is_empty(), "{stdout}{stderr}");
    }

    /// Returns the names in a text that begin with `chaos_`.
    fn names(text: &str) -> BTreeSet<&str> {
        let is_part = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
        text.split(|byte| !is_part(byte)).filter(|word| word.starts_with("chaos_")).collect()
    }

    #[test]
    fn the_dashboard_has_all_metrics_and_no_others() {
        let dashboard = include_str!("../../../docs/grafana/chaos.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        assert!(parsed["panels"].as_array().unwrap().len() > 10);
        let text = example();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples: BTreeSet<_> =
            samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
        let shown = names(dashboard);
        let unknown: Vec<_> = shown.difference(&samples).collect();
        assert!(unknown.is_empty(), "docs/grafana/chaos.json: there is no metric {unknown:?}");
        let missing: Vec<_> =
            samples.difference(&shown).filter(|name| !name.ends_with("_sum")).collect();
        assert!(missing.is_empty(), "docs/grafana/chaos.json does not show {missing:?}");
    }

    /// `docs/metrics.md` abbreviates some names with braces.
    #[test]
    fn the_document_names_all_metrics() {
        let document = include_str!("../../../docs/metrics.md");
        let mut named = BTreeSet::new();
        for cell in document.split('`').filter(|cell| cell.starts_with("chaos_")) {
            let mut all = vec![String::new()];
            let mut rest = cell;
            while let Some((before, after)) = rest.split_once('{') {
                let (choices, after) = after.split_once('}').unwrap();
                let append = |name: &String, choice| format!("{name}{before}{choice}");
                let each = |name: &String| {
                    choices.split(',').map(|choice| append(name, choice)).collect::<Vec<_>>()
                };
                all = all.iter().flat_map(each).collect();
                rest = after;
            }
            named.extend(all.into_iter().map(|name| name + rest));
        }
        let text = plain::from_openmetrics(&example());
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let families: BTreeSet<_> =
            families.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
        assert_eq!(named, families, "docs/metrics.md (left) and this module (right) differ");
    }

    #[test]
    fn each_name_has_help_and_stands_once() {
        let text = example();
        let mut names: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let helps = text.lines().filter(|line| line.starts_with("# HELP ")).count();
        assert_eq!(helps, names.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(helps, names.len());
    }
}
