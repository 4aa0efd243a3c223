// SPDX-License-Identifier: GPL-3.0-or-later
//! Disks as guests use them: all kinds of requests, numbered blocks while `noxsd` and guests are
//! killed, and the snapshots of redis.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::fcntl::{FcntlArg, fcntl};
use system_tests::{Bed, Guest, LoopDevice, chaos, restart_noxsd, run};

/// Creates an empty image and returns its path.
fn image(bed: &Bed, name: &str, size: u64) -> String {
    let path = bed.file(name, "");
    let file = File::options().write(true).open(&path).expect("the image exists");
    file.set_len(size).expect("the image can be extended");
    path
}

/// Creates a guest with a disk.
fn with_disk(config: &str, image: &str, access: &str, cmdline: &str) -> Guest {
    let disk = format!("disk=['{image},raw,xvda,{access}']");
    Guest::create(config, &[&disk, &format!("cmdline='{cmdline}'")])
}

/// Runs blkbench to its result and returns that line.
fn blkbench(image: &str, cmdline: &str) -> String {
    let guest = with_disk("blkbench.cfg", image, "w", cmdline);
    let mode = cmdline.split(' ').next().expect("the mode comes first");
    let start = format!("blkbench: {mode} bs=");
    let log = guest.wait_for_log(&start);
    guest.destroy();
    let line = log.lines().find(|line| line.starts_with(&start));
    line.expect("it was waited for").to_owned()
}

/// Returns the number of the last block that blkbench has flushed.
fn flushed(log: &str) -> Option<u64> {
    let mut lines = log.lines().filter_map(|line| line.strip_prefix("blkbench: flushed "));
    lines.next_back()?.trim().parse().ok()
}

#[test]
fn requests_of_all_sizes_and_depths_are_carried_out() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 8 << 20);
    for (cmdline, operations, bytes) in [
        ("randread bs=512 qd=1 count=100", 100, 51200),
        ("randread bs=4096 qd=32 count=1000", 1000, 4_096_000),
        ("randwrite bs=4096 qd=32 count=1000 flush=100", 1000, 4_096_000),
        ("read bs=1048576 qd=1 count=16", 16, 16_777_216),
        // Segments in the request, and one more than fit there.
        ("write bs=45056 qd=8 count=50", 50, 2_252_800),
        ("write bs=45568 qd=8 count=50", 50, 2_278_400),
        ("write bs=1048576 qd=1 count=8", 8, 8_388_608),
    ] {
        let line = blkbench(&path, cmdline);
        let expected = format!("operations={operations} bytes={bytes} errors=0");
        assert!(line.contains(&expected), "{cmdline}: {line}");
    }
    // The last run has written the whole disk.
    let content = fs::read(&path).expect("the image can be read");
    assert!(content.len() == 8 << 20 && content.iter().all(|byte| *byte == 0xb5));
}

#[test]
fn a_read_only_disk_is_not_written() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 1 << 20);
    let guest = with_disk("blkbench.cfg", &path, "r", "write count=1");
    guest.wait_for_log("blkbench: write: the disk is read-only");
    guest.destroy();
    assert!(fs::read(&path).expect("the image can be read").iter().all(|byte| *byte == 0));
}

/// How often `noxsd` is killed in a row.
const KILLS: u32 = 100;

#[test]
fn nothing_acknowledged_is_lost_while_noxsd_is_killed_a_hundred_times_under_load() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 4 << 20);
    let redis = Guest::create("redis.cfg", &[]);
    let mut counter = Counter::connect();
    let guest = with_disk("blkbench.cfg", &path, "w", "verify qd=16 count=40000 flush=64 run=3");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                counter.count();
            }
        });
        for kill in 1..=KILLS {
            // Each time some further blocks were written.
            guest.wait_for_log(&format!("blkbench: flushed {}\n", kill * 384));
            restart_noxsd();
        }
        done.store(true, Ordering::Relaxed);
        client.join().expect("each answer was as expected");
    });
    // A lost frame is sent again after 0.2 s, and after twice the time whenever it is lost again.
    let counted = counter.count();
    assert!(counted > u64::from(KILLS), "only {counted} commands were answered");
    let log = guest.wait_for_log("blkbench: check:");
    assert!(log.contains("blkbench: check: blocks=1024 lost=0 torn=0 newest=40000"), "{log}");
    guest.destroy();
    redis.destroy();
}

/// A client that counts in redis, over one connection.
struct Counter {
    stream: BufReader<TcpStream>,
    value: u64,
}

impl Counter {
    fn connect() -> Self {
        let stream = Guest::connect("10.0.0.2:6379");
        Self { stream: BufReader::new(stream), value: 0 }
    }

    /// Sends several commands at once, and checks that each was carried out once. Returns the count.
    fn count(&mut self) -> u64 {
        const COMMANDS: u64 = 16;
        let request = "INCR counter\r\n".repeat(usize::try_from(COMMANDS).expect("it is small"));
        self.stream.get_mut().write_all(request.as_bytes()).expect("the connection stays open");
        for _ in 0..COMMANDS {
            let mut answer = String::new();
            self.stream.read_line(&mut answer).expect("the guest answers");
            self.value += 1;
            assert_eq!(answer, format!(":{}\r\n", self.value));
        }
        self.value
    }
}

/// A process that may read a file can lock it for reading, as soon as `noxsd` is killed.
#[test]
fn who_may_read_the_file_of_a_disk_delays_no_restart_and_takes_no_disk() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 4 << 20);
    let guest = with_disk("blkbench.cfg", &path, "w", "verify qd=16 count=4000 flush=128 run=3");
    guest.wait_for_log("blkbench: flushed 640\n");
    let reader = File::open(&path).expect("the image exists");
    let disk = reader.try_clone().expect("there are descriptors left");
    let waits = thread::spawn(move || {
        let lock = nix::libc::flock {
            l_type: i16::try_from(nix::libc::F_RDLCK).expect("it is a small number"),
            l_whence: 0,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&disk, FcntlArg::F_OFD_SETLKW(&lock)).expect("the image can be locked");
    });
    restart_noxsd();
    waits.join().expect("it was locked when noxsd was killed");
    let listed = guest.listed().expect("it is listed");
    assert_eq!(listed["broken_devices"], serde_json::json!([]));
    // No other guest gets the disk, with that lock and without it.
    for reader in [Some(reader), None] {
        let disk = format!("disk=['{path},raw,xvda,w']");
        chaos(&["create", "blkbench.cfg", "name='other'", &disk]).refused(1, &["is in use by"]);
        drop(reader);
    }
    let log = guest.wait_for_log("blkbench: check:");
    assert!(log.contains(" lost=0 torn=0 newest=4000"), "{log}");
    guest.destroy();
}

#[test]
fn no_acknowledged_block_is_lost_when_guests_are_killed() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 2 << 20);
    let mut from = 1;
    for run in 1..=5 {
        let cmdline = format!("verify qd=16 count=1000000 flush=64 from={from} run={run}");
        let guest = with_disk("blkbench.cfg", &path, "w", &cmdline);
        let log = guest.wait_for_log(&format!("blkbench: flushed {}\n", from + 64 * 4 * run - 1));
        let last = flushed(&log).expect("it was waited for");
        guest.destroy();
        let cmdline = format!("check from={from} count={last} run={run} flush=64 qd=16");
        let guest = with_disk("blkbench.cfg", &path, "w", &cmdline);
        let log = guest.wait_for_log("blkbench: check:");
        assert!(log.contains(" lost=0 torn=0 "), "run {run}, flushed {last}:\n{log}");
        guest.destroy();
        from = last + 1;
    }
}

/// Runs a command of Redis.
fn redis(args: &[&str]) -> String {
    let all: Vec<_> = ["-h", "10.0.0.2"].iter().chain(args).copied().collect();
    run("redis-cli", &all).ok()
}

#[test]
fn redis_saves_to_its_disk_and_loads_from_it() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 4 << 20);
    let create = || with_disk("redis.cfg", &path, "w", "");
    let guest = create();
    guest.wait_for_log("redis: 0 keys loaded");
    // Wait until it answers: `redis-cli` does not retry.
    drop(Guest::connect("10.0.0.2:6379"));
    assert_eq!(redis(&["set", "key", "first"]), "OK\n");
    assert_eq!(redis(&["rpush", "list", "a", "b"]), "2\n");
    assert_eq!(redis(&["save"]), "OK\n");
    assert_eq!(redis(&["set", "key", "second"]), "OK\n");
    assert_eq!(redis(&["bgsave"]), "Background saving started\n");
    assert_eq!(redis(&["set", "key", "third"]), "OK\n");
    guest.wait_for_log("redis: saved in the background");
    assert!(redis(&["info", "persistence"]).contains("rdb_last_bgsave_status:ok"));
    guest.destroy();

    let guest = create();
    guest.wait_for_log("redis: 2 keys loaded");
    drop(Guest::connect("10.0.0.2:6379"));
    assert_eq!(redis(&["get", "key"]), "second\n");
    assert_eq!(redis(&["lrange", "list", "0", "-1"]), "a\nb\n");
    guest.destroy();

    // The newest snapshot, the second, is in the second slot.
    let file = File::options().read(true).write(true).open(&path).expect("the image exists");
    let half = ((4 << 20) - 8192) / 2 / 4096 * 4096;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 8192 + half + 13).expect("the image can be read");
    file.write_all_at(&[byte[0] ^ 1], 8192 + half + 13).expect("the image can be written");
    let guest = create();
    guest.wait_for_log("redis: the disk's other snapshot is damaged");
    drop(Guest::connect("10.0.0.2:6379"));
    assert_eq!(redis(&["get", "key"]), "first\n");
    guest.destroy();

    file.write_all_at(&[0xee], 8192 + 13).expect("the image can be written");
    let guest = create();
    guest.wait_for_log("redis: no snapshot on the disk is undamaged");
    guest.destroy();
}

/// Mounts a file system of which Linux cannot say whether it waits, as of FUSE and NFS.
struct Ramfs<'a>(&'a str);

impl<'a> Ramfs<'a> {
    fn mount(at: &'a str) -> Self {
        fs::create_dir(at).expect("the folder can be created");
        run("mount", &["-t", "ramfs", "ramfs", at]).ok();
        Self(at)
    }
}

impl Drop for Ramfs<'_> {
    fn drop(&mut self) {
        // Lazily: noxsd closes the files in threads.
        run("umount", &["-l", self.0]).ok();
    }
}

#[test]
fn a_disk_that_io_uring_would_wait_for_is_served_by_threads() {
    let bed = Bed::new();
    let folder = bed.file("mounted", "");
    fs::remove_file(&folder).expect("it exists");
    let mounted = Ramfs::mount(&folder);
    let path = format!("{folder}/disk");
    File::create(&path).and_then(|file| file.set_len(4 << 20)).expect("there is room for it");
    for args in ["randwrite bs=4096 qd=32", "randread bs=4096 qd=32", "write bs=1048576 qd=1"] {
        let line = blkbench(&path, &format!("{args} count=50 flush=20"));
        assert!(line.contains("operations=50 ") && line.contains("errors=0"), "{line}");
    }
    let guest = with_disk("blkbench.cfg", &path, "w", "verify qd=16 count=3000 flush=64");
    for kill in 1..=3 {
        guest.wait_for_log(&format!("blkbench: flushed {}\n", kill * 640));
        restart_noxsd();
    }
    let log = guest.wait_for_log("blkbench: check:");
    assert!(log.contains("blkbench: check: blocks=1024 lost=0 torn=0 newest=3000"), "{log}");
    guest.destroy();
    // The file is closed in a thread: the next guest that writes it waits for that.
    for _ in 0..8 {
        with_disk("noop.cfg", &path, "w", "").destroy();
    }
    drop(mounted);
}

#[test]
fn a_block_device_with_sectors_of_4096_bytes_is_used() {
    let bed = Bed::new();
    let file = image(&bed, "disk", 4 << 20);
    let device = LoopDevice::of(&file).with_sectors(4096);
    let small = with_disk("blkbench.cfg", &device.path, "w", "read bs=512 count=1");
    small.wait_for_log("blkbench: bs=512: must be a multiple of 4096");
    small.destroy();
    for mode in ["randwrite", "randread"] {
        let line = blkbench(&device.path, &format!("{mode} bs=4096 qd=32 count=1000 flush=100"));
        assert!(line.contains("operations=1000 bytes=4096000 errors=0"), "{line}");
    }
    let guest = with_disk("blkbench.cfg", &device.path, "w", "verify qd=16 count=2000 flush=64");
    guest.wait_for_log("blkbench: flushed 640\n");
    restart_noxsd();
    let log = guest.wait_for_log("blkbench: check:");
    assert!(log.contains("blkbench: check: blocks=1024 lost=0 torn=0 newest=2000"), "{log}");
    guest.destroy();
    drop(device);

    let device = LoopDevice::of(&image(&bed, "empty", 4 << 20)).with_sectors(4096);
    let guest = with_disk("redis.cfg", &device.path, "w", "");
    drop(Guest::connect("10.0.0.2:6379"));
    assert_eq!(redis(&["set", "key", "value"]), "OK\n");
    assert_eq!(redis(&["save"]), "OK\n");
    guest.destroy();
    let guest = with_disk("redis.cfg", &device.path, "r", "");
    guest.wait_for_log("redis: 1 keys loaded");
    guest.destroy();
}

#[test]
fn redis_without_a_disk_says_how_to_add_one() {
    let _bed = Bed::new();
    let _redis = Guest::create("redis.cfg", &[]);
    drop(Guest::connect("10.0.0.2:6379"));
    assert!(redis(&["save"]).starts_with("ERR no disk to save to: add disk = ["));
}
