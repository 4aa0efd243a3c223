// SPDX-License-Identifier: GPL-3.0-or-later
//! Traffic and disk load while `noxsd` is killed and restarted, and the check that neither loses what
//! was answered.
//!
//! A client sets a key of the redis guest, again and again, each time to the next number. A blkbench
//! guest writes numbered blocks and flushes them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use chaos::guests::{self, CreateOptions, Host};
use chaos::timings::Timings;
use chaos_bench::guest::config;
use chaos_bench::words::{self, PATIENCE};
use xen::units::DomId;

/// The disk of the blkbench guest.
const DISK: &str = "/tmp/restart-disk.img";
const DISK_BYTES: u64 = 2 << 20;

/// What the blkbench guest does until it is destroyed.
const WRITE: &str = "verify qd=16 count=1000000000 flush=64";

/// What it prints after each flush, with the number of the last block.
const FLUSHED: &str = "blkbench: flushed ";

/// Answers that the client waits for before the next kill.
const BEFORE_A_KILL: u64 = 100;

/// The load.
pub(crate) struct Load {
    client: Client,
    writer: Guest,
}

/// The client of redis.
struct Client {
    progress: Arc<(Mutex<Progress>, Condvar)>,
    thread: JoinHandle<Result<()>>,
}

/// How far the client is.
#[derive(Default)]
struct Progress {
    /// The number in the last answered SET.
    answered: u64,
    /// The longest time between a request and its answer since it was last asked for, in nanoseconds.
    longest: u64,
    /// The client is to end, or has failed.
    ends: bool,
}

/// A blkbench guest.
struct Guest {
    name: String,
    domid: DomId,
}

impl Load {
    /// Starts the guest and the client, which has a connection of its own.
    pub(crate) fn start(host: &Host, connection: TcpStream) -> Result<Self> {
        File::create(DISK)?.set_len(DISK_BYTES)?;
        let writer = Guest::create(host, WRITE)?;
        words::wait_for_log(&host.records.console_log(writer.domid), FLUSHED)?;
        Ok(Self { client: Client::start(connection), writer })
    }

    /// Waits until the client has had some answers, and forgets how long it waited for them.
    pub(crate) fn settle(&self) -> Result<()> {
        self.client.progress_by(BEFORE_A_KILL)?;
        self.client.longest();
        Ok(())
    }

    /// Waits for an answer, and returns the longest time for which the client has waited for one, in
    /// nanoseconds.
    pub(crate) fn pause(&self) -> Result<u64> {
        self.client.progress_by(1)?;
        Ok(self.client.longest())
    }

    /// Ends the load, and checks that redis has the last answered number and the disk all flushed
    /// blocks. `connection` is another one to redis.
    pub(crate) fn finish(self, host: &Host, connection: &mut TcpStream) -> Result<()> {
        let answered = self.client.stop()?;
        connection.write_all(b"GET load\r\n")?;
        let mut reply = [0; 64];
        let length = connection.read(&mut reply)?;
        let reply = String::from_utf8_lossy(&reply[..length]).into_owned();
        let stored: Option<u64> = reply.lines().nth(1).and_then(|number| number.parse().ok());
        ensure!(stored == Some(answered), "redis answered SET {answered} and has {reply:?}");

        let log = fs::read_to_string(host.records.console_log(self.writer.domid))?;
        let flushed = log.rsplit(FLUSHED).find_map(|rest| rest.lines().next()?.parse::<u64>().ok());
        let flushed = flushed.context("blkbench has flushed nothing")?;
        self.writer.destroy(host)?;
        let checker = Guest::create(host, &format!("check qd=16 flush=64 count={flushed}"))?;
        let log = host.records.console_log(checker.domid);
        words::wait_for_log(&log, " newest=")?;
        let said = fs::read_to_string(log)?;
        ensure!(said.contains(" lost=0 torn=0 "), "of {flushed} flushed blocks: {said}");
        checker.destroy(host)?;
        Ok(fs::remove_file(DISK)?)
    }
}

impl Client {
    fn start(connection: TcpStream) -> Self {
        let progress = Arc::new((Mutex::default(), Condvar::new()));
        let own = Arc::clone(&progress);
        let thread = thread::spawn(move || {
            let result = set_until_end(connection, &own);
            lock(&own).ends = true;
            own.1.notify_all();
            result
        });
        Self { progress, thread }
    }

    /// Waits until a number of SETs more are answered.
    fn progress_by(&self, more: u64) -> Result<()> {
        let first = lock(&self.progress).answered;
        let waits = |progress: &mut Progress| progress.answered < first + more && !progress.ends;
        let (state, timeout) = self
            .progress
            .1
            .wait_timeout_while(lock(&self.progress), PATIENCE, waits)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(!timeout.timed_out() && !state.ends, "redis does not answer the client any more");
        Ok(())
    }

    fn longest(&self) -> u64 {
        std::mem::take(&mut lock(&self.progress).longest)
    }

    /// Ends the client. Returns the number in the last answered SET.
    fn stop(self) -> Result<u64> {
        lock(&self.progress).ends = true;
        self.thread.join().map_err(|_| anyhow!("the client has panicked"))??;
        Ok(lock(&self.progress).answered)
    }
}

fn lock(progress: &(Mutex<Progress>, Condvar)) -> MutexGuard<'_, Progress> {
    progress.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the key until the client is to end.
fn set_until_end(mut stream: TcpStream, shared: &(Mutex<Progress>, Condvar)) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for number in 1.. {
        let started = Instant::now();
        stream.write_all(format!("SET load {number}\r\n").as_bytes())?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        ensure!(&answer == b"+OK\r\n", "redis answered {answer:?}");
        let took = u64::try_from(started.elapsed().as_nanos())?;
        let mut progress = lock(shared);
        progress.answered = number;
        progress.longest = progress.longest.max(took);
        shared.1.notify_all();
        if progress.ends {
            break;
        }
    }
    Ok(())
}

impl Guest {
    fn create(host: &Host, line: &str) -> Result<Self> {
        let disk = format!("disk=['{DISK},raw,xvda,w']");
        let config = config("blkbench.cfg", &[&disk, &format!("cmdline='{line}'"), "memory=16"])?;
        let options = CreateOptions::default();
        let created = guests::create(host, &config, options, &mut Timings::start())?;
        Ok(Self { name: config.name, domid: created.domid })
    }

    fn destroy(self, host: &Host) -> Result<()> {
        guests::destroy(host, &self.name).map(drop)?;
        Ok(())
    }
}
