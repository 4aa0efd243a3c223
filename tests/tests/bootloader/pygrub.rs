// SPDX-License-Identifier: GPL-3.0-or-later
//! Xen's pygrub finds kernels on disks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;
use system_tests::{
    Bed, Chaosd, ConsoleLog, Guest, LoopDevice, XenStoreBed, chaos, connected_nbds, qemu_nbds, run,
};

use crate::assert_no_bootloader;

/// The address of guest daytime.
const DAYTIME: &str = "10.0.0.3:13";

/// Writes a disk image with a kernel, a ramdisk and a menu, and returns its path. Only root may read
/// it.
fn disk(bed: &Bed, kernel: &str, ramdisk: &str, arguments: &str, mib: u32) -> String {
    let image = bed.file("disk.img", "");
    let folder = PathBuf::from(format!("{image}.d"));
    let boot = folder.join("boot");
    fs::create_dir_all(boot.join("grub")).expect("the folder is root's");
    fs::copy(kernel, boot.join("vmlinuz")).expect("the kernel is in the working directory");
    fs::copy(ramdisk, boot.join("initrd")).expect("the ramdisk is in the working directory");
    let menu = format!(
        "set default=\"0\"\nset timeout=5\nmenuentry 'Debian GNU/Linux' {{\n\
         \tlinux /boot/vmlinuz {arguments}\n\tinitrd /boot/initrd\n}}\n\
         menuentry 'Other' {{\n\tlinux /boot/vmlinuz other\n}}\n"
    );
    fs::write(boot.join("grub/grub.cfg"), menu).expect("the folder is root's");
    let folder = folder.to_str().expect("temporary paths are UTF-8");
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", folder, &image, &format!("{mib}M")]).ok();
    fs::remove_dir_all(folder).expect("the folder is root's");
    fs::set_permissions(&image, PermissionsExt::from_mode(0o600)).expect("it is root's");
    image
}

/// Writes the config of a guest whose kernel is on a disk.
fn daytime(bed: &Bed, disk: &str) -> String {
    let text = format!(
        "name='web'\ntype='pvh'\nbootloader='pygrub'\nbootloader_args=['--quiet']\nmemory=16\n\
         extra='from=config'\ndisk=['{disk},raw,xvda,w']\nvif=['bridge=xenbr0,ip=10.0.0.3/24']\n"
    );
    bed.file("web.cfg", text)
}

/// Returns the config of a guest that runs.
fn config_of(name: &str) -> Value {
    let all = chaos(&["list", "-l", name]).json();
    all[0]["config"].clone()
}

#[test]
fn a_kernel_is_found_on_a_disk_that_only_root_may_read_and_xl_finds_the_same() {
    let bed = XenStoreBed::new();
    let image = disk(&bed.bed, "daytime", "daytime.cfg", "root=/dev/xvda ro", 8);
    let config = daytime(&bed.bed, &image);
    let guest = Guest::create(&config, &[]);
    assert!(!Guest::ask(DAYTIME, b"", b"").is_empty(), "daytime does not answer");
    let found = config_of("web");
    assert_eq!(found["kernel"], format!("pygrub:{image}"));
    assert_eq!(found["ramdisk"], found["kernel"]);
    assert_eq!(found["cmdline"], "root=/dev/xvda ro from=config");
    assert_eq!(found["bootloader"]["restrict"], true);
    assert_no_bootloader("while the guest runs");
    guest.destroy();

    // On a block device, and another entry of the menu.
    let device = LoopDevice::of(&image);
    let more = format!("disk=['phy:{},xvda,w']", device.path);
    let guest = Guest::create(&config, &[&more, "bootloader_args=['--entry=1']", "--paused"]);
    let found = config_of("web");
    assert_eq!((&found["cmdline"], &found["ramdisk"]), (&"other from=config".into(), &Value::Null));
    guest.destroy();
    drop(device);
    // With all rights, or those of a user.
    for more in ["bootloader_restrict=0", "bootloader_user='noxsd'"] {
        let guest = Guest::create(&config, &[more, "bootloader='/usr/bin/pygrub'", "--paused"]);
        assert_eq!(config_of("web")["cmdline"], "root=/dev/xvda ro from=config", "{more}");
        guest.destroy();
    }
    bed.assert_nothing_left("after destroy");

    // xl needs more memory. Its script for disks fails in this dom0, after the bootloader has ended.
    let text = run("xl", &["-vvv", "create", "-p", &config, "vif=[]", "memory=64"]).stderr;
    let args = "bootloader output contained args root=/dev/xvda ro from=config";
    assert!(text.contains(args), "{text}");
    let _ = run("xl", &["destroy", "web"]);
    bed.assert_nothing_left("after xl destroy");
    assert_no_bootloader("at the end");
}

#[test]
fn a_restarted_guest_boots_what_is_on_its_disk_now() {
    let bed = XenStoreBed::new();
    let image = disk(&bed.bed, "daytime", "daytime.cfg", "first", 8);
    let config = daytime(&bed.bed, &image);
    let chaosd = Chaosd::start("learn = false\n");
    let guest = Guest::create(&config, &[]);
    assert!(!Guest::ask(DAYTIME, b"", b"").is_empty(), "daytime does not answer");
    assert_eq!(config_of("web")["cmdline"], "first from=config");
    // As if the guest had updated its system.
    assert_eq!(disk(&bed.bed, "daytime", "daytime.cfg", "second", 8), image);
    chaos(&["reboot", "web"]).ok();
    chaosd.wait_for_log("web rebooted and is domain");
    assert!(!Guest::ask(DAYTIME, b"", b"").is_empty(), "daytime does not answer");
    let found = config_of("web");
    assert_eq!(found["cmdline"], "second from=config");
    assert_eq!((&found["kernel"], &found["ramdisk"]), (&found["ramdisk"], &found["kernel"]));
    assert_no_bootloader("after a restart");

    // A disk without a kernel: the restart is tried again when there is one.
    let empty = vec![0; 8 << 20];
    fs::write(&image, &empty).expect("it is root's");
    chaos(&["reboot", "web"]).ok();
    chaosd.wait_for_log("Unable to find partition containing kernel");
    chaos(&["destroy", "web"]).ok();
    guest.forget();
    drop(chaosd);
    bed.assert_nothing_left("after destroy");
    assert_no_bootloader("at the end");
}

#[test]
fn a_kernel_is_found_in_an_image_at_the_create_and_at_a_restart() {
    let bed = XenStoreBed::new();
    let raw = disk(&bed.bed, "daytime", "daytime.cfg", "root=/dev/xvda ro", 8);
    let image = format!("{raw}.qcow2");
    run("qemu-img", &["convert", "-q", "-O", "qcow2", &raw, &image]).ok();
    let config = daytime(&bed.bed, &raw);
    let disk = format!("disk=['tap:qcow2:{image},xvda,w']");
    for more in ["bootloader_restrict=1", "bootloader_restrict=0"] {
        let guest = Guest::create(&config, &[&disk, more, "--paused"]);
        let found = config_of("web");
        assert_eq!(found["cmdline"], "root=/dev/xvda ro from=config", "{more}");
        assert_eq!(found["disks"][0]["format"], "qcow2");
        assert_eq!((connected_nbds().len(), qemu_nbds().len()), (1, 1), "{more}");
        guest.destroy();
        bed.assert_nothing_left("after destroy");
    }
    let chaosd = Chaosd::start("learn = false\n");
    let guest = Guest::create(&config, &[&disk]);
    for _ in 0..2 {
        assert!(!Guest::ask(DAYTIME, b"", b"").is_empty(), "daytime does not answer");
        let outcome = chaos(&["reboot", "-w", "--json", "web"]).json();
        let next = outcome["domid"].as_u64().expect("a number") + 1;
        chaosd.wait_for_log(&format!("web rebooted and is domain {next}"));
        assert_eq!((connected_nbds().len(), qemu_nbds().len()), (1, 1));
    }
    // The guest that runs has locked its image.
    chaos(&["create", &config, &disk, "name='other'", "vif=[]"])
        .refused(2, &["the bootloader cannot read its disk", "lock"]);
    chaos(&["destroy", "web"]).ok();
    guest.forget();
    drop(chaosd);
    assert_eq!((connected_nbds(), qemu_nbds()), (vec![], vec![]));
    bed.assert_nothing_left("after destroy");
    assert_no_bootloader("at the end");

    // An image of another format.
    let wrong = format!("disk=['{raw},qcow2,xvda,w']");
    chaos(&["create", &config, &wrong])
        .refused(2, &["the bootloader cannot read its disk", "format is qcow2: qemu-nbd: "]);
    assert_eq!((connected_nbds(), qemu_nbds()), (vec![], vec![]));
    assert_no_bootloader("after the refusal");
}

/// A Linux as PV and as PVH, with its ramdisk.
#[test]
fn a_linux_is_found_and_runs_in_the_pv_shim_and_as_pvh() {
    let bed = XenStoreBed::new();
    let arguments = "console=hvc0 quiet ip=10.0.0.5/24";
    let image = disk(&bed.bed, "linux", "linux.cpio", arguments, 96);
    let text = format!(
        "name='linux'\nbootloader=\"pygrub\"\nmemory=512\nvif=['bridge=xenbr0,mac=00:16:3e:00:00:05']\n\
         disk=['file:{image},xvda1,w']\n"
    );
    // In QEMU, Xen 4.20 reports to the shim that the saved state of a CPU has no bytes, and it panics.
    let pv = bed.bed.file("pv.cfg", format!("type='pv'\npvshim_extra='xsave=0'\n{text}"));
    let undecided = bed.bed.file("linux.cfg", text.replace("memory=512", "memory=224"));
    for config in [pv, undecided] {
        let console = ConsoleLog::of("linux");
        let guest = Guest::create(&config, &[]);
        let log = console.wait_for("linux: ready");
        assert!(log.contains("eth0 has 00:16:3e:00:00:05"), "{log}");
        guest.destroy();
        bed.assert_nothing_left("after destroy");
    }
    assert_no_bootloader("at the end");
}

#[test]
fn a_disk_without_a_kernel_is_refused_with_what_pygrub_says() {
    let bed = XenStoreBed::new();
    let image = bed.bed.file("disk.img", vec![0; 1 << 20]);
    let config = daytime(&bed.bed, &image);
    let create = |more: &[&str]| chaos(&[&["create", &config], more].concat());
    create(&[])
        .refused(2, &["bootloader pygrub has failed", "Unable to find partition containing"]);
    create(&["disk=['/no/such.img,raw,xvda,w']"]).refused(2, &["/no/such.img", "No such file"]);
    create(&["disk=['/dev/null,raw,xvda,w']"]).refused(2, &["must be a regular file or a block"]);
    create(&["disk=[]"]).refused_config(&["on the guest's first disk, and there is none"]);
    create(&["bootloader='pvgrub.gz'"]).refused(2, &["PV-GRUB is a kernel: name it with kernel="]);
    create(&["bootloader_user='root'"]).refused(2, &["it is root, who is not restricted"]);
    // Nothing runs only to show the config.
    let shown = chaos(&["create", "--dry-run", &config]).json();
    assert_eq!(
        (&shown["kernel"], &shown["bootloader"]["program"]),
        (&Value::Null, &"pygrub".into())
    );
    bed.assert_nothing_left("after refusals");
    assert_no_bootloader("at the end");
}
