// SPDX-License-Identifier: GPL-3.0-or-later
//! Loads one guest with requests while others are created and destroyed. On several processors the
//! work of `noxsd`, `chaosd`, creates and guests interleaves.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use system_tests::{Bed, Chaosd, Guest, SMALL_POOL, noxsd_pid};

#[test]
fn redis_answers_each_request_while_guests_come_and_go() {
    load(4_000);
}

#[test]
#[ignore = "takes minutes; scripts/test --long runs it"]
fn redis_answers_a_hundred_thousand_requests_while_guests_come_and_go() {
    load(100_000);
}

/// Sends requests to redis while two loops create, ask and destroy guests, one through `chaosd`.
fn load(requests: u32) {
    let bed = Bed::new();
    let before = bed.free_pages();
    let noxsd = noxsd_pid();
    let chaosd = Chaosd::start(SMALL_POOL);
    let redis = Guest::create("redis.cfg", &["--no-daemon"]);
    redis.wait_for_log("ready");
    let done = AtomicBool::new(false);
    let cycles = AtomicU32::new(0);
    let output = thread::scope(|scope| {
        for (address, options) in [(10, &[][..]), (11, &["--no-daemon"])] {
            let (done, cycles) = (&done, &cycles);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    come_and_go(address, options);
                    cycles.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let output = Command::new("redis-benchmark")
            .args(["-h", "10.0.0.2", "-c", "20", "-t", "set,get", "--csv", "-n"])
            .arg((requests / 2).to_string())
            .stdin(Stdio::null())
            .output();
        done.store(true, Ordering::Relaxed);
        output.expect("redis-benchmark can be started")
    });
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "redis-benchmark failed, {}:\n{text}", output.status);
    assert!(text.contains("\"SET\"") && text.contains("\"GET\""), "{text}");
    assert!(!text.contains("ERR") && !text.contains("Error"), "{text}");
    let cycles = cycles.into_inner();
    assert!(cycles >= 4, "only {cycles} guests came and went");

    let listed = redis.listed().expect("redis is listed");
    assert_eq!(listed["broken_devices"].as_array().map(Vec::len), Some(0), "{listed}");
    assert_eq!(Guest::ask("10.0.0.2:6379", b"PING\r\n", b"\r\n"), b"+PONG\r\n");
    assert_eq!(noxsd_pid(), noxsd, "noxsd was restarted");
    redis.destroy();
    assert!(chaosd.stop(), "chaosd failed");
    assert_eq!(bed.free_pages(), before, "memory is lost after {cycles} guests");
}

/// Creates a guest at `10.0.0.ADDRESS`, asks it for the time, and destroys it.
fn come_and_go(address: u8, options: &[&str]) {
    let name = format!("name='visitor-{address}'");
    let vif = format!("vif=['bridge=xenbr0,ip=10.0.0.{address}/24 10.0.0.1']");
    let mut args = vec![name.as_str(), vif.as_str()];
    args.extend(options);
    let guest = Guest::create("daytime.cfg", &args);
    let answer = Guest::ask(&format!("10.0.0.{address}:13"), b"", b"\n");
    assert!(answer.ends_with(b"\n"), "{answer:?}");
    guest.destroy();
}
