// SPDX-License-Identifier: GPL-3.0-or-later
//! The loader threads: read and unpack kernels.
//!
//! To unpack a kernel takes seconds if it is large, and up to [`image`](chaos::image)'s limit of CPU
//! time if its author wants that. Meanwhile the main thread serves others. Root's kernels have a
//! thread of their own. Those of other users have two, of which a user takes one at most.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use chaos::image::{Image, ImageError, ImageKey, SizeLimit};
use mio::Waker;
use rustix::process::setpriority_process;

use crate::loads::Loads;
use crate::members::ROOT;

/// The most kernels of a user other than root that are being read or wait for that.
pub const LOADS_PER_USER: usize = 2;

/// The threads for users other than root. Each may take as much memory as a kernel of a member may
/// have (docs/chaosd.md adds it up).
const MEMBER_THREADS: usize = 2;

/// The nice value of these threads: on a host with few CPUs, their kernels take little time from the
/// main thread and root's kernels.
const MEMBER_NICE: i32 = 10;

/// Reads a kernel, as [`Image::read`].
type Read = dyn Fn(&File, ImageKey, SizeLimit) -> Result<Image, ImageError> + Send + Sync;

/// A kernel to be read.
#[derive(Debug)]
struct Load {
    ticket: u64,
    file: File,
    key: ImageKey,
    limit: SizeLimit,
}

/// A kernel that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The number that [`Loader::order`] returned.
    pub(crate) ticket: u64,
    /// The user whose guest it is for.
    pub(crate) uid: u32,
    /// The file.
    pub(crate) key: ImageKey,
    /// The most bytes that it might take.
    pub(crate) limit: SizeLimit,
    /// The kernel, or why it is refused.
    pub(crate) result: Result<Image, ImageError>,
}

/// A handle of the threads. When it is dropped, they end after the kernels that they are reading.
#[derive(Debug)]
pub struct Loader {
    root: Arc<Queue>,
    members: Arc<Queue>,
    done: Receiver<Loaded>,
    /// Kernels that were read and not taken yet: root's, and those of other users.
    loaded: [VecDeque<Loaded>; 2],
    next_ticket: u64,
    /// The user of each kernel that is being read or waits, by ticket.
    loading: HashMap<u64, u32>,
}

/// The kernels that wait for the same threads.
#[derive(Debug)]
struct Queue {
    /// The kernels; `None` when the threads are to end.
    loads: Mutex<Option<Loads<Load>>>,
    /// Signals that there may be a kernel to read.
    changed: Condvar,
}

/// What each thread has.
#[derive(Clone)]
struct Worker {
    queue: Arc<Queue>,
    finished: Sender<Loaded>,
    waker: Arc<Waker>,
    read: Arc<Read>,
}

/// Why a kernel is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadRefusal {
    /// The user has too many that are being read.
    #[error(
        "chaosd is reading {LOADS_PER_USER} kernels for user {uid} already, which is the maximum; \
         try again when one of these creates has ended"
    )]
    Quota {
        /// The user.
        uid: u32,
    },
}

impl Loader {
    /// Starts the threads. They wake the main thread with each kernel.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(waker: &Arc<Waker>) -> io::Result<Self> {
        Self::start_with(waker, Arc::new(Image::read))
    }

    fn start_with(waker: &Arc<Waker>, read: Arc<Read>) -> io::Result<Self> {
        let (finished, done) = channel();
        let start = |name: &str, threads, nice| -> io::Result<Arc<Queue>> {
            let queue = Arc::new(Queue::new());
            let (finished, waker) = (finished.clone(), Arc::clone(waker));
            let worker =
                Worker { queue: Arc::clone(&queue), finished, waker, read: Arc::clone(&read) };
            for _ in 0..threads {
                let worker = worker.clone();
                thread::Builder::new().name(name.into()).spawn(move || worker.run(nice))?;
            }
            Ok(queue)
        };
        let root = start("load root", 1, 0)?;
        let members = start("load members", MEMBER_THREADS, MEMBER_NICE)?;
        let loaded = [VecDeque::new(), VecDeque::new()];
        Ok(Self { root, members, done, loaded, next_ticket: 0, loading: HashMap::new() })
    }

    /// Orders that a kernel is read, and returns the number of the order.
    pub(crate) fn order(
        &mut self,
        uid: u32,
        file: File,
        key: ImageKey,
        limit: SizeLimit,
    ) -> Result<u64, LoadRefusal> {
        let own = self.loading.values().filter(|other| **other == uid).count();
        if uid != ROOT && own >= LOADS_PER_USER {
            return Err(LoadRefusal::Quota { uid });
        }
        Ok(self.order_restart(uid, file, key, limit))
    }

    /// Orders a kernel as [`order`](Self::order) does, for a guest that is restarted: how often that
    /// happens is limited elsewhere.
    pub(crate) fn order_restart(
        &mut self,
        uid: u32,
        file: File,
        key: ImageKey,
        limit: SizeLimit,
    ) -> u64 {
        let ticket = self.next_ticket;
        let queue = if uid == ROOT { &self.root } else { &self.members };
        queue.add(uid, Load { ticket, file, key, limit });
        self.next_ticket += 1;
        self.loading.insert(ticket, uid);
        ticket
    }

    /// Returns a kernel that was read: root's first, those of other users only if `of_members`.
    pub(crate) fn take(&mut self, of_members: bool) -> Option<Loaded> {
        for loaded in self.done.try_iter() {
            self.loaded[usize::from(loaded.uid != ROOT)].push_back(loaded);
        }
        let [root, members] = &mut self.loaded;
        let loaded =
            root.pop_front().or_else(|| if of_members { members.pop_front() } else { None })?;
        self.loading.remove(&loaded.ticket);
        Some(loaded)
    }

    /// Returns whether [`take`](Self::take) has left a kernel of a user other than root.
    pub(crate) fn has_of_members(&self) -> bool {
        !self.loaded[1].is_empty()
    }

    /// Returns whether kernels are being read.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        !self.loading.is_empty()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.root.stop();
        self.members.stop();
    }
}

impl Queue {
    fn new() -> Self {
        Self { loads: Mutex::new(Some(Loads::default())), changed: Condvar::new() }
    }

    fn add(&self, uid: u32, load: Load) {
        if let Some(loads) = &mut *self.lock() {
            loads.add(uid, load);
        }
        self.changed.notify_one();
    }

    /// Waits for a kernel to read, and returns it with its user. `None` if the thread is to end.
    fn next(&self) -> Option<(u32, Load)> {
        let mut loads = self.lock();
        loop {
            if let Some(next) = loads.as_mut()?.next() {
                return Some(next);
            }
            loads = self.changed.wait(loads).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that the kernel of a user was read.
    fn end(&self, uid: u32) {
        if let Some(loads) = &mut *self.lock() {
            loads.end(uid);
        }
        // The user's next kernel may be read now, by any thread.
        self.changed.notify_all();
    }

    fn stop(&self) {
        *self.lock() = None;
        self.changed.notify_all();
    }

    /// Returns the kernels. They are consistent also if a thread has panicked: no thread does so
    /// while it has them.
    fn lock(&self) -> MutexGuard<'_, Option<Loads<Load>>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Reads kernels until the thread is to end. `nice` is its nice value.
    fn run(&self, nice: i32) {
        if nice > 0
            && let Err(error) = setpriority_process(None, nice)
        {
            tracing::warn!("cannot lower the priority of a thread that reads kernels: {error}");
        }
        while let Some((uid, Load { ticket, file, key, limit })) = self.queue.next() {
            let result = (self.read)(&file, key, limit);
            // Closed before the user's next kernel is read: it may be the last reference to a file.
            drop(file);
            self.queue.end(uid);
            // If sending fails, the main thread is exiting.
            if self.finished.send(Loaded { ticket, uid, key, limit, result }).is_err()
                || self.waker.wake().is_err()
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    #[test]
    fn a_user_has_few_kernels_that_are_being_read_and_each_is_reported() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
        let mut loader = Loader::start(&waker).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"not a kernel").unwrap();
        let key = ImageKey::of(&file).unwrap();
        let order = |loader: &mut Loader, uid| {
            loader.order(uid, file.try_clone().unwrap(), key, SizeLimit::MOST)
        };
        let tickets: Vec<_> = [7, 7, 8, ROOT, ROOT, ROOT]
            .into_iter()
            .map(|uid| order(&mut loader, uid).unwrap())
            .collect();
        assert_eq!(order(&mut loader, 7), Err(LoadRefusal::Quota { uid: 7 }));
        let mut reported = Vec::new();
        let mut events = Events::with_capacity(1);
        while loader.is_loading() {
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "a thread has stopped");
            while let Some(loaded) = loader.take(true) {
                assert!(matches!(loaded.result, Err(ImageError::NotElf { .. })));
                reported.push((loaded.ticket, loaded.uid));
            }
        }
        reported.sort_unstable();
        let uids = [7, 7, 8, ROOT, ROOT, ROOT];
        assert_eq!(reported, tickets.into_iter().zip(uids).collect::<Vec<_>>());
        assert!(order(&mut loader, 7).is_ok());
    }

    #[test]
    fn slow_kernels_of_a_user_keep_no_other_user_waiting() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
        let (gate, closed) = channel::<()>();
        let closed = Mutex::new(closed);
        // A kernel of four bytes takes until the gate opens.
        let read = move |_: &File, key: ImageKey, _: SizeLimit| {
            if key.size == 4 {
                assert!(closed.lock().unwrap().recv().is_ok());
            }
            Err(ImageError::Empty)
        };
        let mut loader = Loader::start_with(&waker, Arc::new(read)).unwrap();
        let order = |loader: &mut Loader, uid, bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let key = ImageKey::of(&file).unwrap();
            loader.order(uid, file, key, SizeLimit::MOST).unwrap()
        };
        let mut events = Events::with_capacity(1);
        let mut take = |loader: &mut Loader| loop {
            if let Some(loaded) = loader.take(true) {
                return loaded.ticket;
            }
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "it waits for the slow kernels");
        };
        let slow = [order(&mut loader, 7, b"slow"), order(&mut loader, 7, b"slow")];
        for uid in [8, ROOT, 9, 8, 8] {
            let ticket = order(&mut loader, uid, b"fast one");
            assert_eq!(take(&mut loader), ticket);
        }
        for ticket in slow {
            gate.send(()).unwrap();
            assert_eq!(take(&mut loader), ticket);
        }
    }
}
