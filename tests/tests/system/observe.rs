// SPDX-License-Identifier: GPL-3.0-or-later
//! Metrics and events of `chaosd`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use system_tests::{Bed, Chaosd, Guest, SMALL_POOL, chaos, chaos_as, schema};

const SOCKET: &str = "/run/chaos/chaosd-http.sock";

/// Checks that the daytime guest answers.
#[track_caller]
fn answers() {
    let answer = Guest::ask("10.0.0.3:13", b"", b"\n");
    assert!(answer.ends_with(b"\n"), "{answer:?}");
}

/// Returns the value of a metric, if it has a line.
fn value(text: &str, metric: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    value.map(|value| value.parse().expect("a metric is a number"))
}

#[test]
fn metrics_count_guests_their_devices_creates_and_the_pool() {
    let bed = Bed::new();
    chaos(&["metrics"]).refused(4, &["chaosd is not running", "start it with: chaosd"]);
    let chaosd = Chaosd::start(&format!("metrics = '127.0.0.1:9091'\n{SMALL_POOL}"));
    chaosd.wait_until_full("daytime");
    let guest = Guest::create("daytime.cfg", &[]);
    answers();
    let listed = guest.listed().expect("it is listed");
    let labels = "name=\"daytime\"";
    let text = chaos(&["metrics"]).ok();
    let of_guest = |metric: &str| {
        let metric = format!("chaos_guest_{metric}{{{labels}}}");
        value(&text, &metric).unwrap_or_else(|| panic!("{metric} is missing in\n{text}"))
    };
    let of_vif = |metric: &str| {
        let metric = format!("chaos_guest_vif_{metric}_total{{{labels},vif=\"0\"}}");
        value(&text, &metric).unwrap_or_else(|| panic!("{metric} is missing in\n{text}"))
    };
    assert!(of_guest("cpu_seconds_total") > 0.0);
    let memory = listed["memory_kib"].as_f64().expect("it has memory") * 1024.0;
    assert_eq!(of_guest("memory_bytes").to_bits(), memory.to_bits());
    assert!(of_vif("receive_bytes") >= 60.0 && of_vif("transmit_frames") >= 1.0);
    for (metric, expected) in [
        ("chaos_noxsd_up", 1),
        ("chaos_guests{state=\"crashed\"}", 0),
        ("chaos_pool_hits_total{flavour=\"daytime\"}", 1),
        ("chaos_pool_high_shells{flavour=\"daytime\"}", 2),
        ("chaos_create_seconds_count{shell=\"pool\"}", 1),
        ("chaos_create_stage_seconds_count{stage=\"receive\"}", 1),
        ("chaos_create_failures_total", 0),
    ] {
        assert_eq!(value(&text, metric), Some(expected.into()), "{metric} in\n{text}");
    }

    let tables = chaos(&["top", "-b", "-n", "2", "-d", "1"]).ok();
    assert_eq!(tables.matches("NAME").count(), 2, "{tables}");
    let rows = tables.lines().filter(|line| line.starts_with("daytime "));
    let rows: Vec<Vec<_>> = rows.map(|row| row.split_whitespace().collect()).collect();
    let [first, second] = &rows[..] else { panic!("two rows of the guest: {tables}") };
    assert_eq!((first[5], second[4]), ("-", "4.0M"), "{tables}");
    assert!(second[5].parse::<f64>().is_ok(), "{tables}");

    // Every user of dom0 may read them on loopback, but only root through the socket.
    let mut scraper = TcpStream::connect("127.0.0.1:9091").expect("chaosd listens");
    scraper.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    scraper.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("# TYPE chaos_guest_cpu_seconds_total counter\n"), "{answer}");
    chaos_as(1000, &["metrics"]).refused(4, &["no permission", "run chaos as root"]);

    // Clients that send nothing hold up no create.
    let silent: Vec<_> = (0..64).filter_map(|_| UnixStream::connect(SOCKET).ok()).collect();
    guest.destroy();
    let guest = Guest::create("daytime.cfg", &[]);
    assert!(chaos(&["metrics"]).ok().ends_with("# EOF\n"));
    drop(silent);
    guest.destroy();
    assert!(value(&chaos(&["metrics"]).ok(), "chaos_guests{state=\"running\"}").is_some());
    assert!(!chaos(&["metrics"]).ok().contains("name=\"daytime\""), "it is gone");
    assert!(chaosd.stop());
    bed.assert_empty("after the metrics");
}

/// A `chaos events --json` that runs.
struct Follower {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Follower {
    fn start() -> Self {
        let mut child = Command::new("chaos")
            .args(["events", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("chaos can be started");
        let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut follower = Self { child, output };
        assert_eq!(follower.next()["event"], "subscribed");
        follower
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it can be read");
        let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        schema::assert_matches("event", &event);
        event
    }

    /// Returns the next event, which must be of this kind and about this guest.
    #[track_caller]
    fn expect(&mut self, kind: &str, name: &str) -> Value {
        let event = self.next();
        assert_eq!((&event["event"], &event["name"]), (&kind.into(), &name.into()), "{event}");
        event
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_tell_what_happens_to_guests_whoever_does_it() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let mut follower = Follower::start();

    let guest = Guest::create("daytime.cfg", &["on_poweroff='restart'"]);
    let created = follower.expect("created", "daytime");
    assert_eq!(created["shell"], "cold");
    let listed = guest.listed().expect("it is listed");
    assert_eq!((&created["domid"], &created["handle"]), (&listed["domid"], &listed["handle"]));
    answers();
    chaos(&["shutdown", "daytime"]).ok();
    let ended = follower.expect("ended", "daytime");
    assert_eq!((&ended["how"], &ended["action"]), (&"powered-off".into(), &"restart".into()));
    assert_eq!(follower.expect("destroyed", "daytime")["handle"], listed["handle"]);
    assert_ne!(follower.expect("created", "daytime")["handle"], listed["handle"]);
    follower.expect("restarted", "daytime");
    let text = chaos(&["metrics"]).ok();
    let restarts = "chaos_guest_restarts_total{name=\"daytime\",cause=\"powered-off\"}";
    assert_eq!(value(&text, restarts), Some(1.0), "{text}");
    chaos(&["rename", "daytime", "clock"]).ok();
    assert_eq!(follower.expect("renamed", "clock")["from"], "daytime");
    chaos(&["destroy", "clock"]).ok();
    follower.expect("destroyed", "clock");
    guest.forget();

    // Without chaosd's help.
    let guest = Guest::create("daytime.cfg", &["--no-daemon"]);
    assert_eq!(follower.expect("created", "daytime")["shell"], Value::Null);
    guest.destroy();
    follower.expect("destroyed", "daytime");

    let hostile = Guest::create("hostile.cfg", &["cmdline='ring-index'"]);
    follower.expect("created", &hostile.name);
    let broken = follower.expect("device-broken", &hostile.name);
    assert_eq!(broken["device"], "vif0", "{broken}");
    let text = chaos(&["metrics"]).ok();
    assert!(text.contains("chaos_guest_broken_devices{name=\"hostile\""), "{text}");
    hostile.destroy();
    follower.expect("destroyed", "hostile");

    assert!(chaosd.stop(), "a follower does not hold it up");
    let status = follower.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "chaosd has closed the connection");
    bed.assert_empty("after the events");
}
