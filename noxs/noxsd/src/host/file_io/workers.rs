// SPDX-License-Identifier: GPL-3.0-or-later
//! Threads that wait for storage, each for one operation at a time.
//!
//! The operations on one storage have at most half of the threads that those on others leave, and at
//! least one while any is free. So one storage that does not answer stops no other, nor do four.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::FileIo;
use super::storage::{Owner, Storage};

/// Number of threads.
pub(super) const THREADS: usize = 16;

/// What a thread does.
#[derive(Debug)]
pub(super) enum Job {
    /// Carry out an operation.
    Io(FileIo),
    /// Close the file of a disk.
    Close(File, Option<Owner>),
}

/// What the threads share.
#[derive(Debug, Default)]
pub(super) struct Workers {
    queues: Mutex<Queues>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queues {
    /// What has not begun, by storage. None is empty.
    waiting: HashMap<Storage, VecDeque<Job>>,
    /// The storages for which something waits, in the order of their turns.
    turns: VecDeque<Storage>,
    /// Threads that each storage has. None is 0.
    busy: HashMap<Storage, usize>,
    /// Files to be closed, of which the disk is known.
    closing: Vec<Owner>,
    ended: bool,
}

impl Queues {
    fn push(&mut self, storage: Storage, job: Job) {
        let waiting = self.waiting.entry(storage).or_default();
        if waiting.is_empty() {
            self.turns.push_back(storage);
        }
        waiting.push_back(job);
    }

    /// Takes the next job that may begin now.
    fn next(&mut self) -> Option<(Storage, Job)> {
        let all: usize = self.busy.values().sum();
        let may_begin = |storage: &Storage| match self.busy.get(storage) {
            None => true,
            Some(own) => 2 * (own + 1) <= THREADS - (all - own),
        };
        let place = self.turns.iter().position(may_begin)?;
        let storage = self.turns.remove(place)?;
        let waiting = self.waiting.get_mut(&storage)?;
        let job = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&storage);
        } else {
            self.turns.push_back(storage);
        }
        *self.busy.entry(storage).or_default() += 1;
        Some((storage, job))
    }

    fn finish(&mut self, storage: Storage) {
        if let Some(busy) = self.busy.get_mut(&storage) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&storage);
            }
        }
    }
}

impl Workers {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an operation.
    pub(super) fn begin(&self, io: FileIo) {
        self.queues().push(io.file.storage(), Job::Io(io));
        self.changed.notify_one();
    }

    /// Takes a file to close.
    pub(super) fn close(&self, file: File, owner: Option<Owner>) {
        let mut queues = self.queues();
        queues.closing.extend(owner);
        queues.push(Storage::of(owner), Job::Close(file, owner));
        drop(queues);
        self.changed.notify_one();
    }

    /// Returns whether a file is to be closed whose disk is one of these.
    pub(super) fn is_closing(&self, of: impl Fn(Owner) -> bool) -> bool {
        self.queues().closing.iter().any(|owner| of(*owner))
    }

    /// Ends the threads that wait.
    pub(super) fn end(&self) {
        self.queues().ended = true;
        self.changed.notify_all();
    }

    /// Carries out jobs with `work`, until the threads end or it returns `false`. `finished` is called
    /// after each.
    pub(super) fn run(&self, mut work: impl FnMut(FileIo) -> bool, finished: impl Fn()) {
        let mut queues = self.queues();
        while !queues.ended {
            let Some((storage, job)) = queues.next() else {
                queues = self.changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(queues);
            let (goes_on, closed) = match job {
                Job::Io(io) => (work(io), None),
                Job::Close(file, owner) => {
                    drop(file);
                    (true, owner)
                }
            };
            queues = self.queues();
            queues.finish(storage);
            if let Some(owner) = closed
                && let Some(place) = queues.closing.iter().position(|one| *one == owner)
            {
                queues.closing.swap_remove(place);
            }
            drop(queues);
            // Another job of the storage may begin now.
            self.changed.notify_one();
            finished();
            if !goes_on {
                return;
            }
            queues = self.queues();
        }
    }
}

#[cfg(test)]
mod tests {
    use noxs_control::DiskIdentity;

    use super::*;

    fn owner(device: u64, inode: u64) -> Owner {
        Owner { identity: DiskIdentity::File { device, inode }, read_only: false }
    }

    fn push(queues: &mut Queues, device: u64) {
        let file = File::open("/dev/null").unwrap();
        let job = Job::Close(file, Some(owner(device, 1)));
        queues.push(Storage::FileSystem(device), job);
    }

    fn next(queues: &mut Queues) -> Option<u64> {
        match queues.next()?.0 {
            Storage::FileSystem(device) => Some(device),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn storage_that_does_not_answer_leaves_threads_to_others() {
        let mut queues = Queues::default();
        let mut taken = |device| {
            for _ in 0..THREADS {
                push(&mut queues, device);
            }
            std::iter::from_fn(|| next(&mut queues)).filter(|one| *one == device).count()
        };
        let shares = [1, 2, 3, 4, 5].map(&mut taken);
        assert_eq!(shares, [8, 4, 2, 1, 1]);
        assert_eq!(shares.iter().sum::<usize>(), THREADS);
    }

    #[test]
    fn storages_take_turns_and_keep_the_order_of_their_jobs() {
        let mut queues = Queues::default();
        for device in [1, 1, 2, 3, 1] {
            push(&mut queues, device);
        }
        let order: Vec<u64> = std::iter::from_fn(|| next(&mut queues)).collect();
        assert_eq!(order, [1, 2, 3, 1, 1]);
        for device in order {
            queues.finish(Storage::FileSystem(device));
        }
        assert!(queues.busy.is_empty() && queues.waiting.is_empty() && queues.turns.is_empty());
    }

    #[test]
    fn a_file_is_closing_until_a_thread_has_closed_it() {
        let workers = Workers::default();
        let (reader, writer) = std::io::pipe().unwrap();
        workers.close(File::from(std::os::fd::OwnedFd::from(writer)), Some(owner(1, 7)));
        assert!(workers.is_closing(|one| one == owner(1, 7)));
        assert!(!workers.is_closing(|one| one == owner(1, 8)));
        std::thread::scope(|scope| {
            scope.spawn(|| workers.run(|_| true, || workers.end()));
            // The pipe ends when its writer is closed.
            assert_eq!(std::io::read_to_string(reader).unwrap(), "");
        });
        assert!(!workers.is_closing(|_| true));
    }
}
