// SPDX-License-Identifier: GPL-3.0-or-later
//! Guests in XenStore mode, with the kernel's backends.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::Path;

use system_tests::{
    Chaosd, ConsoleLog, Guest, LoopDevice, XenStoreBed, chaos, connected_nbds, qemu_nbds, run,
    wait_for_change,
};

use xen::hvm::Param;

use crate::{DEVICES, LINUX};

/// A disk of 1 MiB that begins with a line of text.
fn disk_file(bed: &XenStoreBed, name: &str) -> String {
    let mut content = b"written by dom0\n".to_vec();
    content.resize(1 << 20, 0);
    bed.bed.file(name, content)
}

#[test]
fn an_unmodified_linux_has_its_network_its_disks_and_its_console() {
    let bed = XenStoreBed::new();
    let (writable, read_only) = (disk_file(&bed, "a.img"), disk_file(&bed, "b.img"));
    // The second one is a CD, which is a disk that is only read, and the third one a drive without a CD.
    let cd = format!("'file:{read_only},xvdb:cdrom,rw', ',xvdc:cdrom,r'");
    let disks = format!("disk=['{writable},raw,xvda,rw', {cd}]\n");
    let config = bed.bed.file("linux.cfg", format!("{LINUX}{disks}"));
    let console = ConsoleLog::of("linux");
    let guest = Guest::create(&config, &[]);
    assert!(run("xl", &["list"]).ok().contains("linux "), "xl shows its name");
    assert_eq!(guest.listed().expect("it is listed")["name"], "linux");

    let log = console.wait_for("linux: ready");
    assert!(log.contains("eth0 has 00:16:3e:00:00:05"), "{log}");
    assert!(log.contains("xvda has 2048 sectors, ro 0: written by dom0"), "{log}");
    assert!(log.contains("xvdb has 2048 sectors, ro 1: written by dom0"), "{log}");
    assert_eq!(Guest::ask("10.0.0.5:7", b"echoed\n", b"\n"), b"echoed\n");

    let outcome = chaos(&["shutdown", "--wait", "--json", "linux"]).json();
    assert_eq!(outcome["state"], "powered-off");
    guest.forget();
    bed.assert_nothing_left("after it has powered off");
    assert!(fs::read(&writable).expect("it is there").starts_with(b"written by the guest\n"));
    assert!(fs::read(&read_only).expect("it is there").starts_with(b"written by dom0\n"));
}

#[test]
fn a_disk_image_is_served_by_the_kernel() {
    let bed = XenStoreBed::new();
    run("modprobe", &["nbd", "max_part=0"]).ok();
    let (raw, image) = (disk_file(&bed, "raw.img"), bed.bed.file("a.qcow2", ""));
    run("qemu-img", &["convert", "-O", "qcow2", &raw, &image]).ok();
    let disks = format!("disk=['tap:qcow2:{image},xvda,rw']\n");
    let config = bed.bed.file("linux.cfg", format!("{LINUX}{disks}"));
    let console = ConsoleLog::of("linux");
    let guest = Guest::create(&config, &[]);
    let log = console.wait_for("linux: ready");
    assert!(log.contains("xvda has 2048 sectors, ro 0: written by dom0"), "{log}");
    assert_eq!((connected_nbds().len(), qemu_nbds().len()), (1, 1));
    let second = ["create", &config, "--paused", "name=second", "vif=[]"];
    chaos(&second).refused(2, &["format is qcow2: qemu-nbd: ", "lock"]);
    let outcome = chaos(&["shutdown", "--wait", "--json", "linux"]).json();
    assert_eq!(outcome["state"], "powered-off");
    guest.forget();
    assert_eq!(qemu_nbds(), Vec::<String>::new());
    bed.assert_nothing_left("after it has powered off");
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", &image, &raw]).ok();
    assert!(fs::read(&raw).expect("it is there").starts_with(b"written by the guest\n"));
    // xl destroys a guest behind the back of chaos.
    let guest = Guest::create(&config, &["--paused", "vif=[]"]);
    assert_eq!((connected_nbds().len(), qemu_nbds().len()), (1, 1));
    run("xl", &["destroy", "linux"]).ok();
    wait_for_change(&[], "the image is closed", || {
        connected_nbds().is_empty() && qemu_nbds().is_empty()
    });
    chaos(&["destroy", "linux"]).ok();
    guest.forget();
    bed.assert_nothing_left("after xl has destroyed it");
}

#[test]
fn each_vif_is_added_to_its_bridge() {
    let bed = XenStoreBed::new();
    run("ip", &["link", "add", "second0", "type", "bridge"]).ok();
    let config = bed.bed.file("linux.cfg", LINUX);
    let vifs = "vif=['bridge=second0', '', 'bridge=second0,devid=2']";
    let guest = Guest::create(&config, &["--paused", vifs]);
    for (number, bridge) in ["second0", "xenbr0", "second0"].iter().enumerate() {
        let port = format!("/sys/class/net/{bridge}/brif/vif{}.{number}", guest.domid);
        assert!(Path::new(&port).exists(), "{port}");
    }
    guest.destroy();
    run("ip", &["link", "del", "second0"]).ok();
    bed.assert_nothing_left("after destroy");
}

#[test]
fn the_interface_of_a_vif_has_its_name() {
    let bed = XenStoreBed::new();
    let config = bed.bed.file("linux.cfg", LINUX);
    let port = |name: &str| Path::new("/sys/class/net/xenbr0/brif").join(name).exists();
    let named = "vif=['vifname=lan,mac=00:16:3e:00:00:05', 'vifname=wan,mtu=1400']";
    let console = ConsoleLog::of("linux");
    let guest = Guest::create(&config, &[named]);
    assert!(port("lan") && port("wan"));
    console.wait_for("linux: ready");
    // A refusal is an answer of the guest, whose server may not listen yet.
    let answer = TcpStream::connect("10.0.0.5:7").map_err(|error| error.kind());
    assert!(matches!(answer, Ok(_) | Err(ErrorKind::ConnectionRefused)), "{answer:?}");
    let other = ["create", &config, "--paused", "name=other", "vif=['vifname=lan']"];
    chaos(&other).refused(2, &["cannot rename vif", "an interface lan; choose another vifname="]);
    guest.destroy();
    assert!(!port("lan"));
    // A shell's interface is up already when a guest takes it.
    let chaosd = Chaosd::start(
        "memory='64M'\n[[flavour]]\nname='noop'\nmemory='4M'\nbridges=['xenbr0']\nstore='xenstore'\n\
         low=1\nhigh=1\n",
    );
    chaosd.wait_until_full("noop");
    let guest = Guest::create("noop.cfg", &["--store=xenstore", "--paused", "vif=['vifname=lan']"]);
    assert_eq!(guest.created["shell"], "pool");
    assert!(port("lan"));
    guest.destroy();
    assert!(chaosd.stop());
    bed.assert_nothing_left("after destroy");
}

/// The config of a Linux guest that does not say how it finds its devices.
fn linux_without_store(bed: &XenStoreBed) -> String {
    bed.bed.file("linux.cfg", LINUX.replace("store='xenstore'\n", ""))
}

#[test]
fn a_linux_without_store_finds_its_devices_in_xenstore() {
    let bed = XenStoreBed::new();
    let config = linux_without_store(&bed);
    let console = ConsoleLog::of("linux");
    let guest = Guest::create(&config, &[]);
    console.wait_for("linux: ready");
    guest.destroy();
    bed.assert_nothing_left("after destroy");
    // The same through chaosd.
    let chaosd = Chaosd::start("memory='16M'\n");
    let guest = Guest::create(&config, &["--paused"]);
    assert!(run("xl", &["list"]).ok().contains("linux "), "xl shows its name");
    guest.destroy();
    let own = Guest::create("noop.cfg", &["--paused"]);
    assert!(!run("xl", &["list"]).ok().contains("noop "), "it has a device page");
    own.destroy();
    assert!(chaosd.stop());
}

#[test]
fn a_linux_is_refused_where_xenstore_cannot_be_used() {
    let bed = XenStoreBed::new();
    let config = linux_without_store(&bed);
    let expected = ["linux", "ELF note \"chaos\"", "/nowhere", "start xenstored"];
    for more in [&[][..], &["vif=[]"]] {
        let args = [&["XENSTORED_PATH=/nowhere", "chaos", "create", &config], more].concat();
        run("env", &args).refused(4, &expected);
    }
    chaos(&["create", &config, "--store=noxs"]).refused(2, &["store = \"xenstore\""]);
    bed.assert_nothing_left("after the refusals");
}

#[test]
fn grub_shows_its_banner() {
    let bed = XenStoreBed::new();
    let text = "name='grub'\ntype='pvh'\nkernel='grub.bin'\nmemory=64\non_poweroff='preserve'\n";
    let config = bed.bed.file("grub.cfg", text);
    let console = ConsoleLog::of("grub");
    let guest = Guest::create(&config, &[]);
    // GRUB ends at once if Xen has no memory map for it.
    console.wait_for("GNU GRUB");
    guest.destroy();
}

#[test]
fn emulated_timers_work_as_under_xl() {
    let bed = XenStoreBed::new();
    let text = "name='by-xl'\ntype='pvh'\nkernel='/root/noop'\nmemory=64\n";
    let config = bed.bed.file("by-xl.cfg", text);
    run("xl", &["create", "-p", &config]).ok();
    let by_xl = run("xl", &["domid", "by-xl"]).ok().trim().parse().expect("xl prints a domid");
    let expected = bed.bed.param(by_xl, Param::TimerMode);
    run("xl", &["destroy", "by-xl"]).ok();
    for store in ["--store=noxs", "--store=xenstore"] {
        let guest = Guest::create("noop.cfg", &[store, "--paused"]);
        assert_eq!(bed.bed.param(guest.domid, Param::TimerMode), expected, "{store}");
        guest.destroy();
    }
}

#[test]
fn destroy_removes_all_devices() {
    let bed = XenStoreBed::new();
    let disk = format!("disk=['{},raw,xvda']", disk_file(&bed, "a.img"));
    let args = [DEVICES.as_slice(), &[&disk]].concat();
    let first = Guest::create("noop.cfg", &args);
    first.destroy();
    bed.assert_nothing_left("after the first");
    let before = bed.bed.free_pages();
    for _ in 0..5 {
        let guest = Guest::create("noop.cfg", &args);
        let backend = format!("/local/domain/0/backend/vif/{}/0/state", guest.domid);
        assert_eq!(run("xenstore-read", &[&backend]).ok(), "2\n", "netback waits for the guest");
        let master = format!("/sys/class/net/vif{}.0/master/uevent", guest.domid);
        let master = fs::read_to_string(master).expect("the vif is on a bridge");
        assert!(master.contains("INTERFACE=xenbr0"), "{master}");
        guest.destroy();
        bed.assert_nothing_left("after destroy");
    }
    assert_eq!(bed.bed.free_pages(), before, "memory is lost");
}

#[test]
fn disks_reach_the_kernel_through_chaosd() {
    let bed = XenStoreBed::new();
    let chaosd = Chaosd::start("memory='64M'\n");
    let file = disk_file(&bed, "a.img");
    let device = LoopDevice::of(&disk_file(&bed, "b.img"));
    let disks = format!("disk=['{file},raw,xvda', '{},raw,xvdb']", device.path);
    let args = [DEVICES.as_slice(), &[&disks]].concat();
    for _ in 0..2 {
        let guest = Guest::create("noop.cfg", &args);
        let backend = format!("/local/domain/0/backend/vbd/{}/51728/params", guest.domid);
        assert_eq!(run("xenstore-read", &[&backend]).ok().trim(), device.path);
        guest.destroy();
    }
    assert!(chaosd.stop(), "chaosd failed");
    drop(device);
    bed.assert_nothing_left("after chaosd has exited");
}

#[test]
fn our_own_guests_have_their_console() {
    let bed = XenStoreBed::new();
    let console = ConsoleLog::of("noop");
    let guest = Guest::create("noop.cfg", &["--store=xenstore"]);
    console.wait_for("noop: ready");
    assert!(run("xl", &["list"]).ok().contains("noop "), "xl shows its name");
    guest.destroy();
    bed.assert_nothing_left("after destroy");
}

#[test]
fn xl_can_destroy_it() {
    let bed = XenStoreBed::new();
    let disk = format!("disk=['{},raw,xvda']", disk_file(&bed, "a.img"));
    let guest = Guest::create("noop.cfg", &[DEVICES.as_slice(), &[&disk]].concat());
    let ran = run("xl", &["destroy", "noop"]);
    assert_eq!(ran.stderr, "", "xl reports a problem");
    ran.ok();
    assert_eq!(guest.state(), "gone");
    guest.destroy();
    bed.assert_nothing_left("after xl destroy");
}

#[test]
fn both_stores_live_side_by_side() {
    let bed = XenStoreBed::new();
    let noxs = Guest::create("daytime.cfg", &[]);
    let xenstore = Guest::create("noop.cfg", &DEVICES);
    assert!(!Guest::ask("10.0.0.3:13", b"", b"").is_empty());
    xenstore.destroy();
    assert!(!Guest::ask("10.0.0.3:13", b"", b"").is_empty());
    // xenstored has bound VIRQ_DOM_EXC and does not report the end of this guest, which it does not
    // know. So chaos looks at the guest from time to time.
    chaos(&["shutdown", "-w", &noxs.name]).ok();
    noxs.forget();
    drop(bed);
}

#[test]
fn chaos_log_refers_to_xenconsoled() {
    let _bed = XenStoreBed::new();
    let guest = Guest::create("noop.cfg", &DEVICES);
    chaos(&["log", "noop"]).refused(2, &["xenconsoled", "noop"]);
    guest.destroy();
}

#[test]
fn lists_and_uptimes_have_the_columns_of_xl() {
    let bed = XenStoreBed::new();
    let config = bed.bed.file("linux.cfg", LINUX);
    let guest = Guest::create(&config, &["--paused"]);
    // The time in which the command itself runs differs.
    let without_times = |program: &str| {
        let table = run(program, if program == "chaos" { &["list", "--xl"] } else { &["list"] });
        let lines = table.ok();
        let lines = lines.lines().map(|line| {
            let (rest, _) = line.rsplit_once(' ').unwrap_or((line, ""));
            rest.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>()
    };
    let (ours, xls) = (without_times("chaos"), without_times("xl"));
    assert_eq!(ours, xls);
    assert!(ours.iter().any(|line| line.contains("--p---")), "{ours:?}");
    let seconds = |line: &str| line.rsplit_once(' ').map(|(name, _)| name.to_owned());
    let uptimes =
        |program| -> Vec<_> { run(program, &["uptime"]).ok().lines().map(seconds).collect() };
    // xl knows no time at which a guest of chaos has started.
    let (ours, xls) = (uptimes("chaos"), uptimes("xl"));
    assert_eq!(ours[..xls.len()], xls);
    assert!(ours[xls.len()..].iter().flatten().any(|line| line.starts_with("linux ")), "{ours:?}");
    let domid = guest.domid.to_string();
    for args in [["domid", "linux"], ["domname", &domid]] {
        assert_eq!(chaos(&args).ok(), run("xl", &args).ok());
    }
    chaos(&["rename", "linux", "renamed"]).ok();
    assert_eq!(run("xl", &["domid", "renamed"]).ok().trim(), domid);
    chaos(&["destroy", "renamed"]).ok();
    guest.forget();
    bed.assert_nothing_left("after the guest");
}
