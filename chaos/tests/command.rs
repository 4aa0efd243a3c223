// SPDX-License-Identifier: GPL-3.0-or-later
//! The command `chaos` as far as it gets without Xen: it reads the config before it opens Xen.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Runs `chaos` with some bytes on standard input.
fn chaos(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chaos starts");
    // The error of a command that does not read it all is not of interest.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input);
    child.wait_with_output().expect("chaos exits")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

const WRONG: &[u8] = b"name = 'a\xe2\x80\xae'\ntype = 'pvh'\nmemory = 0\nvcpus = 0\n";

#[test]
fn a_config_on_standard_input_is_read_and_all_its_errors_are_shown() {
    let ran = chaos(&["create", "-"], WRONG);
    assert_eq!(ran.status.code(), Some(2));
    assert_eq!(text(&ran.stdout), "");
    let errors: Vec<&str> =
        text(&ran.stderr).lines().filter(|line| line.starts_with("chaos: ")).collect();
    assert_eq!(
        errors,
        [
            "chaos: <standard input>:1:8: name = \"a\\u{202e}\": must not contain '\\u{202e}'",
            "chaos: <standard input>:3:10: memory = \"0\": must be at least 1 MiB",
            "chaos: <standard input>:4:9: vcpus = 0: must be 1 to 128",
            "chaos: <standard input>: kernel is missing; add a line such as kernel = \
             \"/boot/vmlinuz\"",
        ]
    );
}

#[test]
fn the_errors_of_a_config_are_printed_as_json() {
    let ran = chaos(&["create", "--json", "-", "vcpus=3"], WRONG);
    assert_eq!(ran.status.code(), Some(2));
    let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let file = "<standard input>";
    assert_eq!(
        printed["errors"][1],
        json!({
            "file": file, "line": 3, "column": 10, "message": "memory = \"0\": must be at least 1 MiB",
        })
    );
    assert_eq!(
        printed["errors"][2],
        json!({
            "file": file, "line": null, "column": null,
            "message": "kernel is missing; add a line such as kernel = \"/boot/vmlinuz\"",
        })
    );
    assert_eq!(printed["errors"].as_array().unwrap().len(), 3);
    assert_eq!(printed["more"], false);
    let missing = chaos(&["create", "--json", "/no/such/file"], b"");
    let printed: Value = serde_json::from_slice(&missing.stdout).unwrap();
    let message = "cannot read the config /no/such/file: No such file or directory (os error 2)";
    assert_eq!(
        printed["errors"][0],
        json!({
            "file": "/no/such/file", "line": null, "column": null, "message": message,
        })
    );
    let not_text = chaos(&["create", "--json", "-"], b"name = 'a'\n\xff");
    let printed: Value = serde_json::from_slice(&not_text.stdout).unwrap();
    assert_eq!(
        printed["errors"][0],
        json!({
            "file": file, "line": 2, "column": null, "message": "a config must be UTF-8 text; convert it, such as with iconv -f latin1 -t utf8",
        })
    );
}

const GUEST: &[u8] = b"name = 'web'\ntype = 'pvh'\nkernel = 'boot/k'\nvnc = 1\n\
    vif = ['ip=10.0.0.2/24 10.0.0.1,rate=1MB/s@20ms']\ndisk = ['/srv/a.img,raw,xvda,r']\n";

/// What `chaos config` prints of [`GUEST`] with `memory=16`.
fn of_guest() -> Value {
    json!({
        "name": "web", "kernel": "boot/k", "ramdisk": null, "memory_kib": 16384, "vcpus": 1, "cmdline": "",
        "console": true,
        "vifs": [{
            "devid": 0, "name": null, "mac": null, "bridge": "xenbr0", "ipv4": "10.0.0.2/24",
            "gateway": "10.0.0.1", "ipv6": null, "ipv6_gateway": null, "mtu": 1500, "rate": [20_000, 20_000],
            "script": null, "script_ip": null,
        }],
        "disks": [{
            "vdev": "xvda", "vdev_number": 51712, "target": "/srv/a.img", "format": "raw", "read_only": true,
        }],
        "store": "noxs", "undecided": ["console", "store"],
        "on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy",
        "on_watchdog": "destroy", "on_soft_reset": "restart", "uuid": null, "max_memory_kib": 16384,
        "max_vcpus": 1, "max_grant_frames": null, "max_maptrack_frames": null,
        "max_event_channels": null, "cpus": [null], "cpus_soft": [null], "cpu_weight": null, "cap": null,
        "pool": null, "tsc_mode": "default", "timer_mode": "no_delay_for_missed_ticks",
        "rtc_timeoffset": 0, "localtime": false, "driver_domain": false, "pvshim": null,
        "bootloader": null,
    })
}

/// Nothing runs to show a config: the kernel is not known then.
#[test]
fn a_config_with_a_bootloader_is_printed_without_running_it() {
    let config = b"name='web'\ntype='pv'\nbootloader='pygrub'\nbootloader_args=['--entry=1']\n\
        ramdisk='/boot/r'\nroot='/dev/xvda ro'\ndisk=['/no/such.img,raw,xvda,w']\n";
    for arguments in [&["config", "-"][..], &["create", "--dry-run", "-"]] {
        let ran = chaos(arguments, config);
        assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
        let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!((&printed["kernel"], &printed["ramdisk"]), (&Value::Null, &Value::Null));
        let expected = json!({
            "program": "pygrub", "args": ["--entry=1"], "restrict": true, "user": null,
            "kernel": null, "ramdisk": "/boot/r", "cmdline": "root=/dev/xvda ro",
        });
        assert_eq!(printed["bootloader"], expected);
    }
}

#[test]
fn a_config_is_printed_as_it_is_understood() {
    let ran = chaos(&["config", "-", "memory=16"], GUEST);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(printed, of_guest());
    assert_eq!(
        text(&ran.stderr),
        "chaos: warning: <standard input>:4:1: vnc has no effect on a PVH guest; remove it\n"
    );
    let ran = chaos(&["config", "-", "name=r2", "store=xenstore", "console=0"], GUEST);
    let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&printed["name"], &printed["store"]), (&json!("r2"), &json!("xenstore")));
    assert_eq!((&printed["console"], &printed["undecided"]), (&json!(false), &json!([])));
    let ran = chaos(&["config", "--strict", "-", "memroy=16"], GUEST);
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(2), ""));
}

#[test]
fn a_dry_run_prints_what_would_be_created_and_needs_no_xen() {
    let mut expected = of_guest();
    expected["kernel"] = json!(std::env::current_dir().unwrap().join("boot/k"));
    for flag in ["--dry-run", "--dryrun"] {
        let ran = chaos(&["create", flag, "-", "memory=16"], GUEST);
        assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
        let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(printed, expected);
    }
    let ran = chaos(&["create", "--dry-run", "-n", "2", "-"], GUEST);
    let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&printed[0]["name"], &printed[1]["name"]), (&json!("web-1"), &json!("web-2")));
    assert_eq!(printed[1]["vifs"][0]["ipv4"], "10.0.0.3/24");
    let ran = chaos(&["create", "--dry-run", "-q", "-"], GUEST);
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(0), ""));
    let ran = chaos(&["create", "--dry-run", "--json", "-"], b"type = 'pvh'");
    assert_eq!(ran.status.code(), Some(2));
    let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(printed["errors"].as_array().unwrap().len(), 2);
}

#[test]
fn the_excerpt_of_a_config_and_a_file_name_send_no_commands_to_the_terminal() {
    let ran = chaos(&["create", "-"], b"memory = 'a\x1b[2J\xe2\x80\xae'");
    assert!(!text(&ran.stderr).contains(['\x1b', '\u{202e}']), "{:?}", text(&ran.stderr));
    let ran = chaos(&["create", "no\x1b[2J\nsuch.cfg"], b"");
    assert!(text(&ran.stderr).starts_with("chaos: cannot read the config no\\x1b[2J\\nsuch.cfg"));
}

#[test]
fn arguments_that_are_missing_or_no_assignment_are_refused_readably() {
    let refused = |args: &[&str]| {
        let ran = chaos(args, b"name = 'a'\ntype = 'pvh'\nkernel = 'k'\n");
        assert_eq!(ran.status.code(), Some(2));
        text(&ran.stderr).to_owned()
    };
    for fields in [&[][..], &["", ","]] {
        assert_eq!(
            refused(&[&["block-attach", "redis"], fields].concat()),
            "chaos: the fields of the disk are missing; add those of a string of disk=, such as \
             /srv/a.img,raw,xvdb,rw\n"
        );
    }
    let garbage = refused(&["create", "-", "garbage"]);
    assert_eq!(
        garbage.lines().next(),
        Some(
            "chaos: <command line>:1:8: unexpected end of the text; expected '=' or '+=' after the \
             key, as in memory = 16"
        )
    );
}

/// The commands of xl 4.17 to 4.22 (`tools/xl/xl_cmdtable.c`) that chaos has.
const VERBS: &[&str] = &[
    "block-attach",
    "block-detach",
    "block-list",
    "config-update",
    "console",
    "cpupool-cpu-add",
    "cpupool-cpu-remove",
    "cpupool-create",
    "cpupool-destroy",
    "cpupool-list",
    "cpupool-migrate",
    "cpupool-numa-split",
    "cpupool-rename",
    "create",
    "debug-keys",
    "destroy",
    "dmesg",
    "domid",
    "domname",
    "dump-core",
    "info",
    "list",
    "mem-max",
    "mem-set",
    "network-attach",
    "network-detach",
    "network-list",
    "pause",
    "reboot",
    "rename",
    "sched-credit",
    "sched-credit2",
    "shutdown",
    "sysrq",
    "top",
    "trigger",
    "unpause",
    "uptime",
    "vcpu-list",
    "vcpu-pin",
    "vcpu-set",
    "vm-list",
];

/// The others, also those of older versions, with a part of the reason.
const REFUSED_VERBS: &[(&str, &str)] = &[
    ("button-press", "chaos shutdown"),
    ("cd-eject", "no CD drive"),
    ("cd-insert", "no CD drive"),
    ("channel-list", "no devices of this kind"),
    ("claims", "use xl"),
    ("colo", "does not do"),
    ("devd", "noxsd serves the devices"),
    ("dt-overlay", "no devices of this kind"),
    ("get-parameters", "use xl"),
    ("getenforce", "use xl"),
    ("loadpolicy", "use xl"),
    ("migrate", "does not save guests yet"),
    ("migrate-receive", "does not save guests yet"),
    ("pci-assignable-add", "use xl"),
    ("pci-assignable-list", "use xl"),
    ("pci-assignable-remove", "use xl"),
    ("pci-attach", "no devices of this kind"),
    ("pci-detach", "no devices of this kind"),
    ("pci-list", "no devices of this kind"),
    ("psr-cat-cbm-set", "use xl"),
    ("psr-cat-set", "use xl"),
    ("psr-cat-show", "use xl"),
    ("psr-cmt-attach", "use xl"),
    ("psr-cmt-detach", "use xl"),
    ("psr-cmt-show", "use xl"),
    ("psr-hwinfo", "use xl"),
    ("psr-mba-set", "use xl"),
    ("psr-mba-show", "use xl"),
    ("qemu-monitor-command", "no QEMU"),
    ("remus", "does not do"),
    ("restore", "does not save guests yet"),
    ("resume", "chaos unpause"),
    ("save", "does not save guests yet"),
    ("sched-rtds", "use xl"),
    ("set-parameters", "use xl"),
    ("setenforce", "use xl"),
    ("sharing", "share no memory"),
    ("suspend", "chaos pause"),
    ("tmem-freeable", "use xl"),
    ("tmem-freeze", "use xl"),
    ("tmem-list", "use xl"),
    ("tmem-set", "use xl"),
    ("tmem-shared-auth", "use xl"),
    ("tmem-thaw", "use xl"),
    ("usb-list", "no devices of this kind"),
    ("usbctrl-attach", "no devices of this kind"),
    ("usbctrl-detach", "no devices of this kind"),
    ("usbdev-attach", "no devices of this kind"),
    ("usbdev-detach", "no devices of this kind"),
    ("vdispl-attach", "no devices of this kind"),
    ("vdispl-detach", "no devices of this kind"),
    ("vdispl-list", "no devices of this kind"),
    ("vkb-attach", "no devices of this kind"),
    ("vkb-detach", "no devices of this kind"),
    ("vkb-list", "no devices of this kind"),
    ("vncviewer", "no display"),
    ("vsnd-attach", "no devices of this kind"),
    ("vsnd-detach", "no devices of this kind"),
    ("vsnd-list", "no devices of this kind"),
    ("vtpm-attach", "no devices of this kind"),
    ("vtpm-detach", "no devices of this kind"),
    ("vtpm-list", "no devices of this kind"),
    ("xenstore-quota-get", "use xl"),
    ("xenstore-quota-set", "use xl"),
];

#[test]
fn each_command_of_xl_exists_or_is_refused_with_the_reason() {
    for verb in VERBS {
        let ran = chaos(&[verb, "--help"], b"");
        assert_eq!(ran.status.code(), Some(0), "{verb}: {}", text(&ran.stderr));
        let usage = format!("Usage: chaos {verb}");
        assert!(text(&ran.stdout).contains(&usage), "{verb}: {}", text(&ran.stdout));
    }
    for (verb, reason) in REFUSED_VERBS {
        for args in [&[*verb][..], &[*verb, "guest", "-x"], &[*verb, "--help"]] {
            let ran = chaos(args, b"");
            assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(2), ""), "{args:?}");
            let error = text(&ran.stderr);
            let named = error.strip_prefix(&format!("error: chaos {verb}: "));
            assert!(named.is_some_and(|rest| rest.contains(reason)), "{args:?}: {error}");
            assert!(!error.contains("tip:"), "{args:?}: {error}");
        }
    }
}

#[test]
fn the_columns_of_xl_can_be_asked_for_wherever_they_are() {
    for args in [&["info", "--xl"][..], &["vcpu-list", "--xl"], &["list", "--xl"]] {
        let ran = chaos(args, b"");
        // Status 2 is that of wrong arguments. Most machines have no Xen, which is another one.
        assert_ne!(ran.status.code(), Some(2), "{args:?}: {}", text(&ran.stderr));
        let help = chaos(&[args[0], "--help"], b"");
        assert!(text(&help.stdout).contains("--xl"), "{args:?}: {}", text(&help.stdout));
    }
}
