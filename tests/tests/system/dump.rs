// SPDX-License-Identifier: GPL-3.0-or-later
//! Core files of guests.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader};
use system_tests::{Bed, CoreFile, Guest, chaos, ping, run};
use xen::Xen;
use xen::foreign::ForeignMapping;
use xen::units::{DomId, Gfn, PAGE_SIZE, Pages};

/// Returns the addresses of an image's code.
fn code_of(image: &str) -> std::ops::Range<u64> {
    let bytes = fs::read(image).expect("the image can be read");
    let header = FileHeader64::<Endianness>::parse(&*bytes).expect("an ELF file");
    let endian = header.endian().expect("a byte order");
    let rows = header.program_headers(endian, &*bytes).expect("segments");
    let mut code = rows.iter().filter(|row| row.p_flags(endian).0 & 1 != 0);
    let first = code.next().expect("an image has code");
    first.p_vaddr(endian)..first.p_vaddr(endian) + first.p_memsz(endian)
}

#[test]
fn a_core_file_has_the_memory_and_the_registers_of_its_guest() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let mut stream = Guest::connect("10.0.0.2:6379");
    ping(&mut stream);
    let value = "found-in-the-core-file";
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    assert_eq!(Guest::ask("10.0.0.2:6379", set.as_bytes(), b"+OK\r\n"), b"+OK\r\n");
    let path = bed.file("redis.core", "an older file");
    assert_eq!(chaos(&["dump-core", "redis", &path]).ok(), "");
    // It runs on.
    ping(&mut stream);
    assert!(guest.state() != "paused");

    let metadata = fs::metadata(&path).expect("the file exists");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(metadata.blocks() * 512 < metadata.len() / 2, "{metadata:?}");
    let core = CoreFile::open(&path);
    assert!(core.contains(value), "the value is in it");
    let code = code_of("redis");
    let [rip] = core.instruction_pointers()[..] else { panic!("one vCPU") };
    // It waits in a hypercall, whose page is outside of the code.
    assert!(code.contains(&rip) || rip < code.start, "{rip:#x} of {code:#x?}");
    let xen = Xen::open().expect("dom0 can open Xen");
    let domid = DomId(u16::try_from(guest.domid).expect("a domid"));
    for frame in (code.start..code.end).step_by(PAGE_SIZE).map(|address| address / PAGE_SIZE as u64)
    {
        let mapped = ForeignMapping::map_range(&xen, domid, Gfn(frame), Pages(1)).expect("code");
        let mut page = [0; PAGE_SIZE];
        mapped.read(0, &mut page);
        assert_eq!(core.at(frame * PAGE_SIZE as u64, PAGE_SIZE), page, "frame {frame:#x}");
    }
    guest.destroy();
    bed.assert_empty("after the guest");
}

#[test]
fn a_paused_guest_stays_paused_and_a_crashed_one_can_be_dumped() {
    let bed = Bed::new();
    let never_run = Guest::create("noop.cfg", &["--paused"]);
    let path = bed.file("paused.core", "");
    chaos(&["dump-core", "noop", &path]).ok();
    assert_eq!(never_run.state(), "paused");
    chaos(&["unpause", "noop"]).ok();
    never_run.wait_for_log("noop: ready");
    chaos(&["dump-core", "noop", &path]).ok();
    assert_ne!(never_run.state(), "paused");
    never_run.destroy();

    let crashed = Guest::create("hostile.cfg", &["cmdline='panic'", "on_crash='preserve'"]);
    crashed.wait_for_log("panic");
    let has_ended = (0..1000).any(|_| crashed.state() == "crashed");
    assert!(has_ended, "it crashes after its message");
    chaos(&["dump-core", &crashed.name, &path]).ok();
    assert_eq!(CoreFile::open(&path).instruction_pointers().len(), 1);
    assert_eq!(crashed.state(), "crashed");
    crashed.destroy();
    bed.assert_empty("after the guests");
}

#[test]
fn a_signal_ends_the_dump_and_lets_the_guest_run() {
    let bed = Bed::new();
    let guest = Guest::create("noop.cfg", &["memory=2048"]);
    guest.wait_for_log("noop: ready");
    let folder = bed.file("cores", "");
    fs::remove_file(&folder).expect("it exists");
    fs::create_dir(&folder).expect("a folder can be created");
    let mut dump = Command::new("chaos")
        .args(["dump-core", "noop", &format!("{folder}/core")])
        .stderr(Stdio::piped())
        .spawn()
        .expect("chaos can be started");
    while guest.state() != "paused" {
        assert!(dump.try_wait().expect("it is a child").is_none(), "it takes seconds");
    }
    let pid = Pid::from_raw(i32::try_from(dump.id()).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let output = dump.wait_with_output().expect("it exits");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the dump was interrupted"), "{error}");
    assert_eq!(fs::read_dir(&folder).expect("the folder exists").count(), 0);
    assert_ne!(guest.state(), "paused");
    guest.destroy();
    bed.assert_empty("after the guest");
}

#[test]
fn what_cannot_be_written_leaves_nothing_and_lets_the_guest_run() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let mut stream = Guest::connect("10.0.0.2:6379");
    let folder = bed.file("full", "");
    fs::remove_file(&folder).expect("it exists");
    fs::create_dir(&folder).expect("a folder can be created");
    run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", &folder]).ok();
    let refused = chaos(&["dump-core", "redis", &format!("{folder}/core")]);
    let left = fs::read_dir(&folder).expect("the folder exists").count();
    run("umount", &[&folder]).ok();
    refused.refused(1, &["cannot dump the core of guest redis", "No space left"]);
    assert_eq!(left, 0);
    ping(&mut stream);

    chaos(&["dump-core", "redis", "/dev/null"]).refused(2, &["/dev/null is not a regular file"]);
    chaos(&["dump-core", "redis", "/nowhere/core"]).refused(2, &["cannot create /nowhere/core"]);
    chaos(&["dump-core", "nothing", "/tmp/core"]).refused(3, &["no guest nothing"]);
    chaos(&["dump-core", "0", "/tmp/core"]).refused(1, &["was not created by chaos"]);
    assert!(!fs::exists("/tmp/core").expect("/tmp can be read"));
    ping(&mut stream);
    guest.destroy();
    bed.assert_empty("after the guest");
}
