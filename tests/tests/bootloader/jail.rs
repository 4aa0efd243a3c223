// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs that fail, and programs that try to leave the place where they run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use system_tests::{Bed, LoopDevice, chaos, run, wait_for_change};

use crate::{assert_no_bootloader, program};

/// Writes the config of a guest with a bootloader.
fn config(bed: &Bed, bootloader: &str, more: &str) -> String {
    let disk = bed.file("disk.img", vec![b'd'; 1 << 20]);
    fs::set_permissions(&disk, PermissionsExt::from_mode(0o600)).expect("it is root's");
    let text = format!(
        "name='a'\ntype='pvh'\nbootloader='{bootloader}'\nmemory=4\ndisk=['{disk},raw,xvda,w']\n{more}"
    );
    bed.file("a.cfg", text)
}

/// Returns a script whose exit status is the number of the first condition that is not met, or 99.
fn exit_at_first_unmet(conditions: &[&str]) -> String {
    let mut text = String::new();
    for (number, condition) in conditions.iter().enumerate() {
        text += &format!("{{ {condition}; }} || exit {}\n", number + 10);
    }
    text + "exit 99"
}

/// A folder with a file and a file system, to all of which all users may write.
struct OpenFolder;

impl OpenFolder {
    const PATH: &str = "/usr/local/open";

    fn new() -> Self {
        let folder = Path::new(Self::PATH);
        let (file, mounted) = (folder.join("file"), folder.join("mounted"));
        fs::create_dir_all(&mounted).expect("/usr/local is root's");
        let open = Self;
        fs::write(&file, "").expect("the folder is root's");
        let mounted = mounted.to_str().expect("the path is UTF-8");
        run("mount", &["-t", "tmpfs", "-o", "mode=777", "none", mounted]).ok();
        for (path, mode) in [(folder, 0o777), (&file, 0o666)] {
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is root's");
        }
        open
    }
}

impl Drop for OpenFolder {
    fn drop(&mut self) {
        let _ = run("umount", &[&format!("{}/mounted", Self::PATH)]);
        let _ = fs::remove_dir_all(Self::PATH);
    }
}

#[test]
fn a_restricted_program_reaches_its_disk_and_its_folder_only() {
    let bed = Bed::new();
    let _open = OpenFolder::new();
    // Each line is a condition.
    let conditions = [
        // Its user is its own, and has no rights.
        "[ $(id -u) -ge 1879048192 ] && [ $(id -G) = $(id -u) ]",
        // It reads the disk, though only root may, and does not write to it.
        "[ \"$(head -c 3 /disk)\" = ddd ]",
        "! (echo x >> /disk) 2>/dev/null && ! chmod 666 /disk 2>/dev/null",
        // Nor to what all may write to.
        "[ -e /usr/local/open/file ] && ! (echo x >> /usr/local/open/file) 2>/dev/null",
        "! (echo x > /usr/local/open/x) 2>/dev/null",
        "! (echo x > /usr/local/open/mounted/x) 2>/dev/null",
        // It writes to its folder only.
        "echo x > /out/x",
        "! (echo x > /x) 2>/dev/null && ! (echo x > /usr/x) 2>/dev/null && ! (echo x > /dev/x) 2>/dev/null",
        // Nothing of dom0 is there but programs.
        "[ ! -e /run ] && [ ! -e /proc ] && [ ! -e /sys ] && [ ! -e /root ] && [ ! -e /var ]",
        "[ ! -e /dev/xen ] && [ ! -e /dev/loop0 ] && [ ! -e /etc/passwd ]",
        // It gets no devices, no mounts and no other root.
        "! mknod /out/b b 7 0 2>/dev/null && ! mknod /out/c c 1 1 2>/dev/null",
        "! mount -t tmpfs none /out 2>/dev/null && ! mount -t proc none /out 2>/dev/null",
        "! chroot / /bin/true 2>/dev/null",
        // It sees no process but those of its own namespace, which has few.
        "[ $PPID -lt 9 ] && [ $$ -lt 9 ] && ! kill -0 500 2>/dev/null",
        // Its files are limited, and nothing is without a limit.
        "[ $(ulimit -f) != unlimited ] && [ $(ulimit -v) != unlimited ] && [ $(ulimit -t) != unlimited ]",
    ];
    let script = program(&bed, "probe", &exit_at_first_unmet(&conditions));
    let created = chaos(&["create", &config(&bed, &script, "")]);
    created.refused(2, &["bootloader probe has failed with exit status 99"]);
    assert_no_bootloader("after a program that has failed");

    // Neither does it write to a block device.
    let conditions = [
        "[ \"$(head -c 3 /disk)\" = ddd ]",
        "! chmod 666 /disk 2>/dev/null",
        "! (echo x > /disk) 2>/dev/null",
    ];
    let script = program(&bed, "device", &exit_at_first_unmet(&conditions));
    let device = LoopDevice::of(&bed.file("device.img", vec![b'd'; 1 << 20]));
    let more = format!("disk=['phy:{},xvda,w']", device.path);
    let created = chaos(&["create", &config(&bed, &script, ""), &more]);
    created.refused(2, &["bootloader device has failed with exit status 99"]);

    // Without restrictions it is root, and sees dom0.
    let text = "[ $(id -u) = 0 ] && [ -e /etc/passwd ] && [ -e /proc/1 ] || exit 10; exit 99";
    let script = program(&bed, "free", text);
    let created = chaos(&["create", &config(&bed, &script, "bootloader_restrict=0")]);
    created.refused(2, &["free has failed with exit status 99 (it was not restricted)"]);
    // With a user, it is that one.
    let script = program(&bed, "user", "exit $(($(id -u) - 990 + 99))");
    let created = chaos(&["create", &config(&bed, &script, "bootloader_user='noxsd'")]);
    created.refused(2, &["user has failed with exit status 99"]);
    assert_no_bootloader("at the end");
}

#[test]
fn a_program_that_fails_or_deceives_leaves_nothing() {
    let bed = Bed::new();
    let result = "for a; do case $a in --output=*) out=${a#*=};; --output-directory=*) dir=${a#*=};; esac; done\n";
    for (number, (text, words)) in [
        ("echo it is broken >&2; exit 3", ["has failed with exit status 3", ": it is broken"]),
        ("kill -9 $$", ["was killed by", "SIGKILL"]),
        // All that it may kill, but not the first process of its namespace.
        ("kill -9 -1; exec sleep 1000", ["was killed by", "SIGKILL"]),
        ("true", ["has found no kernel", "its result names no kernel"]),
        ("head -c 100000 /dev/zero > $out", ["its result has more than", "65536 bytes"]),
        (
            "ln -s /usr/bin/sh $dir/k; printf 'kernel %s/k\\0' $dir > $out",
            ["the kernel is not a", "regular file"],
        ),
        (
            "mkfifo $dir/k; printf 'kernel %s/k\\0' $dir > $out",
            ["the kernel is not a", "regular file"],
        ),
        ("printf 'kernel /usr/bin/sh\\0' > $out", ["the kernel is not in", "--output-directory"]),
        ("rm $out; ln -s /dev/zero $out", ["the result is not a", "regular file"]),
        // More than fits: it is stopped, and nothing of it is kept.
        ("cat /dev/zero > $dir/k", ["was killed by SIGXFSZ", "size limit exceeded"]),
        ("echo junk > $dir/k; printf 'kernel %s/k\\0' $dir > $out", ["kernel", "not a kernel"]),
    ]
    .iter()
    .enumerate()
    {
        let script = program(&bed, &format!("p{number}"), &format!("{result}{text}"));
        chaos(&["create", &config(&bed, &script, "")]).refused(2, words);
        assert_no_bootloader(text);
    }
    chaos(&["create", &config(&bed, "missing", "")]).refused(2, &["does not exist; install it"]);
    let script = bed.file("plain", "#!/bin/sh\n");
    chaos(&["create", &config(&bed, &script, "")]).refused(2, &["is not a program"]);
    bed.assert_empty("after refusals");
}

#[test]
fn a_program_ends_with_the_command_that_was_killed() {
    let bed = Bed::new();
    let script = program(&bed, "waits", "exec sleep 1000");
    let config = config(&bed, &script, "");
    let running = || {
        let all = fs::read_dir("/proc").expect("proc is mounted").flatten();
        let command = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
        all.filter_map(command).filter(|line| line.starts_with(b"sleep\x001000\0")).count()
    };
    let mut chaos = Command::new("chaos");
    chaos.args(["create", &config]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut chaos = chaos.spawn().expect("chaos is installed");
    wait_for_change(&[], "the program runs", || running() == 1);
    chaos.kill().expect("it runs");
    chaos.wait().expect("it was killed");
    wait_for_change(&[], "the program has ended", || running() == 0);
    assert_no_bootloader("after a kill");
}
