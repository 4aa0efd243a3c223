// SPDX-License-Identifier: GPL-3.0-or-later
//! Users other than root, as members of the group that may use `chaosd`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use system_tests::{Bed, Chaosd, Guest, chaos, chaos_as, command_as};

const SETTINGS: &str = "memory = '16M'
[[flavour]]
name = 'daytime'
memory = '4M'
bridges = ['xenbr0']
low = 1
high = 1
[members]
guests = 1
memory = '6M'
";

/// Number of a user that is not root.
const MEMBER: u32 = 1234;

/// A kernel and a config of the member's, and a file that only root may read.
struct Files {
    kernel: String,
    config: String,
    secret: String,
}

impl Files {
    fn new(bed: &Bed) -> Self {
        let kernel = bed.file("kernel", fs::read("daytime").expect("the guest is there"));
        let secret = bed.file("secret", "root:secret");
        fs::set_permissions(&secret, Permissions::from_mode(0o600))
            .expect("the mode can be changed");
        let folder = Path::new(&kernel).parent().expect("it is in a folder");
        fs::set_permissions(folder, Permissions::from_mode(0o755))
            .expect("the mode can be changed");
        let config = bed.file(
            "member.cfg",
            format!(
                "name='member'\ntype='pvh'\nkernel='{kernel}'\nmemory=4\n\
                 vif=['bridge=xenbr0,ip=10.0.0.3/24 10.0.0.1']\n"
            ),
        );
        Self { kernel, config, secret }
    }

    /// Runs `chaos create` as the member, with more settings.
    fn create(&self, more: &[&str]) -> system_tests::Ran {
        chaos_as(MEMBER, &[&["create", &self.config][..], more].concat())
    }
}

#[track_caller]
fn answers() {
    let answer = Guest::ask("10.0.0.3:13", b"", b"\n");
    assert!(answer.ends_with(b"\n"), "{answer:?}");
}

#[test]
fn a_members_guest_is_restarted_by_chaosd_from_what_the_member_has_uploaded() {
    let bed = Bed::new();
    let files = Files::new(&bed);
    let mut chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    files.create(&[]).ok();
    answers();
    // What is at the path now is root's.
    fs::remove_file(&files.kernel).unwrap();
    fs::rename(&files.secret, &files.kernel).unwrap();
    chaos(&["reboot", "member"]).ok();
    chaosd.wait_for_log("member rebooted and is domain");
    answers();
    chaosd.restart();
    chaos(&["reboot", "member"]).ok();
    chaosd.wait_for_log("member is destroyed: the kernel that user 1234 uploaded is gone");
    assert!(chaosd.stop());
}

/// Returns a gzip file that takes much longer to unpack than a create takes, to nothing: blocks that define a code and
/// contain no data. Eight of them are 90 bytes.
fn slow_kernel() -> Vec<u8> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    #[rustfmt::skip]
    const BLOCKS: [u8; 90] = [
        0x04, 0xc0, 0x81, 0x00, 0x00, 0x00, 0x00, 0x00, 0x90, 0xff, 0x6b, 0x10, 0x00, 0x07, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x40, 0xfe, 0xaf, 0x41, 0x00, 0x1c, 0x08, 0x00, 0x00, 0x00, 0x00,
        0x00, 0xf9, 0xbf, 0x06, 0x01, 0x70, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe4, 0xff, 0x1a,
        0x04, 0xc0, 0x81, 0x00, 0x00, 0x00, 0x00, 0x00, 0x90, 0xff, 0x6b, 0x10, 0x00, 0x07, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x40, 0xfe, 0xaf, 0x41, 0x00, 0x1c, 0x08, 0x00, 0x00, 0x00, 0x00,
        0x00, 0xf9, 0xbf, 0x06, 0x01, 0x70, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe4, 0xff, 0x1a,
    ];
    [&HEADER[..], &BLOCKS.repeat(100_000)].concat()
}

#[test]
fn slow_kernels_of_a_member_delay_no_other_user() {
    let bed = Bed::new();
    let files = Files::new(&bed);
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    let slow = bed.file("slow", slow_kernel());
    let slow =
        bed.file("slow.cfg", format!("name='slow'\ntype='pvh'\nkernel='{slow}'\nmemory=4\n"));
    let mut create = command_as(MEMBER + 1, &["create", &slow]).spawn().unwrap();
    // Neither kernel was read before: the one is uploaded, and the other is root's.
    files.create(&[]).ok();
    answers();
    chaos(&["destroy", "member"]).ok();
    chaos(&["create", &files.config]).ok();
    answers();
    chaos(&["destroy", "member"]).ok();
    assert!(create.try_wait().unwrap().is_none(), "the kernel was not slow");
    create.kill().unwrap();
    create.wait().unwrap();
    // It exits although it still reads the kernel.
    assert!(chaosd.stop());
}

#[test]
fn a_subordinate_user_of_a_member_is_refused() {
    let bed = Bed::new();
    let files = Files::new(&bed);
    let chaosd = Chaosd::start(SETTINGS);
    let former = fs::read("/etc/subuid").ok();
    fs::write("/etc/subuid", format!("{MEMBER}:700000:65536\n")).unwrap();
    let refused = chaos_as(700_001, &["create", &files.config]);
    let created = files.create(&[]);
    match former {
        Some(text) => fs::write("/etc/subuid", text).unwrap(),
        None => fs::remove_file("/etc/subuid").unwrap(),
    }
    refused.refused(1, &["user 700001 is a subordinate user of 1234 (/etc/subuid)"]);
    created.ok();
    answers();
    chaos(&["destroy", "member"]).ok();
    assert!(chaosd.stop());
}

#[test]
fn a_member_does_not_empty_the_pool() {
    let bed = Bed::new();
    let files = Files::new(&bed);
    let chaosd = Chaosd::start(&SETTINGS.replace("high = 1", "high = 2"));
    chaosd.wait_until_full("daytime");
    chaos(&["create", &files.config, "name='first'"]).ok();
    for _ in 0..8 {
        // At the end of the create, when the shell is used up.
        files.create(&[]).refused(1, &["10.0.0.3", "in use"]);
    }
    let vif = "vif=['bridge=xenbr0,ip=10.0.0.4/24 10.0.0.1']";
    let second = chaos(&["create", "--json", &files.config, "name='second'", vif]).json();
    assert_eq!(second["shell"], "pool");
    chaos(&["destroy", "first", "second"]).ok();
    assert!(chaosd.stop());
}

#[test]
fn a_member_of_the_group_of_chaosd_has_limits() {
    let bed = Bed::new();
    let files = Files::new(&bed);
    let chaosd = Chaosd::start(SETTINGS);
    let disk = format!("disk=['{},raw,xvda,r']", files.secret);
    files.create(&["store='xenstore'", &disk]).refused(2, &["disk", "user 1234", "as root"]);
    let image = format!("disk=['{},qcow2,xvda,r']", files.secret);
    files.create(&[&image]).refused(2, &["disk", "user 1234", "as root"]);
    let ramdisk = format!("ramdisk='{}'", files.secret);
    files.create(&[&ramdisk]).refused(2, &["ermission denied"]);
    files.create(&["memory=8"]).refused(2, &["asks for 8192 KiB", "may have 6144 KiB"]);
    files.create(&[]).ok();
    files.create(&["name='second'"]).refused(2, &["user 1234 has 1 guests, and may have 1"]);
    chaos_as(MEMBER, &["pool"]).ok();
    chaos_as(MEMBER, &["pool", "drain"]).refused(2, &["only root"]);
    assert_ne!(chaos_as(MEMBER, &["destroy", "member"]).code, Some(0));
    let other = chaos_as(MEMBER + 1, &["create", &files.config]);
    other.refused(1, &["the name member is in use"]);
    answers();
    chaos(&["destroy", "member"]).ok();
    files.create(&[]).ok();
    chaos(&["destroy", "member"]).ok();
    assert!(chaosd.stop());
}

#[test]
fn guests_of_a_member_that_end_at_once_fill_no_log() {
    const GUESTS: usize = 60;
    let bed = Bed::new();
    let files = Files::new(&bed);
    let short = bed.file("short", fs::read("hostile").expect("the guest is there"));
    let kernel = format!("kernel='{short}'");
    let chaosd = Chaosd::start(&SETTINGS.replace("guests = 1", "guests = 64").replace("6M", "1G"));
    let started = Instant::now();
    let names: Vec<_> = (0..GUESTS).map(|number| format!("short-{number}")).collect();
    for name in &names {
        let name = format!("name='{name}'");
        files.create(&[&kernel, &name, "vif=[]", "cmdline='panic'", "on_crash='destroy'"]).ok();
    }
    // Twenty in each ten seconds, and in the last.
    let windows = usize::try_from(started.elapsed().as_secs()).expect("it is short") / 10 + 1;
    let lines = chaosd.log().lines().filter(|line| line.contains("short-")).count();
    assert!(lines <= 20 * windows, "{lines} lines in {windows} windows");
    for name in &names {
        // Most have ended.
        let _ = chaos(&["destroy", name]);
    }
    assert!(chaosd.stop());
}
