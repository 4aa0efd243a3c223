// SPDX-License-Identifier: GPL-3.0-or-later
//! A job: requests of one kind.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::libc::O_DIRECT;

use crate::queue::Queue;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    writes: bool,
    random: bool,
    /// Bytes of a request.
    block_size: u32,
    /// Requests in flight.
    depth: u32,
    /// Number of requests.
    count: u64,
}

impl Job {
    /// Parses a line.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_ascii_whitespace();
        let mode = words.next().unwrap_or_default();
        let (writes, random) = match mode {
            "read" => (false, false),
            "write" => (true, false),
            "randread" => (false, true),
            "randwrite" => (true, true),
            _ => bail!("{mode:?} must be read, write, randread or randwrite"),
        };
        let mut job = Self { writes, random, block_size: 4096, depth: 1, count: 1000 };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let number = value.parse().with_context(|| format!("{word:?} is not KEY=NUMBER"))?;
            match key {
                "bs" => job.block_size = number,
                "qd" => job.depth = number,
                "count" => job.count = number.into(),
                _ => bail!("{key:?} must be bs, qd or count"),
            }
        }
        ensure!(
            job.block_size > 0 && job.block_size.is_multiple_of(4096),
            "bs: a multiple of 4096"
        );
        ensure!((1..=1024).contains(&job.depth), "qd: from 1 to 1024");
        Ok(job)
    }

    /// Carries it out, and returns the time from the first request to the last response.
    pub(crate) fn run(&self, path: &Path) -> Result<Duration> {
        let mut options = OpenOptions::new();
        let mut disk = options
            .read(true)
            .write(self.writes)
            .custom_flags(O_DIRECT)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let places = disk.seek(SeekFrom::End(0))? / u64::from(self.block_size);
        ensure!(places > 0, "the disk is smaller than a block");
        self.run_on(&disk, places)
    }

    fn run_on(&self, disk: &File, places: u64) -> Result<Duration> {
        let mut queue = Queue::new(disk, self.depth, self.block_size)?;
        let (mut started, mut done) = (0, 0);
        let mut state = 1u64;
        let start = Instant::now();
        while done < self.count {
            while started < self.count && started - done < u64::from(self.depth) {
                let place = if self.random { random(&mut state) } else { started } % places;
                queue.push(place * u64::from(self.block_size), self.writes)?;
                started += 1;
            }
            done += queue.wait()?;
        }
        Ok(start.elapsed())
    }
}

/// Returns the next number of xorshift64, as blkbench does.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_job_or_an_error() {
        let job = Job::parse("randwrite qd=32 bs=8192").unwrap();
        let expected = Job { writes: true, random: true, block_size: 8192, depth: 32, count: 1000 };
        assert_eq!(job, expected);
        for line in ["", "erase", "read bs=512", "read qd=0", "read qd=x", "read size=1"] {
            assert!(Job::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn requests_write_and_read_a_file() {
        let file = tempfile::tempfile().unwrap();
        let job = |line| Job::parse(line).unwrap();
        job("write bs=4096 qd=4 count=8").run_on(&file, 8).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 8 * 4096);
        job("randread bs=4096 qd=4 count=100").run_on(&file, 8).unwrap();
        assert!(job("read bs=4096 count=9").run_on(&file, 9).is_err(), "past the end");
    }
}
