// SPDX-License-Identifier: GPL-3.0-or-later
//! Compares what the commands do to a guest with what xl does: one of them acts, and the other one looks.

use system_tests::{
    Chaosd, ConsoleLog, CoreFile, Guest, OnTerminal, Ran, XenStoreBed, XlCore, chaos, run,
};

use crate::xl_verbs::{ByXl, assert_same, xl};
use crate::{DEVICES, LINUX};

/// A guest of xl that is never unpaused.
const BY_XL: &str = "name='by-xl'\ntype='pvh'\nkernel='/root/noop'\nmemory=64\n";

/// The numbers of the pages where the memory of a VGA is.
const VGA: std::ops::Range<u64> = 0xa0..0xc0;

const PROGRAMS: [&str; 2] = ["chaos", "xl"];

/// A row of a list of domains.
#[derive(Debug, PartialEq)]
struct Listed {
    name: String,
    domid: String,
    memory: String,
    vcpus: String,
    state: String,
}

/// Returns the rows of all domains but dom0. That a vCPU runs or waits (`r`, `b`) changes all the time.
fn rows(table: &str) -> Vec<Listed> {
    let rows = table.lines().skip(1).filter(|line| !line.starts_with("Domain-0"));
    let row = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let [name, domid, memory, vcpus, state, _time] =
            <[String; 6]>::try_from(words).expect("six columns");
        Listed { name, domid, memory, vcpus, state: state.replace(['r', 'b'], "-") }
    };
    rows.map(row).collect()
}

/// Checks that both list the same domains, and returns their rows.
#[track_caller]
fn listed() -> Vec<Listed> {
    let ours = rows(&chaos(&["list", "--xl", "-a"]).ok());
    assert_eq!(ours, rows(&xl(&["list"])));
    ours
}

/// Checks that both refuse arguments.
#[track_caller]
fn both_refuse(args: &[&str]) -> Ran {
    assert_ne!(run("xl", args).code, Some(0), "xl {args:?}");
    let ran = chaos(args);
    assert_ne!(ran.code, Some(0), "chaos {args:?}");
    ran
}

/// Returns the nodes in XenStore that have the name of a domain.
fn names(domid: &str) -> [String; 2] {
    let read = |path: &str| run("xenstore-read", &[path]).ok();
    let folder = read(&format!("/local/domain/{domid}/vm"));
    [read(&format!("/local/domain/{domid}/name")), read(&format!("{}/name", folder.trim()))]
}

fn create_by_xl(bed: &XenStoreBed) -> ByXl {
    xl(&["create", "-q", "-p", &bed.bed.file("by-xl.cfg", BY_XL)]);
    ByXl(xl(&["domid", "by-xl"]).trim().to_owned())
}

#[test]
fn an_unknown_guest_is_an_error_as_in_xl() {
    let bed = XenStoreBed::new();
    let core = bed.bed.file("core", "");
    let config = bed.bed.file("nothing.cfg", BY_XL.replace("by-xl", "nothing"));
    for args in [
        &["pause"][..],
        &["unpause"],
        &["rename", "other"],
        &["domid"],
        &["shutdown"],
        &["shutdown", "-w"],
        &["reboot"],
        &["dump-core", &core],
        &["config-update", &config],
        &["trigger", "nmi"],
        &["sysrq", "h"],
        &["destroy"],
        &["console"],
        &["console", "-n", "0", "-t", "pv"],
        &["vcpu-list"],
        &["uptime"],
        &["list"],
    ] {
        let (verb, more) = args.split_first().expect("a verb");
        // The options are before the guest, as xl wants them.
        let at = if more.iter().any(|arg| arg.starts_with('-')) { more.len() } else { 0 };
        let (before, after) = more.split_at(at);
        let args = [&[*verb], before, &["nothing"], after].concat();
        let ran = both_refuse(&args);
        assert_eq!(ran.code, Some(3), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("no guest nothing"), "{args:?}: {}", ran.stderr);
    }
    both_refuse(&["domname", "4000"]).refused(3, &["4000"]);
    both_refuse(&["domname", "nothing"]);
    assert_eq!(listed(), []);
}

#[test]
fn a_guest_is_paused_renamed_and_destroyed_as_by_xl() {
    let bed = XenStoreBed::new();
    let console = ConsoleLog::of("noop");
    let guest = Guest::create("noop.cfg", &["--store=xenstore"]);
    console.wait_for("noop: ready");
    let by_xl = create_by_xl(&bed);
    let is_paused = || {
        let rows = listed();
        assert_eq!(rows.len(), 2, "{rows:?}");
        rows[0].state.contains('p')
    };
    assert!(!is_paused());
    // Xen counts the pauses of both.
    for (program, verb, paused) in [
        ("chaos", "pause", true),
        ("xl", "pause", true),
        ("xl", "unpause", true),
        ("chaos", "unpause", false),
        ("xl", "pause", true),
        ("chaos", "unpause", false),
        ("chaos", "pause", true),
        ("xl", "unpause", false),
    ] {
        run(program, &[verb, "noop"]).ok();
        assert_eq!(is_paused(), paused, "{program} {verb}");
    }
    // Once more, which Xen refuses and both ignore.
    xl(&["unpause", "noop"]);
    chaos(&["unpause", "noop"]).ok();
    assert!(!is_paused());

    let number = guest.domid.to_string();
    chaos(&["rename", "noop", "other"]).ok();
    xl(&["rename", "by-xl", "theirs"]);
    assert_eq!(names(&number), ["other\n", "other\n"]);
    assert_eq!(names(&by_xl.0), ["theirs\n", "theirs\n"]);
    assert_eq!(listed()[0].name, "other");
    assert_eq!(assert_same(&["domid", "other"]), format!("{number}\n"));
    assert_eq!(assert_same(&["domname", &number]), "other\n");
    assert_same(&["domid", "theirs"]);
    assert_same(&["domname", &by_xl.0]);
    both_refuse(&["domid", "noop"]);
    both_refuse(&["rename", "other", "theirs"]);
    both_refuse(&["rename", "other", "Domain-0"]);
    listed();

    both_refuse(&["destroy", "Domain-0"]);
    both_refuse(&["destroy", "0"]);
    for option in [&[][..], &["-f"]] {
        let again = Guest::create("noop.cfg", &DEVICES);
        chaos(&[&["destroy"], option, &["noop"]].concat()).ok();
        again.forget();
        both_refuse(&["domid", "noop"]);
        assert_eq!(listed().len(), 2);
    }
    xl(&["destroy", "other"]);
    let left = listed();
    assert_eq!(left.len(), 1, "{left:?}");
    // chaos remembers the guest until it is asked to forget it.
    chaos(&["destroy", "other"]).ok();
    guest.forget();
    drop(by_xl);
    assert_eq!(listed(), []);
    bed.assert_nothing_left("after the guests");
}

#[test]
fn a_core_has_the_memory_and_the_registers_that_xls_has() {
    let bed = XenStoreBed::new();
    let console = ConsoleLog::of("noop");
    let guest = Guest::create("noop.cfg", &["--store=xenstore"]);
    console.wait_for("noop: ready");
    chaos(&["pause", "noop"]).ok();
    let [ours, theirs] = ["ours", "theirs"].map(|name| bed.bed.file(name, ""));
    chaos(&["dump-core", "noop", &ours]).ok();
    xl(&["dump-core", "noop", &theirs]);
    assert!(listed()[0].state.contains('p'), "both leave it as it is");
    let (ours, theirs) = (CoreFile::open(&ours), XlCore::open(&theirs));
    assert_eq!(ours.instruction_pointers(), theirs.instruction_pointers);
    // xl leaves out where the VGA memory of an HVM guest is, which is memory of a PVH guest
    // (`xc_core_arch_gpfn_may_present`, tools/libs/guest/xg_core_x86.c).
    assert!(theirs.pages.iter().all(|(number, _)| !VGA.contains(number)));
    assert_eq!(ours.pages(), theirs.pages.len() as u64 + VGA.count() as u64);
    for (number, bytes) in &theirs.pages {
        assert!(ours.at(number << 12, bytes.len()) == *bytes, "page {number:#x}");
    }
    let is_used = |(_, bytes): &&(u64, Vec<u8>)| bytes.iter().any(|byte| *byte != 0);
    assert!(theirs.pages.iter().filter(is_used).count() > 8, "its image is there");
    guest.destroy();
}

/// Attaches to the console of the guest, has it print something, and detaches.
fn use_console(command: &[&str]) {
    let mut terminal = OnTerminal::start(command, 120, 30);
    // xenconsoled keeps what was printed while no client was attached.
    terminal.wait_for("linux: ready");
    xl(&["sysrq", "linux", "h"]);
    terminal.wait_for("HELP");
    // xl's console client ends at once.
    terminal.type_keys(b"\x1d");
    assert_eq!(terminal.exit(), (Some(0), None), "{command:?}");
}

#[test]
fn a_linux_gets_keys_triggers_and_requests_as_from_xl() {
    let bed = XenStoreBed::new();
    let config = bed.bed.file("linux.cfg", LINUX);
    for program in PROGRAMS {
        let console = ConsoleLog::of("linux");
        let guest = Guest::create(&config, &[]);
        console.wait_for("linux: ready");
        use_console(&[program, "console", "-t", "pv", "-n", "0", "linux"]);
        run(program, &["sysrq", "linux", "s"]).ok();
        console.wait_for("Emergency Sync");
        run(program, &["trigger", "linux", "nmi"]).ok();
        // Linux finds no reason for it.
        console.wait_for("Dazed and confused");
        both_refuse(&["sysrq", "linux", "hs"]);
        both_refuse(&["trigger", "linux", "poke"]);
        both_refuse(&["console", "-t", "none", "linux"]);
        let before = listed();
        // xl sends this trigger, which Xen ignores.
        xl(&["trigger", "linux", "power"]);
        chaos(&["trigger", "linux", "power"]).refused(1, &["no ACPI buttons"]);
        assert_eq!(listed(), before);

        // Without chaosd, chaos removes the guest that it has waited for. xl leaves that to the process that
        // has created the guest.
        run(program, &["shutdown", "-a", "-w"]).ok();
        if program == "xl" {
            assert!(listed()[0].state.contains('s'), "{:?}", listed());
            assert_eq!(guest.state(), "powered-off");
            guest.destroy();
        } else {
            guest.forget();
        }
        assert_eq!(listed(), []);
        bed.assert_nothing_left("after the shutdown");
    }
}

#[test]
fn a_changed_config_holds_from_the_reboot_on_as_with_xl() {
    let bed = XenStoreBed::new();
    // The process of xl that restarts the guest has another working directory.
    let text = LINUX.replace("'linux.cpio'", "'/root/linux.cpio'");
    let text = text.replace("kernel='linux'", "kernel='/root/linux'");
    let config = bed.bed.file("linux.cfg", text.replace("store='xenstore'\n", ""));
    let daemon = Chaosd::start("learn = false\n");
    let memory = |name: &str| {
        let rows = listed();
        rows.iter().find(|row| row.name == name).expect("it is listed").memory.clone()
    };
    for program in PROGRAMS {
        let console = ConsoleLog::of("linux");
        let guest = match program {
            "chaos" => Some(Guest::create(&config, &[])),
            _ => {
                xl(&["create", "-q", &config]);
                None
            }
        };
        console.wait_for("linux: ready");
        let before = memory("linux");
        run(program, &["config-update", "linux", &config, "memory=176"]).ok();
        assert_eq!(memory("linux"), before, "the guest that runs is not changed");
        let console = ConsoleLog::of("linux");
        run(program, &["reboot", "-w", "linux"]).ok();
        console.wait_for("linux: ready");
        assert_eq!(memory("linux"), "176", "{program}");
        // The other one asks for the next reboot.
        let console = ConsoleLog::of("linux");
        if program == "chaos" {
            xl(&["reboot", "linux"]);
            console.wait_for("linux: ready");
            assert_eq!(memory("linux"), "176", "{program}");
        }
        run(program, &["destroy", "linux"]).ok();
        guest.into_iter().for_each(Guest::forget);
    }
    assert!(daemon.stop());
    bed.assert_nothing_left("after the guests");
}
