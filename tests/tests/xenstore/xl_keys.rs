// SPDX-License-Identifier: GPL-3.0-or-later
//! Compares what keys of a config do with what they do in xl.

use system_tests::{Chaosd, ConsoleLog, Guest, XenStoreBed, chaos, run};
use xen::Xen;
use xen::units::DomId;

use crate::LINUX;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// A guest that never runs, with keys that few configs have. xl has more memory for other reasons, so
/// it is not compared.
const CONFIG: &str = "name='keys'\ntype='pvh'\nkernel='noop'\nmemory=8\nmaxmem=16\nvcpus=2\n\
    maxvcpus=3\nuuid='01234567-89ab-cdef-0123-456789abcdef'\ncpus=['0', '0-1,^1']\n\
    cpus_soft='all,^7'\ncpu_weight=512\ncap=150\ntsc_mode='always_emulate'\n\
    max_event_channels=2047\nmax_grant_frames=16\ndriver_domain=1\n";

/// Returns what Xen, xl and XenStore say of the guest `keys`, without its number.
fn seen() -> String {
    let domid = run("xl", &["domid", "keys"]).ok().trim().to_owned();
    let node = |path: &str| {
        let read = run("xenstore-read", &[&format!("/local/domain/{domid}/{path}")]);
        format!("{path} {}", read.ok())
    };
    let xen = Xen::open().expect("dom0 can open Xen");
    let domain = DomId(domid.parse().expect("a number"));
    let info = xen.domain_info(domain).expect("an answer").expect("it is there");
    let mut seen = format!("{} {:?} ", info.handle, info.max_vcpu_id);
    for args in [&["vcpu-list", "keys"][..], &["sched-credit2", "-d", "keys"]] {
        seen += &run("xl", args).ok();
    }
    // Not memory/static-max: a guest of xl sees maxmem as its memory, and one of chaos does not.
    let nodes = ["memory/target", "cpu/0/availability", "cpu/2/availability", "vm"];
    for path in nodes {
        seen += &node(path);
    }
    for folder in ["libxl", "device-model"] {
        node(folder);
    }
    seen.split_whitespace().filter(|word| *word != domid).collect::<Vec<_>>().join(" ")
}

#[test]
fn keys_do_what_they_do_in_xl() {
    let bed = XenStoreBed::new();
    let config = bed.bed.file("keys.cfg", CONFIG);
    run("xl", &["create", "-p", "-q", &config]).ok();
    let by_xl = seen();
    run("xl", &["destroy", "keys"]).ok();
    let guest = Guest::create(&config, &["--paused", "--store=xenstore"]);
    let by_chaos = seen();
    assert_eq!(by_chaos, by_xl);
    for part in [UUID, "Some(2)", "512 150", "target 8192"] {
        assert!(by_chaos.contains(part), "{part}: {by_chaos}");
    }
    // The same config again, with another name.
    chaos(&["create", "--paused", "--store=xenstore", &config, "name=other"])
        .refused(2, &[UUID, &format!("domain {} has this UUID", guest.domid)]);
    guest.destroy();
    bed.assert_nothing_left("after destroy");
}

#[test]
fn a_cpupool_is_chosen_by_its_name() {
    let bed = XenStoreBed::new();
    let config = bed.bed.file("pool.cfg", "name='a'\ntype='pvh'\nkernel='noop'\nmemory=4\n");
    let create = |more: &[&str]| {
        chaos(&[&["create", "--paused", "--store=xenstore", &config], more].concat())
    };
    create(&["pool=nothing"]).refused(2, &["no such cpupool; must be one of Pool-0"]);
    create(&["cpus=4000"]).refused(2, &["cpus = \"4000\": this host has none of these CPUs"]);
    for pool in ["Pool-0", "0"] {
        create(&[&format!("pool={pool}")]).ok();
        chaos(&["destroy", "a"]).ok();
    }
    chaos(&["cpupool-create", "name=empty", "sched=credit"]).ok();
    create(&["pool=empty"]).refused(1, &["pool: cannot be carried out"]);
    chaos(&["cpupool-destroy", "empty"]).ok();
    bed.assert_nothing_left("after refusals");
}

/// The PV shim runs dom0's own kernel as a PV kernel, created by this process and by chaosd.
#[test]
fn a_pv_kernel_runs_in_the_pv_shim() {
    let bed = XenStoreBed::new();
    let text = LINUX.replace("type='pvh'", "type='pv'").replace("memory=160", "memory=512");
    // In QEMU, Xen 4.20 reports to the shim that the saved state of a CPU has no bytes, and it panics.
    let config = bed.bed.file("pv.cfg", text + "pvshim_extra='xsave=0'\n");
    let console = ConsoleLog::of("linux");
    let guest = Guest::create(&config, &[]);
    let log = console.wait_for("linux: ready");
    assert!(log.contains("eth0 has 00:16:3e:00:00:05"), "{log}");
    run("ping", &["-c", "1", "-w", "60", "10.0.0.5"]).ok();
    guest.destroy();
    bed.assert_nothing_left("after destroy");

    let daemon = Chaosd::start("learn = false\n");
    let guest = Guest::create(&config, &["--paused"]);
    assert_eq!(guest.created["shell"], "cold");
    guest.destroy();
    drop(daemon);
    chaos(&["create", &config, "pvshim_path=/none"]).refused(2, &["cannot use kernel /none"]);
    chaos(&["create", &config, "memory=16"]).refused(2, &["does not fit", "raise memory"]);
    bed.assert_nothing_left("after refusals");
}
