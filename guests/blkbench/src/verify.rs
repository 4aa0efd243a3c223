// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbered blocks: written with flushes in between, and read back.

use alloc::vec;

use blkbench::block::{self, Damage, Label};
use unikernel::block::Request;
use unikernel::println;

use crate::Run;

/// Returns the number of places: a power of two.
fn places(run: &Run) -> u64 {
    let places = 1 << run.places.ilog2();
    let Run { options, length, parts, part, .. } = run;
    assert!(*parts == 1, "blkbench: bs={length}: must be at most {part}, one request");
    // Two writes to one place must not be in flight together, and a place must not be written again
    // before it is flushed.
    let least = options.flush.max(options.depth as u64) * 2;
    assert!(
        places >= least,
        "blkbench: the disk has {places} blocks of {}: must be at least {least} for qd={} flush={}",
        options.block_size,
        options.depth,
        options.flush
    );
    places
}

/// Writes blocks `from` to `count` and prints after each flush how far they are on stable storage.
/// Then reads them.
pub(crate) fn write(run: &mut Run) {
    let (places, options, length) = (places(run), run.options, run.length);
    let mut content = vec![0; length];
    let mut number = options.from;
    while number <= options.count {
        let stop = (number + options.flush - 1).min(options.count);
        while number <= stop || run.disk.in_flight() > 0 {
            while number <= stop
                && let Some(mut buffer) = run.buffers.pop()
            {
                let place = block::place(number, places);
                block::write(Label { number, place, run: options.run }, &mut content);
                buffer.put(0, &content);
                let at = place * options.block_size;
                let write = Request::Write { at, length, buffer, durable: false };
                if let Err(rejected) = run.disk.submit(write) {
                    panic!("blkbench: block {number}: {}", rejected.error);
                }
                number += 1;
            }
            run.disk.wait();
            while let Some(done) = run.disk.complete() {
                if let Err(error) = done.result {
                    panic!("blkbench: a write before block {number} failed: {error}");
                }
                run.buffers.extend(done.buffer);
            }
        }
        run.flush();
        println!("blkbench: flushed {stop}");
    }
    check(run);
}

/// Reads all places and prints whether they hold what they must if all blocks up to `count` were
/// flushed.
pub(crate) fn check(run: &mut Run) {
    let (places, options, length) = (places(run), run.options, run.length);
    let Some(mut buffer) = run.buffers.pop() else { return };
    let mut content = vec![0; length];
    let (mut lost, mut torn, mut newest, mut blocks) = (0u64, 0u64, 0, 0u64);
    // The last block of each place, and then the places that were not used yet.
    let (first, last) = ((options.count + 1).saturating_sub(places).max(1), options.count);
    for number in first..first + places {
        let place = block::place(number, places);
        let at = place * options.block_size;
        if let Err(error) = run.disk.read(at, &mut buffer, length) {
            panic!("blkbench: place {place}: {error}");
        }
        buffer.get(0, &mut content);
        let must_exist = number <= last;
        blocks += u64::from(must_exist);
        match block::read(&content) {
            Ok(label) => {
                newest = label.number.max(newest);
                let is_of_the_run = label.run == options.run || number < options.from;
                let is_right = label.place == place && label.number >= number && is_of_the_run;
                lost += u64::from(must_exist && !is_right);
            }
            Err(Damage::Empty) => lost += u64::from(must_exist),
            Err(Damage::Torn) => torn += 1,
        }
    }
    run.buffers.push(buffer);
    println!("blkbench: check: blocks={blocks} lost={lost} torn={torn} newest={newest}");
}
