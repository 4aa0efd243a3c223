// SPDX-License-Identifier: GPL-3.0-or-later
//! Times `chaos create` from its `execve` until a waiting client has received its first PONG.
//!
//! A client that connects before the guest runs waits for TCP's retries, which takes a second or
//! more. This client waits until the guest announces its address, and connects then.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chaos::guests::{self, Host};
use chaos_bench::announcement::Announcements;
use chaos_bench::guest::nanoseconds;
use chaos_bench::{let_xen_scrub, redis};

use crate::report::Report;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let mut to_announcement = Vec::new();
    let mut to_pong = Vec::new();
    for _ in 0..rounds {
        let_xen_scrub();
        let announcements = Announcements::listen()?;
        let started = Instant::now();
        let mut create = Command::new("chaos")
            .args(["create", "--quiet", "redis.cfg"])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run chaos")?;
        announcements.wait_for(ADDRESS)?;
        to_announcement.push(nanoseconds(started)?);
        let mut stream = TcpStream::connect((ADDRESS, 6379))?;
        redis::ping(&mut stream)?;
        to_pong.push(nanoseconds(started)?);
        ensure!(create.wait()?.success(), "chaos create failed");
        drop(stream);
        guests::destroy(host, "redis")?;
    }
    report.times("exec of chaos create to the guest's announcement", None, &to_announcement);
    report.times("exec of chaos create to the first PONG", None, &to_pong);
    Ok(())
}
