// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the units in `split/systemd`, which `scripts/test` runs in dom0 of a real Xen with
//! systemd as its init.
//!
//! They share one machine, so they run one after the other, with `--test-threads=1`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use system_tests::{
    Bed, Guest, LoopDevice, chaos, chaos_as, connected_nbds, ping, qemu_nbds, run, wait_for_change,
};
use tempfile::NamedTempFile;

const UNITS: [&str; 2] = ["noxsd", "chaosd"];

/// Both units, which continue to run after the test.
///
/// If the test fails, dropping it prints their journal.
#[derive(Default)]
struct Units {
    /// How often systemd has restarted each of them before the test.
    restarts: [u32; 2],
}

impl Units {
    /// Starts the units, unless they run.
    #[track_caller]
    fn start() -> Self {
        let mut units = Self::default();
        run("systemctl", &["start", UNITS[0], UNITS[1]]).ok();
        for unit in UNITS {
            // systemctl also succeeds if the condition of a unit is not met.
            assert_eq!(show(unit, "ActiveState"), "active", "{unit}");
        }
        units.restarts = restarts();
        units
    }

    /// Kills a daemon with SIGKILL, and returns when systemd has started the next one.
    #[track_caller]
    fn kill(&self, unit: &str) {
        let before = show(unit, "MainPID");
        let pid = Pid::from_raw(before.parse().expect("a process ID"));
        kill(pid, Signal::SIGKILL).expect("the daemon can be killed");
        wait_for_change(&[], "systemd starts the daemon again", || {
            show(unit, "MainPID") != before && show(unit, "ActiveState") == "active"
        });
    }

    /// Ends a test that has killed the daemons this often. Checks that they have ended at no other
    /// time: by a system call that a unit forbids, or at one of its limits.
    #[track_caller]
    fn finish(self, bed: &Bed, noxsd: u32, chaosd: u32) {
        let [of_noxsd, of_chaosd] = self.restarts;
        assert_eq!(restarts(), [of_noxsd + noxsd, of_chaosd + chaosd], "restarts");
        // The shells that chaosd keeps because guests were created.
        chaos(&["pool", "drain"]).ok();
        // chaosd unmaps what it has built in a thread of the lowest priority. Until then Xen lists
        // the domains that were destroyed.
        wait_for_change(&[], "the domains are gone", || bed.domains().is_empty());
    }
}

impl Drop for Units {
    #[expect(clippy::print_stderr, reason = "a failed test says why")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the journal of the units:\n{}", journal());
        }
    }
}

#[track_caller]
fn show(unit: &str, property: &str) -> String {
    run("systemctl", &["show", "--value", "--property", property, unit]).ok().trim().to_owned()
}

#[track_caller]
fn restarts() -> [u32; 2] {
    UNITS.map(|unit| show(unit, "NRestarts").parse().expect("a number"))
}

/// Returns what the daemons, and systemd about them, have logged since the boot.
fn journal() -> String {
    run("journalctl", &["--boot", "--no-pager", "--unit", UNITS[0], "--unit", UNITS[1]]).stdout
}

#[track_caller]
fn wait_for_journal(text: &str) {
    wait_for_change(&[], text, || journal().contains(text));
}

/// Creates an empty image in a folder, and returns it with its path.
fn image(folder: &str) -> (NamedTempFile, String) {
    let image = NamedTempFile::new_in(folder).expect("a temporary file can be created");
    image.as_file().set_len(16 << 20).expect("the image can be extended");
    let path = image.path().to_str().expect("temporary paths are UTF-8").to_owned();
    (image, path)
}

/// Returns the setting with which a guest may write a disk.
fn disk(path: &str) -> String {
    format!("disk=['{path},raw,xvda,w']")
}

/// Lets the guest redis save its data to its disk.
#[track_caller]
fn save() {
    assert_eq!(Guest::ask("10.0.0.2:6379", b"SAVE\r\n", b"\r\n"), b"+OK\r\n");
}

#[test]
fn the_units_start_and_serve_guests() {
    let bed = Bed::new();
    let units = Units::start();
    // The files behind disks may be anywhere: in a home, and on tmpfs.
    for (folder, options) in [("/root", &[][..]), ("/tmp", &[]), ("/tmp", &["--no-daemon"])] {
        let (_image, path) = image(folder);
        let guest = Guest::create("redis.cfg", &[&[disk(&path).as_str()], options].concat());
        save();
        guest.destroy();
    }
    let (_image, path) = image("/root");
    let device = LoopDevice::of(&path);
    let arguments = [&disk(&device.path), "cmdline='write bs=1048576 count=16'"];
    let guest = Guest::create("blkbench.cfg", &arguments);
    guest.wait_for_log("operations=16 bytes=16777216 errors=0");
    guest.destroy();
    drop(device);
    units.finish(&bed, 0, 0);
}

/// Of /proc/sys, only the part that `vif-route` and the like change.
#[test]
fn the_scripts_that_chaosd_runs_may_set_parameters_of_interfaces() {
    let bed = Bed::new();
    let units = Units::start();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", show("chaosd", "MainPID")));
    let mounts = mounts.expect("chaosd has mounts");
    let access = |path: &str| {
        // The last mount on a path counts.
        let mounts = mounts.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mounts.into_iter().find(|mount| mount.get(4) == Some(&path));
        let mount = mount.unwrap_or_else(|| panic!("{path} is not mounted"));
        mount[5].split(',').next().unwrap_or_default().to_owned()
    };
    assert_eq!((access("/proc/sys"), access("/proc/sys/net")), ("ro".into(), "rw".into()));
    let status = fs::read_to_string(format!("/proc/{}/status", show("chaosd", "MainPID")));
    let bounding = status.expect("chaosd has a status");
    let bounding = bounding.lines().find_map(|line| line.strip_prefix("CapBnd:\t"));
    let bounding = u64::from_str_radix(bounding.expect("it has a set"), 16).expect("a number");
    // CAP_NET_ADMIN and CAP_NET_RAW (`linux/capability.h`).
    assert_eq!(bounding & (1 << 12 | 1 << 13), 1 << 12 | 1 << 13);
    units.finish(&bed, 0, 0);
}

#[test]
fn guests_keep_their_devices_when_the_daemons_of_the_units_are_killed() {
    let bed = Bed::new();
    let units = Units::start();
    let (_image, path) = image("/root");
    let guest = Guest::create("redis.cfg", &[&disk(&path), "on_reboot='restart'"]);
    chaos(&["network-attach", "redis", "bridge=xenbr0", "ip=10.0.0.9/24"]).ok();
    let mut streams = ["10.0.0.2:6379", "10.0.0.9:6379"].map(Guest::connect);
    streams.iter_mut().for_each(ping);
    units.kill("noxsd");
    streams.iter_mut().for_each(ping);
    save();
    units.kill("chaosd");
    streams.iter_mut().for_each(ping);
    // The next chaosd restarts the guest with its disk.
    chaos(&["reboot", "redis"]).ok();
    wait_for_journal("redis rebooted and is domain");
    save();
    chaos(&["destroy", "redis"]).ok();
    guest.forget();
    units.finish(&bed, 1, 1);
}

/// The unit lets chaosd do all that a restricted bootloader needs, on a file that only root may read, on a
/// block device, and on an image that is not raw.
#[test]
fn the_chaosd_of_the_unit_runs_the_bootloader_of_a_guest_that_it_restarts() {
    let bed = Bed::new();
    let units = Units::start();
    let kernel = fs::read("daytime").expect("it is in the working directory");
    let size = kernel.len();
    let (image, path) = image("/root");
    image.as_file().write_all_at(&kernel, 0).expect("it is root's");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is root's");
    let device = LoopDevice::of(&path);
    // Xen's pygrub needs Python, which this dom0 does not have.
    let script = |arguments: &str| {
        let text = format!(
            "#!/bin/sh\nfor a; do case $a in --output=*) out=${{a#*=}};; \
             --output-directory=*) dir=${{a#*=}};; esac; done\n[ $(id -u) != 0 ] || exit 9\n\
             head -c {size} /disk > $dir/k\nprintf 'kernel %s/k\\0args {arguments}\\0' $dir > $out\n"
        );
        let program = bed.file("boot", text);
        fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it is root's");
        program
    };
    let qcow2 = format!("{path}.qcow2");
    run("qemu-img", &["convert", "-q", "-f", "raw", "-O", "qcow2", &path, &qcow2]).ok();
    for (disk, format) in [(&path, "raw"), (&device.path, "raw"), (&qcow2, "qcow2")] {
        let config = format!(
            "name='web'\ntype='pvh'\nbootloader='{}'\nmemory=8\ndisk=['{disk},{format},xvda,r']\n\
             vif=['bridge=xenbr0,ip=10.0.0.3/24']\n",
            script("first")
        );
        let guest = Guest::create(&bed.file("web.cfg", config), &[]);
        let cmdline = || chaos(&["list", "-l", "web"]).json()[0]["config"]["cmdline"].clone();
        assert_eq!(cmdline(), "first");
        guest.wait_for_log("daytime: ready");
        let _ = script("second");
        chaos(&["reboot", "web"]).ok();
        wait_for_change(&[], "the guest is restarted", || cmdline() == "second");
        assert_eq!(qemu_nbds().len(), usize::from(format != "raw"));
        chaos(&["destroy", "web"]).ok();
        guest.forget();
        assert_eq!(qemu_nbds(), Vec::<String>::new());
    }
    drop(device);
    fs::remove_file(qcow2).expect("it is root's");
    units.finish(&bed, 0, 0);
}

/// What serves an image that is not raw does not belong to the unit: neither its limits nor its end concern it.
#[test]
fn an_image_is_served_apart_from_the_chaosd_that_restarts_its_guest() {
    let bed = Bed::new();
    let units = Units::start();
    let path = bed.file("image", "");
    run("qemu-img", &["create", "-q", "-f", "qcow2", &path, "16M"]).ok();
    let guest = Guest::create("redis.cfg", &[&format!("disk=['{path},qcow2,xvda,w']")]);
    let check = || {
        save();
        let [server] = &qemu_nbds()[..] else { panic!("{:?}", qemu_nbds()) };
        let read = |file| fs::read_to_string(format!("/proc/{server}/{file}")).expect("it runs");
        assert!(read("cgroup").contains("/chaos.slice/"), "{}", read("cgroup"));
        assert_eq!(read("oom_score_adj").trim(), "0");
        server.clone()
    };
    let first = check();
    chaos(&["reboot", "redis"]).ok();
    wait_for_journal("redis rebooted and is domain");
    let second = check();
    assert_ne!(second, first);
    units.kill("chaosd");
    assert_eq!(check(), second);
    chaos(&["destroy", "redis"]).ok();
    guest.forget();
    assert_eq!(qemu_nbds(), Vec::<String>::new());
    units.finish(&bed, 0, 1);
}

/// The rule of the package keeps udev from the content of an image, which is the guest's.
#[test]
fn udev_neither_reads_an_image_nor_has_the_kernel_look_for_partitions_there() {
    const RULE: &str = "/run/udev/rules.d/59-chaos.rules";
    let bed = Bed::new();
    let units = Units::start();
    let path = bed.file("image", "");
    run("qemu-img", &["create", "-q", "-f", "qcow2", &path, "16M"]).ok();
    fs::create_dir_all("/run/udev/rules.d").expect("udev runs");
    for rule in [include_str!("../../../split/systemd/chaos.udev"), ""] {
        fs::write(RULE, rule).expect("it is root's");
        run("udevadm", &["control", "--reload"]).ok();
        let disk = format!("disk=['{path},qcow2,xvda,w']");
        let guest = Guest::create("blkbench.cfg", &[&disk, "--paused"]);
        let [name] = &connected_nbds()[..] else { panic!("{:?}", connected_nbds()) };
        let node = format!("/dev/{name}");
        // A partition of Linux from sector 2048 on.
        let mut sector = [0; 512];
        sector[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        let device = fs::File::options().write(true).open(&node).expect("it is root's");
        device.write_all_at(&sector, 0).expect("the device has a sector");
        drop(device);
        let finds_partitions = || {
            let arguments = ["info", "--query=property", "--name", &node];
            run("udevadm", &arguments).ok().contains("ID_PART_TABLE_TYPE=dos")
        };
        match rule {
            "" => wait_for_change(&[], "udev reads a disk without the rule", finds_partitions),
            _ => {
                run("udevadm", &["settle", "--timeout=60"]).ok();
                assert!(!finds_partitions());
                let partition = format!("/sys/block/{name}/{name}p1");
                assert!(!fs::exists(&partition).expect("sysfs is mounted"), "{partition}");
            }
        }
        guest.destroy();
    }
    fs::remove_file(RULE).expect("it is root's");
    units.finish(&bed, 0, 0);
}

#[test]
fn a_chaosd_without_a_configuration_keeps_ready_what_was_asked_for() {
    let bed = Bed::new();
    let units = Units::start();
    // Another test has drained the pool.
    run("systemctl", &["reload", "chaosd"]).ok();
    wait_for_journal("the configuration was read again");
    Guest::create("redis.cfg", &[]).destroy();
    wait_for_journal("flavour redis is full: 1 shells");
    let guest = Guest::create("redis.cfg", &[]);
    assert_eq!(guest.created["shell"], "warm", "{}", guest.created);
    guest.destroy();
    units.finish(&bed, 0, 0);
}

#[test]
fn a_guest_that_crashes_is_restarted_by_the_chaosd_of_the_unit() {
    let bed = Bed::new();
    let units = Units::start();
    let guest = Guest::create("hostile.cfg", &["cmdline='panic'", "on_crash='restart'"]);
    wait_for_journal("hostile crashed; it was restarted 5 times in 60 s and is kept now");
    chaos(&["destroy", "hostile"]).ok();
    guest.forget();
    units.finish(&bed, 0, 0);
}

#[test]
fn a_member_of_the_group_that_sysusers_has_created_creates_a_guest() {
    const MEMBER: u32 = 1234;
    let bed = Bed::new();
    let units = Units::start();
    let socket = fs::metadata("/run/chaos/chaosd-members.sock").expect("chaosd runs");
    assert_ne!(socket.gid(), 0, "the socket is the group's");
    let kernel = bed.file("kernel", fs::read("daytime").expect("the guest is there"));
    let text =
        format!("name='member'\ntype='pvh'\nkernel='{kernel}'\nmemory=4\nvif=['ip=10.0.0.3/24']\n");
    let config = bed.file("member.cfg", text);
    let folder = Path::new(&config).parent().expect("it is in a folder");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("the mode can be changed");
    chaos_as(MEMBER, &["create", &config]).ok();
    assert!(Guest::ask("10.0.0.3:13", b"", b"\n").ends_with(b"\n"));
    chaos(&["destroy", "member"]).ok();
    units.finish(&bed, 0, 0);
}
