// SPDX-License-Identifier: GPL-3.0-or-later
//! Bad input: one clear error, its exit code, and nothing left behind.

use std::fs;

use system_tests::{Bed, Chaosd, Guest, bridge, chaos, run};

/// A config like `noop.cfg` with another kernel.
fn with_kernel(bed: &Bed, kernel: &str) -> String {
    bed.file("bad.cfg", format!("name='bad'\ntype='pvh'\nkernel='{kernel}'\nmemory=4\n"))
}

#[test]
fn a_syntax_error_is_shown_where_it_is() {
    let bed = Bed::new();
    let config = bed.file("bad.cfg", "name='bad'\nkernel='noop'\nmemory = = 4\n");
    chaos(&["create", &config]).refused_config(&["bad.cfg:3:10", "expected", "memory = = 4"]);
    chaos(&["create", "/does/not/exist.cfg"]).refused(2, &["/does/not/exist.cfg"]);
}

#[test]
fn unsupported_and_unknown_keys_are_named() {
    let bed = Bed::new();
    let text = fs::read_to_string("noop.cfg").expect("noop.cfg is there");
    let config = bed.file("pci.cfg", format!("{text}\npci=['00:1f.0']\n"));
    chaos(&["create", &config]).refused_config(&["pci"]);
    let config = bed.file("typo.cfg", format!("{text}\nmemmory=4\n"));
    chaos(&["create", "--strict", &config]).refused_config(&["memmory", "did you mean 'memory'"]);
    let ran = chaos(&["create", &config]);
    assert!(ran.stderr.contains("memmory"), "{}", ran.stderr);
    ran.ok();
    chaos(&["destroy", "noop"]).ok();
}

#[test]
fn a_kernel_that_cannot_be_used_is_refused_with_the_reason() {
    let bed = Bed::new();
    let noop = fs::read("noop").expect("the image is there");
    let text = bed.file("text", "#!/bin/sh\n");
    chaos(&["create", &with_kernel(&bed, &text)]).refused(2, &["ELF"]);
    let cut = bed.file("cut", &noop[..noop.len() / 2]);
    chaos(&["create", &with_kernel(&bed, &cut)]).refused(2, &[&cut]);
    chaos(&["create", &with_kernel(&bed, "/bin/busybox")]).refused(2, &["PVH"]);
    chaos(&["create", &with_kernel(&bed, "/does/not/exist")]).refused(2, &["/does/not/exist"]);
    chaos(&["create", &with_kernel(&bed, "/dev/zero")]).refused(2, &["/dev/zero"]);
    bed.assert_empty("after the refusals");
}

/// Writes a kernel that does not say that it reads the device page, and returns its path.
fn without_note(bed: &Bed) -> String {
    let mut kernel = fs::read("noop").expect("the image is there");
    let owner = kernel.windows(6).position(|bytes| bytes == b"chaos\0").expect("it has the note");
    kernel[owner] = b'C';
    bed.file("foreign", kernel)
}

#[test]
fn a_kernel_that_would_start_without_its_devices_is_refused() {
    let bed = Bed::new();
    let config = with_kernel(&bed, &without_note(&bed));
    let needs_xenstore = ["ELF note \"chaos\"", "xenstored is not running", "start xenstored"];
    let vif = "vif=['bridge=xenbr0']";
    let refusals = |options: &[&str]| {
        let create = |more: &[&str]| chaos(&[&["create", &config], options, more].concat());
        create(&[vif]).refused(4, &needs_xenstore);
        create(&["console=1"]).refused(4, &needs_xenstore);
        create(&[vif, "store='noxs'"]).refused(2, &["ELF note \"chaos\"", "store = \"xenstore\""]);
        // Without devices it runs.
        for more in [&[][..], &["console=0"]] {
            let ran = create(more);
            ran.ok();
            chaos(&["log", "bad"]).refused(2, &["bad has no console"]);
            chaos(&["destroy", "bad"]).ok();
        }
    };
    refusals(&[]);
    chaos(&["create", "-c", &config]).refused(4, &needs_xenstore);
    bed.assert_empty("after the refusals");
    let settings = "memory='64M'\n[[flavour]]\nname='f'\nmemory='4M'\nbridges=[]\nlow=1\nhigh=1\n";
    let chaosd = Chaosd::start(settings);
    chaosd.wait_until_full("f");
    refusals(&[]);
    refusals(&["--no-daemon"]);
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
}

#[test]
fn a_ramdisk_that_cannot_be_used_is_refused_with_and_without_a_pool() {
    let bed = Bed::new();
    let large = bed.file("ramdisk", vec![0; 5 << 20]);
    let empty = bed.file("empty", "");
    let small = bed.file("small", "ramdisk");
    let create = |options: &[&str], ramdisk: &str| {
        let ramdisk = format!("ramdisk='{ramdisk}'");
        chaos(&[&["create"], options, &["noop.cfg", &ramdisk]].concat())
    };
    let refusals = |options: &[&str]| {
        create(options, &large).refused(2, &["5242880 bytes", "raise memory"]);
        create(options, "/tmp").refused(2, &["ramdisk /tmp", "not a regular file"]);
        create(options, "/dev/zero").refused(2, &["/dev/zero", "not a regular file"]);
        create(options, &empty).refused(2, &[&empty, "the file is empty"]);
        create(options, "/does/not/exist").refused(2, &["/does/not/exist"]);
    };
    refusals(&[]);
    bed.assert_empty("after the refusals");
    let chaosd = Chaosd::start(
        "memory='64M'\n[[flavour]]\nname='f'\nmemory='4M'\nbridges=[]\nlow=1\nhigh=1\n",
    );
    chaosd.wait_until_full("f");
    refusals(&[]);
    // A ramdisk may end in the middle of a page.
    for options in [&[][..], &["--no-daemon"]] {
        create(options, &small).ok();
        chaos(&["destroy", "noop"]).ok();
    }
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
}

#[test]
fn too_little_memory_is_refused_with_what_is_free() {
    let bed = Bed::new();
    let before = bed.free_pages();
    let other = bed.bare_config("other");
    let creates = std::thread::spawn(move || {
        for _ in 0..20 {
            Guest::create(&other, &[]).destroy();
        }
    });
    // One that does not fit by far, and one that almost fits.
    for memory in [900_000, before / 256 + 8] {
        for _ in 0..5 {
            let ran = chaos(&["create", "noop.cfg", &format!("memory={memory}")]);
            let free = ran.stderr.split("Xen had ").nth(1).and_then(|rest| rest.split(' ').next());
            let free: u64 = free.and_then(|free| free.parse().ok()).expect("the figure");
            ran.refused(1, &["not enough free memory", "KiB free"]);
            // The guests of the other thread take some.
            assert!(free <= before * 4 && free > before * 4 - 64 * 1024, "{free} KiB");
        }
    }
    creates.join().expect("other guests are created meanwhile");
    assert_eq!(bed.free_pages(), before, "memory is lost");
}

#[test]
fn the_pool_gives_up_its_shells_for_a_guest_that_needs_their_memory() {
    let bed = Bed::new();
    let free = bed.free_pages() / 256;
    let shell = free / 3;
    let chaosd = Chaosd::start(&format!(
        "memory='{free}M'\n[[flavour]]\nname='f'\nmemory='{shell}M'\nbridges=[]\nlow=2\nhigh=2\n"
    ));
    chaosd.wait_until_full("f");
    // One that would not fit without them either takes none.
    chaos(&["create", "noop.cfg", &format!("memory={}", 2 * free)]).refused(1, &["KiB free"]);
    let pool = chaos(&["pool", "--json"]).json();
    assert_eq!(pool[0]["ready"], 2, "{pool}");
    let guest = Guest::create("noop.cfg", &[&format!("memory={}", free / 2)]);
    guest.destroy();
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
}

#[test]
fn a_name_in_use_is_refused() {
    let bed = Bed::new();
    let first = Guest::create(&bed.bare_config("taken"), &[]);
    chaos(&["create", &bed.bare_config("taken")]).refused(1, &["taken", &first.domid.to_string()]);
    assert_eq!(bed.domains().len(), 1);
    first.destroy();
}

#[test]
fn a_bridge_that_does_not_exist_is_refused() {
    let bed = Bed::new();
    chaos(&["create", "redis.cfg", "vif=['bridge=nowhere']"]).refused(2, &["nowhere"]);
    bed.assert_empty("after the refusal");
}

#[test]
fn noxsd_adds_a_bridge_that_it_does_not_know_yet() {
    let _bed = Bed::new();
    bridge("other0", "10.0.7.1/24", None);
    let guest = Guest::create("redis.cfg", &["vif=['bridge=other0,ip=10.0.7.2/24']"]);
    assert_eq!(run("redis-cli", &["-h", "10.0.7.2", "ping"]).ok(), "PONG\n");
    guest.destroy();
}

#[test]
fn guests_that_do_not_exist_are_refused() {
    let _bed = Bed::new();
    chaos(&["destroy", "missing"]).refused(3, &["missing"]);
    chaos(&["destroy", "77"]).refused(3, &["77"]);
    chaos(&["destroy", "0"]).refused(1, &["not created by chaos"]);
    chaos(&["console", "missing"]).refused(3, &["missing"]);
    chaos(&["log", "missing"]).refused(3, &["missing"]);
    chaos(&["shutdown", "missing"]).refused(3, &["missing"]);
}

#[test]
fn a_user_other_than_root_is_refused() {
    let _bed = Bed::new();
    let ran = run("su", &["-s", "/bin/sh", "nobody", "-c", "chaos list"]);
    ran.refused(4, &["root"]);
}

#[test]
fn wrong_arguments_are_refused() {
    let _bed = Bed::new();
    chaos(&["create"]).refused_arguments(&["CONFIG"]);
    chaos(&["nonsense"]).refused_arguments(&["nonsense"]);
    assert!(chaos(&["--help"]).ok().contains("Exit codes"));
}
