// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that measures its disk, or verifies that it keeps what was written: see README.md.

#![no_std]
#![no_main]

extern crate alloc;

mod bench;
mod hot;
mod verify;

use alloc::vec::Vec;

use blkbench::options::{self, Mode, Options};
use unikernel::block::{Buffer, DEPTH, Disk};
use unikernel::{Guest, hot_plug, wait};

/// Bytes of a page, which buffers consist of.
const PAGE_SIZE: usize = 4096;

unikernel::guest!(main);

fn main(guest: Guest) {
    let options = match options::parse(guest.command_line()) {
        Ok(options) => options,
        Err(error) => panic!("blkbench: {error}"),
    };
    if options.hot {
        hot::run(guest, options);
    }
    let mut guest = guest;
    run(&mut Run::new(&mut guest, options, Vec::new()));
    loop {
        wait(&[], None);
        // The disk stays in use.
        if let Some(change) = hot_plug::take() {
            change.reject();
        }
    }
}

fn run(run: &mut Run) {
    match run.options.mode {
        Mode::Bench { kind, random } => bench::run(run, kind, random),
        Mode::Verify => verify::write(run),
        Mode::Check => verify::check(run),
    }
}

/// The disk and the arguments.
pub(crate) struct Run {
    pub(crate) disk: Disk,
    pub(crate) options: Options<'static>,
    pub(crate) buffers: Vec<Buffer>,
    /// The blocks of the disk that are used.
    pub(crate) places: u64,
    /// Bytes of a block.
    pub(crate) length: usize,
    /// How many requests a block takes, and how many bytes all but the last one have.
    pub(crate) parts: usize,
    pub(crate) part: usize,
}

impl Run {
    /// Opens the first disk. `buffers` are those of an earlier run with the same options, if there was
    /// one.
    fn new(guest: &mut Guest, options: Options<'static>, mut buffers: Vec<Buffer>) -> Self {
        let disk = Disk::open(guest, 0).unwrap_or_else(|error| panic!("blkbench: {error}"));
        let Options { block_size, depth, .. } = options;
        let sector = disk.sector_size();
        let length = usize::try_from(block_size).unwrap_or(usize::MAX);
        assert!(
            length.is_multiple_of(sector),
            "blkbench: bs={block_size}: must be a multiple of {sector}"
        );
        let part = length.min(disk.longest());
        let parts = length.div_ceil(part);
        let requests = depth.saturating_mul(parts);
        assert!(
            requests <= DEPTH,
            "blkbench: qd={depth} bs={block_size}: {requests} requests: must be at most {DEPTH}"
        );
        let span = options.span.unwrap_or(u64::MAX).min(disk.size());
        let places = span / block_size;
        assert!(places > 0, "blkbench: the disk has {span} bytes: must be at least {block_size}");
        let pages = part.div_ceil(PAGE_SIZE);
        if buffers.is_empty() {
            buffers = disk.buffers(guest, requests, pages).unwrap_or_else(|error| {
                panic!("blkbench: {error}: qd={depth} times bs={block_size}; use smaller ones")
            });
        }
        Self { disk, options, buffers, places, length, parts, part }
    }

    /// Flushes the disk.
    pub(crate) fn flush(&mut self) {
        self.disk.flush().unwrap_or_else(|error| panic!("blkbench: flush: {error}"));
    }
}
