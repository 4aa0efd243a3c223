// SPDX-License-Identifier: GPL-3.0-or-later
//! Compares the calls of crate `xen` with xl, which makes the same hypercalls through libxc.

use std::collections::BTreeMap;

use system_tests::{Guest, XenStoreBed, run};
use xen::Xen;
use xen::cpu_map::CpuMap;
use xen::sched::{CpuShare, Credit2Params, Scheduler};
use xen::units::{CpupoolId, DomId};
use xen::vcpu::Affinity;

use crate::DEVICES;

fn xl(args: &[&str]) -> String {
    run("xl", args).ok()
}

/// Returns the lines `key : value` of `xl info`.
fn xl_info() -> BTreeMap<String, String> {
    let text = xl(&["info"]);
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Returns the words of the last line.
fn last_line(text: &str) -> Vec<&str> {
    text.lines().last().unwrap_or_default().split_whitespace().collect()
}

#[test]
fn xen_is_described_as_by_xl_info() {
    let _bed = XenStoreBed::new();
    let xen = Xen::open().expect("dom0 can open Xen");
    let version = xen.version_info().expect("its version");
    let host = xen.physinfo().expect("the machine");
    let shared = xen.shared_memory().expect("shared memory");
    let free_cpus = xen.free_cpus().expect("free CPUs");
    let mib = |pages: u64| (pages / 256).to_string();
    let theirs = xl_info();
    let hw_caps = host.hw_cap.map(|word| format!("{word:08x}")).join(":");
    let full = format!("{}.{}{}", version.major, version.minor, version.extra);
    let scheduler = xen.scheduler().expect("the scheduler").name();
    for (key, ours) in [
        ("nr_cpus", host.cpus.to_string()),
        ("max_cpu_id", host.max_cpu_id.to_string()),
        ("nr_nodes", host.nodes.to_string()),
        ("cores_per_socket", host.cores_per_socket.to_string()),
        ("threads_per_core", host.threads_per_core.to_string()),
        ("cpu_mhz", format!("{}.{:03}", host.cpu_khz / 1000, host.cpu_khz % 1000)),
        ("hw_caps", hw_caps),
        ("virt_caps", host.capabilities.names().join(" ")),
        ("total_memory", mib(host.total.0)),
        ("free_memory", mib(host.free.0 - host.outstanding.0)),
        ("sharing_freed_memory", mib(shared.freed.0)),
        ("sharing_used_memory", mib(shared.used.0)),
        ("outstanding_claims", mib(host.outstanding.0)),
        ("free_cpus", free_cpus.len().to_string()),
        ("xen_major", version.major.to_string()),
        ("xen_minor", version.minor.to_string()),
        ("xen_extra", version.extra.clone()),
        ("xen_version", full),
        ("xen_caps", version.capabilities.clone()),
        ("xen_scheduler", scheduler.to_owned()),
        ("xen_pagesize", version.page_size.0.to_string()),
        ("platform_params", format!("virt_start={:#x}", version.virt_start)),
        ("xen_changeset", version.changeset.clone()),
        ("xen_commandline", version.command_line.trim().to_owned()),
        ("cc_compiler", version.compiler.clone()),
        ("cc_compile_by", version.compile_by.clone()),
        ("cc_compile_domain", version.compile_domain.clone()),
        ("cc_compile_date", version.compile_date.clone()),
        ("build_id", version.build_id.clone()),
    ] {
        assert_eq!(theirs.get(key), Some(&ours), "{key} of {theirs:#?}");
    }
}

#[test]
fn cpus_and_nodes_are_where_xl_finds_them() {
    let _bed = XenStoreBed::new();
    let xen = Xen::open().expect("dom0 can open Xen");
    let theirs = xl(&["info", "-n"]);
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let theirs: Vec<String> = theirs.lines().map(squeezed).collect();
    for place in xen.cpu_topology().expect("the CPUs") {
        // xl leaves out CPUs whose core is unknown, and shows -1 for what else is.
        let known = |number: Option<u32>| number.map_or(-1, i64::from);
        let (cpu, core) = (place.cpu, known(place.core));
        let ours = format!("{cpu}: {core} {} {}", known(place.socket), known(place.node));
        assert_eq!(theirs.contains(&ours), place.core.is_some(), "{ours} in {theirs:#?}");
    }
    for node in xen.numa_nodes().expect("the nodes") {
        // Free memory may change in between.
        let begin = format!("{}: {} ", node.node, node.size.0 >> 20);
        let distances: Vec<String> = node.distances.iter().flatten().map(u32::to_string).collect();
        let end = format!(" {}", distances.join(","));
        let found = theirs.iter().any(|line| line.starts_with(&begin) && line.ends_with(&end));
        assert!(found, "{begin}…{end} in {theirs:#?}");
    }
}

#[test]
fn affinity_and_shares_are_those_of_xl() {
    let _bed = XenStoreBed::new();
    let xen = Xen::open().expect("dom0 can open Xen");
    let guest = Guest::create("noop.cfg", &DEVICES);
    let domid = DomId(u16::try_from(guest.domid).expect("a domid has 16 bits"));
    let number = guest.domid.to_string();
    let cpu0: CpuMap = [0].into_iter().collect();

    xl(&["vcpu-pin", &number, "0", "0", "0"]);
    for affinity in [Affinity::Hard, Affinity::Soft] {
        assert_eq!(xen.vcpu_affinity(domid, 0, affinity).expect("its CPUs"), cpu0);
    }
    let listed = xl(&["vcpu-list", &number]);
    let line = last_line(&listed);
    let info = xen.vcpu_info(domid, 0).expect("its vCPU");
    assert_eq!(line[1..4], [number.as_str(), "0", &info.cpu.to_string()], "{listed}");

    let share = CpuShare { weight: 300, cap: 30 };
    xen.set_cpu_share(domid, Scheduler::Credit2, share).expect("a share");
    let listed = xl(&["sched-credit2", "-d", &number]);
    assert_eq!(last_line(&listed)[1..], [number.as_str(), "300", "30"], "{listed}");
    xl(&["sched-credit2", "-d", &number, "-w", "400", "-c", "40"]);
    let theirs = xen.cpu_share(domid, Scheduler::Credit2).expect("the same");
    assert_eq!(theirs, CpuShare { weight: 400, cap: 40 });
    guest.destroy();

    let before = xen.credit2_params(CpupoolId::FIRST).expect("its parameters");
    let other = Credit2Params { ratelimit_us: before.ratelimit_us + 100 };
    xen.set_credit2_params(CpupoolId::FIRST, other).expect("another rate limit");
    let listed = xl(&["sched-credit2", "-s"]);
    let wanted = format!("ratelimit={}us", other.ratelimit_us);
    assert!(listed.contains(&wanted), "{wanted} in {listed}");
    xen.set_credit2_params(CpupoolId::FIRST, before).expect("restored");
}

#[test]
fn cpupools_and_xens_log_are_those_of_xl() {
    let _bed = XenStoreBed::new();
    let xen = Xen::open().expect("dom0 can open Xen");
    let listed = xl(&["cpupool-list"]);
    let pools = xen.cpupools().expect("a list");
    assert_eq!(listed.lines().count(), 1 + pools.len(), "{listed}");
    let (cpus, domains) = (pools[0].cpus.len().to_string(), pools[0].domains.to_string());
    let ours = [cpus.as_str(), pools[0].scheduler.name(), "y", &domains];
    assert_eq!(last_line(&listed)[1..], ours, "{listed}");

    let ours = xen.console(false).expect("the log");
    let theirs = run("xl", &["dmesg"]).ok();
    let ours = String::from_utf8_lossy(&ours).into_owned();
    // Xen may log more in between, and drop the oldest lines.
    let end: Vec<&str> = ours.lines().rev().take(20).collect();
    assert_eq!(end.len(), 20, "{ours}");
    assert!(end.iter().all(|line| theirs.contains(line)), "{end:#?} in {theirs}");
}
