// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of one kind, as fast as the disk carries them out.

use blkbench::options::Kind;
use unikernel::block::{Buffer, Request};
use unikernel::{Instant, println};

use crate::Run;

/// Runs the requests and prints one line.
pub(crate) fn run(run: &mut Run, kind: Kind, random: bool) {
    let options = run.options;
    for buffer in &mut run.buffers {
        let size = buffer.size();
        for offset in (0..size).step_by(512) {
            buffer.put(offset, &[0xb5; 512]);
        }
    }
    let mut places = Places { next: 0, count: run.places, random, state: options.seed | 1 };
    let most = options.depth * run.parts;
    let (mut started, mut done, mut errors) = (0, 0, 0u64);
    let start = Instant::now();
    let parts = run.parts as u64;
    while done < options.count * parts {
        // A flush covers only writes that are done, so let those in flight finish before it.
        let stop = next_flush(done / parts, options.flush).min(options.count);
        // The requests of an operation are started together.
        while started < stop && run.disk.in_flight() + run.parts <= most {
            submit(run, kind, places.next() * options.block_size);
            started += 1;
        }
        run.disk.wait();
        while let Some(finished) = run.disk.complete() {
            done += 1;
            errors += u64::from(finished.result.is_err());
            run.buffers.extend(finished.buffer);
        }
        if options.flush > 0 && done == stop * parts {
            run.flush();
        }
    }
    let nanoseconds = Instant::now().since(start).as_nanos();
    println!(
        "blkbench: {} bs={} qd={}: operations={} bytes={} errors={errors} \
         nanoseconds={nanoseconds}",
        options.name,
        options.block_size,
        options.depth,
        options.count,
        options.count * options.block_size
    );
}

/// Submits the requests of one operation.
fn submit(run: &mut Run, kind: Kind, at: u64) {
    for offset in (0..run.length).step_by(run.part) {
        let (at, length) = (at + offset as u64, run.part.min(run.length - offset));
        let request = match kind {
            Kind::Discard => Request::Discard { at, length: length as u64 },
            _ => of_data(kind, at, length, run.buffers.pop()),
        };
        if let Err(rejected) = run.disk.submit(request) {
            panic!("blkbench: {}: {}", run.options.name, rejected.error);
        }
    }
}

/// Returns a request that reads or writes. There is a buffer for each request in flight.
fn of_data(kind: Kind, at: u64, length: usize, buffer: Option<Buffer>) -> Request {
    let Some(buffer) = buffer else { panic!("blkbench: a buffer was lost") };
    match kind {
        Kind::Read => Request::Read { at, length, buffer },
        _ => Request::Write { at, length, buffer, durable: false },
    }
}

/// Returns after how many requests the next flush comes.
fn next_flush(done: u64, every: u64) -> u64 {
    done.checked_div(every).map_or(u64::MAX, |flushes| (flushes + 1).saturating_mul(every))
}

/// The places of the requests.
struct Places {
    next: u64,
    count: u64,
    random: bool,
    state: u64,
}

impl Places {
    fn next(&mut self) -> u64 {
        if self.random {
            // xorshift64.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            return (self.state >> 11) % self.count;
        }
        let place = self.next;
        self.next = (place + 1) % self.count;
        place
    }
}
