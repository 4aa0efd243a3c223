// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures how much a hostile guest delays another one: the round trip of a request to a redis
//! guest, first alone, then next to one hostile guest for each attack.
//!
//! Hostile guest, neighbour, `noxsd` and client share one CPU, so this is the worst case.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_bench::exec::run;
use chaos_bench::guest::nanoseconds;
use chaos_bench::redis;

use crate::growth::median;
use crate::limits;
use crate::report::Report;

/// The command lines of the hostile guest, what they do, and the limits. The first one does not
/// attack: it shows what Xen's scheduler alone costs the neighbour of a busy guest on the same CPU.
/// The last one has no limit: what it costs is Xen's scheduler, too (docs/performance.md).
const ATTACKS: [(&str, &str, Option<f64>); 8] = [
    ("spin", "spins", Some(limits::ATTACK)),
    ("event-storm", "raises events", Some(limits::ATTACK)),
    ("flood", "prints", Some(limits::ATTACK)),
    ("refused-flood", "sends invalid requests", Some(limits::ATTACK)),
    ("spoof-flood", "sends false addresses", Some(limits::ATTACK)),
    ("broadcast-flood", "broadcasts", Some(limits::ATTACK)),
    ("unicast-flood", "sends frames to the other", Some(limits::ATTACK)),
    ("restless-flood", "sends frames to the other and never waits", None),
];

/// Guests that get what is broadcast, for the attack whose cost grows with their number.
const RECEIVERS: u32 = 30;

/// Round trips before the first one that counts: the attack has begun, and connections are known.
const WARM_UP: usize = 20;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let vif = "vif=['bridge=xenbr0,mac=00:16:3e:00:00:02,ip=10.0.0.2/24 10.0.0.1']";
    run("chaos", &["create", "--quiet", "redis.cfg", vif])?;
    let mut client = connect()?;
    let quiet = round_trips(&mut client, rounds)?;
    report.times("round trip to a redis guest", None, &quiet);
    let quiet = median(&quiet);
    for (attack, what, limit) in ATTACKS {
        next_to(&mut client, attack, what, limit, quiet, rounds, report)?;
    }
    // All of them answer on the bridge of the hostile guest.
    run("chaos", &["create", "--quiet", "-n", &RECEIVERS.to_string(), "daytime.cfg"])?;
    let what = format!("broadcasts to {RECEIVERS} others");
    let limit = Some(limits::ATTACK);
    next_to(&mut client, "broadcast-flood", &what, limit, quiet, rounds, report)?;
    for number in 1..=RECEIVERS {
        run("chaos", &["destroy", &format!("daytime-{number}")])?;
    }
    run("chaos", &["destroy", "redis"]).map(drop)
}

/// Measures round trips next to a hostile guest.
fn next_to(
    client: &mut TcpStream,
    attack: &str,
    what: &str,
    limit: Option<f64>,
    quiet: f64,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    let command_line = format!("cmdline='{attack}'");
    run("chaos", &["create", "--quiet", "hostile.cfg", &command_line])?;
    let samples = round_trips(client, rounds);
    run("chaos", &["destroy", "hostile"])?;
    let samples = samples.with_context(|| format!("while a hostile guest {what}"))?;
    report.times(format!("  while a hostile guest {what}"), None, &samples);
    let row = "    against the quiet one".to_owned();
    report.add(row, "times", limit, vec![median(&samples) / quiet]);
    Ok(())
}

fn connect() -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&([10, 0, 0, 2], 6379).into(), PATIENCE)
        .context("the redis guest does not answer")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns the nanoseconds of each round trip.
fn round_trips(client: &mut TcpStream, rounds: usize) -> Result<Vec<u64>> {
    let mut samples = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let started = Instant::now();
        redis::ping(client).context("the redis guest does not answer any more")?;
        if round >= WARM_UP {
            samples.push(nanoseconds(started)?);
        }
    }
    ensure!(!samples.is_empty(), "no round trip was measured");
    Ok(samples)
}
