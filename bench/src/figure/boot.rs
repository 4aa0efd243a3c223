//! One guest each: creation, and boot until its first words on its console (figures 4 and 11 of
//! the paper). Beside it a process, and xl.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::absolute;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos::config::DomainConfig;
use chaos::lifecycle::{self, CreateOptions, Host};
use chaos::timings::Timings;
use chaos_bench::exec::run;
use chaos_bench::guest::{config, nanoseconds};
use chaos_bench::let_xen_scrub;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Args;
use crate::samples::Samples;

/// How long a guest may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let rounds = if args.quick { 3 } else { 20 };
    let xl_rounds = args.xl_guests(5, 1);
    samples.total(rounds * 8 + xl_rounds * 2)?;
    for round in 1..=rounds {
        samples.time("execve of an empty program", round, run("exits", &[])?)?;
    }
    for (guest, overrides) in [("noop", "console=1"), ("daytime", ""), ("redis", "")] {
        let config = config(&format!("{guest}.cfg"), &[overrides])?;
        first_words(host, &config, "ready")?;
        for round in 1..=rounds {
            let_xen_scrub();
            let times = first_words(host, &config, "ready")?;
            samples.time(&format!("{guest}: until it may run"), round, times.create_ns)?;
            samples.time(&format!("{guest}: until its first words"), round, times.words_ns)?;
        }
    }
    for round in 1..=rounds {
        let_xen_scrub();
        let ns = run("chaos", &["create", "--quiet", "--no-daemon", "redis.cfg"])?;
        samples.time("redis: chaos create, execve to exit", round, ns)?;
        lifecycle::destroy(host, "redis")?;
    }
    xl(xl_rounds, samples)
}

/// xl making the same guests. They find no device page, say so and stop: only the command is
/// timed.
fn xl(rounds: usize, samples: &mut Samples) -> Result<()> {
    for (guest, memory, vif) in [("noop", 4, ""), ("redis", 8, "vif=['bridge=xenbr0']\n")] {
        let file = format!("/tmp/xl-{guest}.cfg");
        let text = format!(
            "name='xl'\ntype='pvh'\nkernel='{}'\nmemory={memory}\nvcpus=1\n\
             on_crash='preserve'\n{vif}",
            absolute(guest)?.display()
        );
        std::fs::write(&file, text)?;
        // The first one after boot pays for things that stay.
        for round in 0..=rounds {
            let_xen_scrub();
            let ns = run("xl", &["create", "-q", &file]).context("xl's rows")?;
            run("xl", &["destroy", "xl"])?;
            if round > 0 {
                samples.time(&format!("{guest}: xl create, execve to exit"), round, ns)?;
            }
        }
    }
    Ok(())
}

/// What a guest took.
pub(crate) struct Times {
    /// From the request until it may run.
    pub(crate) create_ns: u64,
    /// From the request until dom0 has its first words.
    pub(crate) words_ns: u64,
}

/// Makes a guest in this process, waits until its console has this word, and destroys it.
pub(crate) fn first_words(host: &Host, config: &DomainConfig, word: &str) -> Result<Times> {
    let started = Instant::now();
    let mut timings = Timings::start();
    let options = CreateOptions { paused: true, console: true };
    let mut created = lifecycle::create(host, config, options, &mut timings)?;
    let create_ns = nanoseconds(started)?;
    let mut console = File::from(created.console.take().context("the guest has a console")?);
    host.xen.unpause(created.domid)?;
    let mut said = Vec::new();
    let mut piece = [0; 512];
    while !String::from_utf8_lossy(&said).contains(word) {
        let left = (started + PATIENCE).saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "{} has said nothing", config.name);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(console.as_fd(), PollFlags::POLLIN)], timeout)? > 0 {
            let length = console.read(&mut piece)?;
            ensure!(length > 0, "{} has ended", config.name);
            said.extend_from_slice(&piece[..length]);
        }
    }
    let words_ns = nanoseconds(started)?;
    drop((console, created));
    lifecycle::destroy(host, &config.name)?;
    Ok(Times { create_ns, words_ns })
}
