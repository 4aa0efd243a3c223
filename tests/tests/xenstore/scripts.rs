// SPDX-License-Identifier: GPL-3.0-or-later
//! Hotplug scripts of vifs: chaos runs them as xl does.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use system_tests::{Chaosd, ConsoleLog, Guest, XenStoreBed, chaos, run};

use crate::LINUX;

/// Records how it is called and what it finds, and connects the interface.
const RECORDER: &str = r#"#!/bin/sh
log=$(dirname "$0")/log
{
    echo "args $*"
    for name in script XENBUS_TYPE XENBUS_PATH XENBUS_BASE_PATH netdev vif INTERFACE; do
        eval "echo \"$name=\${$name-unset}\""
    done
    [ -e "/sys/class/net/$vif" ] && echo "it exists"
} >"$log.new"
case $1 in
online)
    for node in script bridge ip mac vifname mtu rate handle type hotplug-status frontend-id; do
        echo "$node $(xenstore-read "$XENBUS_PATH/$node")"
    done >>"$log.new" 2>&1
    ip link set "$vif" master xenbr0
    ip link set "$vif" up
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
esac
cat "$log.new" >>"$log"
"#;

/// A script in a folder of its own.
struct Script {
    path: String,
    log: String,
}

impl Script {
    fn new(bed: &XenStoreBed, name: &str, text: &str) -> Self {
        let path = bed.bed.file(name, text);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("the mode can be changed");
        let folder = Path::new(&path).parent().expect("it is in a folder");
        Self { log: folder.join("log").display().to_string(), path }
    }

    /// Returns what the script has recorded since the last call, without the guest's number.
    fn take_log(&self, domid: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let _ = fs::remove_file(&self.log);
        log.replace(&format!("/{domid}/"), "/DOMID/")
            .replace(&format!("vif{domid}."), "vifDOMID.")
            .replace(&format!("frontend-id {domid}\n"), "frontend-id DOMID\n")
    }
}

/// Returns the number of calls with `online` and `offline` in a log.
fn calls(log: &str) -> (usize, usize) {
    let count = |action| log.matches(&format!("args {action} type_if=vif\n")).count();
    (count("online"), count("offline"))
}

#[test]
fn a_script_is_run_as_by_xl() {
    let bed = XenStoreBed::new();
    let script = Script::new(&bed, "recorder", RECORDER);
    let vif = format!(
        "mac=00:16:3e:00:00:05,bridge=ovs0,ip=10.0.0.5 10.0.0.6,vifname=lan,mtu=1400,rate=1MB/s,script={}",
        script.path
    );
    let config = bed.bed.file(
        "hook.cfg",
        format!("name='hook'\ntype='pvh'\nkernel='noop'\nmemory=64\nvif=['{vif}']\n"),
    );
    run("xl", &["create", "-p", "-q", &config]).ok();
    let domid = run("xl", &["domid", "hook"]).ok().trim().to_owned();
    let online_by_xl = script.take_log(&domid);
    run("xl", &["destroy", "hook"]).ok();
    let offline_by_xl = script.take_log(&domid);

    let guest = Guest::create(&config, &["--paused", "--store=xenstore"]);
    let domid = guest.domid.to_string();
    assert_eq!(script.take_log(&domid), online_by_xl);
    for part in ["ip 10.0.0.5 10.0.0.6\n", "bridge ovs0\n", "vif=vifDOMID.0\n", "it exists\n"] {
        assert!(online_by_xl.contains(part), "{part}: {online_by_xl}");
    }
    let port = format!("/sys/class/net/xenbr0/brif/vif{domid}.0");
    assert!(Path::new(&port).exists(), "the script added it, and chaos did not rename it");
    guest.destroy();
    let offline = script.take_log(&domid);
    assert_eq!(calls(&offline), (0, 1));
    // xl runs it while the kernel removes the interface, chaos before.
    let without = |log: &str| log.replace("it exists\n", "");
    assert_eq!(without(&offline), without(&offline_by_xl));
    assert!(offline.contains("it exists\n"), "{offline}");
    bed.assert_nothing_left("after destroy");

    // xl, too, runs it when it destroys the guest.
    let guest = Guest::create(&config, &["--paused", "--store=xenstore"]);
    run("xl", &["destroy", "hook"]).ok();
    guest.destroy();
    assert_eq!(calls(&script.take_log("-")), (1, 1));
    // Without store=, a script chooses XenStore, which this kernel cannot use.
    chaos(&["create", &config])
        .refused(2, &["vif0 has script=", "remove script=, and name a bridge of Linux"]);
    chaos(&["create", &config, "--store=noxs"])
        .refused_config(&["scripts are for interfaces of dom0"]);
    bed.assert_nothing_left("after refusals");
}

#[test]
fn a_script_that_fails_fails_the_create_and_leaves_nothing() {
    let bed = XenStoreBed::new();
    let fails = "#!/bin/sh\necho \"args $*\" >>$(dirname \"$0\")/log\n\
                 [ \"$1\" = online ] || { echo sorry; exit 3; }\n\
                 xenstore-write $XENBUS_PATH/hotplug-status error \
                 $XENBUS_PATH/hotplug-error 'no such bridge'\nexit 1\n";
    let script = Script::new(&bed, "fails", fails);
    let create = |path: &str| {
        chaos(&["create", "noop.cfg", "--store=xenstore", &format!("vif=['', 'script={path}']")])
    };
    create(&script.path).refused(1, &[&script.path, "online of vif1", "status 1: no such bridge"]);
    assert_eq!(calls(&script.take_log("-")), (1, 1));
    bed.assert_nothing_left("after the failure");
    create("/no/such/script").refused(2, &["script /no/such/script of vif1: must be a program"]);
    create("own-script").refused(2, &["script /etc/xen/scripts/own-script of vif1"]);
    bed.assert_nothing_left("after refusals");
    // A failure at the end is a warning.
    let lazy = Script::new(&bed, "lazy", "#!/bin/sh\n[ $1 = online ] || { echo sorry; exit 3; }\n");
    create(&lazy.path).ok();
    let destroyed = run("chaos", &["destroy", "noop"]);
    assert!(destroyed.stderr.contains("exit status 3: sorry"), "{destroyed:?}");
    destroyed.ok();
    bed.assert_nothing_left("after the warning");
}

#[test]
fn chaosd_runs_scripts_when_a_guest_ends_and_is_restarted() {
    let bed = XenStoreBed::new();
    let script = Script::new(&bed, "recorder", RECORDER);
    let config = bed.bed.file("linux.cfg", LINUX);
    let vif = format!("vif=['mac=00:16:3e:00:00:05,script={}']", script.path);
    let console = ConsoleLog::of("linux");
    let chaosd = Chaosd::start("memory = '8M'\n");
    let guest = Guest::create(&config, &[&vif]);
    assert_eq!(guest.created["shell"], "cold");
    console.wait_for("linux: ready");
    run("ping", &["-c", "1", "-w", "60", "10.0.0.5"]).ok();
    assert_eq!(calls(&script.take_log("-")), (1, 0));
    chaos(&["reboot", "linux"]).ok();
    chaosd.wait_for_log("linux rebooted and is domain");
    assert_eq!(calls(&script.take_log("-")), (1, 1));
    guest.forget();
    chaos(&["destroy", "linux"]).ok();
    assert_eq!(calls(&script.take_log("-")), (0, 1));
    assert!(chaosd.stop());
    bed.assert_nothing_left("after destroy");
}

/// Xen's own script, with a program in the place of Open vSwitch's.
#[test]
fn the_script_for_open_vswitch_finds_what_it_needs() {
    let bed = XenStoreBed::new();
    let ovs = Script::new(&bed, "ovs-vsctl", "#!/bin/sh\necho \"$*\" >>$(dirname \"$0\")/log\n");
    let folder = Path::new(&ovs.path).parent().expect("it is in a folder").display().to_string();
    let path = format!("PATH={}:{folder}", std::env::var("PATH").unwrap_or_default());
    let vif = "vif=['mac=00:16:3e:00:00:05,bridge=ovs0.7:8:9,vifname=lan,script=vif-openvswitch']";
    let create = ["chaos", "create", "noop.cfg", "--store=xenstore", "--paused", vif];
    run("env", &[&[path.as_str()], &create[..]].concat()).ok();
    let log = fs::read_to_string(&ovs.log).expect("it was run");
    for part in ["add-port ovs0 lan tag=7 trunk=8,9", "\"attached-mac\"=\"00:16:3e:00:00:05\""] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(log.contains("\"xen-vm-name\"=\"noop\""), "{log}");
    assert!(Path::new("/sys/class/net/lan").exists(), "the script has renamed it");
    let status = "/local/domain/0/backend/vif";
    let status = run("sh", &["-c", &format!("xenstore-ls {status} | grep hotplug-status")]).ok();
    assert!(status.contains("connected"), "{status}");
    let _ = fs::remove_file(&ovs.log);
    run("env", &[&path, "chaos", "destroy", "noop"]).ok();
    let log = fs::read_to_string(&ovs.log).expect("it was run");
    assert!(log.contains("--if-exists del-port lan"), "{log}");
    bed.assert_nothing_left("after destroy");
}
