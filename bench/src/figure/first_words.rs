// SPDX-License-Identifier: GPL-3.0-or-later
//! Times a guest until its first words: until its console shows a given word.

use std::fs::File;
use std::time::Instant;

use anyhow::{Context, Result};
use chaos::config::DomainConfig;
use chaos::guests::{self, CreateOptions, Host};
use chaos::timings::Timings;
use chaos_bench::exec::{Process, run};
use chaos_bench::guest::nanoseconds;
use chaos_bench::words;

/// Creates a guest with xl, and destroys it when xenconsoled's log contains the word. Returns the
/// time from xl's `execve` until then, in nanoseconds. Does not use `xl create -c`, which sleeps
/// for a second before it connects (`autoconnect_console` in tools/xl/xl_vmcontrol.c).
pub(crate) fn words_of_xl(file: &str, name: &str, word: &str) -> Result<u64> {
    let log = words::new_console_log(name)?;
    let create = Process::start("xl", &["create", "-q", file])?;
    words::wait_for_log(&log, word)?;
    let ns = nanoseconds(create.started)?;
    create.wait()?;
    run("xl", &["destroy", name])?;
    Ok(ns)
}

/// The times of one guest.
pub(crate) struct Times {
    /// From the request until the guest may run, in nanoseconds.
    pub(crate) create_ns: u64,
    /// From the request until dom0 has received the word, in nanoseconds.
    pub(crate) words_ns: u64,
}

/// Creates a guest in this process, waits until its console shows the word, and destroys it.
pub(crate) fn first_words(host: &Host, config: &DomainConfig, word: &str) -> Result<Times> {
    let started = Instant::now();
    let mut timings = Timings::start();
    let options = CreateOptions { paused: true, console: true, ..CreateOptions::default() };
    let mut created = guests::create(host, config, options, &mut timings)?;
    let create_ns = nanoseconds(started)?;
    let mut console = File::from(created.console.take().context("the guest has a console")?);
    host.xen.unpause(created.domid)?;
    words::wait_for(&mut console, word).with_context(|| config.name.clone())?;
    let words_ns = nanoseconds(started)?;
    drop((console, created));
    guests::destroy(host, &config.name)?;
    Ok(Times { create_ns, words_ns })
}
