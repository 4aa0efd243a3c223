// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs on a disk that is added while the guest runs, and releases it when it is removed.

use alloc::vec::Vec;

use blkbench::options::Options;
use unikernel::hot_plug::{self, Change};
use unikernel::{Guest, println, wait};

use crate::Run;

/// Waits until dom0 changes the list of devices.
fn next_change() -> Change {
    loop {
        if let Some(change) = hot_plug::take() {
            return change;
        }
        wait(&[], None);
    }
}

/// Waits for disks, one after the other, and runs on each. While there is one, others are not taken.
pub(crate) fn run(mut guest: Guest, options: Options<'static>) -> ! {
    let mut buffers = Vec::new();
    println!("blkbench: waiting for a disk");
    loop {
        if guest.disks().next().is_none() {
            let change = next_change();
            guest.update(&change);
            change.accept();
            continue;
        }
        let mut run = Run::new(&mut guest, options, core::mem::take(&mut buffers));
        let own = run.disk.vbd().backend;
        crate::run(&mut run);
        loop {
            let change = next_change();
            guest.update(&change);
            let is_there = guest.disks().any(|disk| disk.backend == own);
            if !is_there {
                // All requests are answered, and no other is made.
                buffers = run.buffers;
                change.accept();
                println!("blkbench: the disk is gone");
                break;
            }
            match guest.disks().count() {
                1 => change.accept(),
                _ => change.reject(),
            }
        }
    }
}
