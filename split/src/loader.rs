// SPDX-License-Identifier: GPL-3.0-or-later
//! The loader threads: read and unpack kernels.
//!
//! To unpack a kernel takes seconds if it is large, in which the main thread serves others. Root's
//! kernels have a thread of their own, so that they do not wait for those of other users.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use chaos::image::{Image, ImageError, ImageKey, SizeLimit};
use mio::Waker;

use crate::members::ROOT;

/// The most kernels of a user other than root that are being read.
pub const LOADS_PER_USER: usize = 2;

/// A kernel to be read.
struct Load {
    ticket: u64,
    uid: u32,
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

/// A handle of the threads.
#[derive(Debug)]
pub struct Loader {
    root: Sender<Load>,
    members: Sender<Load>,
    done: Receiver<Loaded>,
    next_ticket: u64,
    /// The user of each kernel that is being read, by ticket.
    loading: HashMap<u64, u32>,
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
    /// The thread is gone.
    #[error("the thread that reads kernels has panicked; restart chaosd")]
    Thread,
}

impl Loader {
    /// Starts the threads. They wake the main thread with each kernel.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(waker: &Arc<Waker>) -> io::Result<Self> {
        let (finished, done) = channel();
        let start = |name: &str| -> io::Result<Sender<Load>> {
            let (orders, todo) = channel();
            let (finished, waker) = (finished.clone(), Arc::clone(waker));
            thread::Builder::new()
                .name(name.into())
                .spawn(move || work(&todo, &finished, &waker))?;
            Ok(orders)
        };
        let (root, members) = (start("load root")?, start("load members")?);
        Ok(Self { root, members, done, next_ticket: 0, loading: HashMap::new() })
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
        self.order_restart(uid, file, key, limit)
    }

    /// Orders a kernel as [`order`](Self::order) does, for a guest that is restarted: how often that
    /// happens is limited elsewhere.
    pub(crate) fn order_restart(
        &mut self,
        uid: u32,
        file: File,
        key: ImageKey,
        limit: SizeLimit,
    ) -> Result<u64, LoadRefusal> {
        let ticket = self.next_ticket;
        let thread = if uid == ROOT { &self.root } else { &self.members };
        thread.send(Load { ticket, uid, file, key, limit }).map_err(|_| LoadRefusal::Thread)?;
        self.next_ticket += 1;
        self.loading.insert(ticket, uid);
        Ok(ticket)
    }

    /// Returns a kernel that was read since the last call.
    pub(crate) fn take(&mut self) -> Option<Loaded> {
        let loaded = self.done.try_recv().ok()?;
        self.loading.remove(&loaded.ticket);
        Some(loaded)
    }

    /// Returns whether kernels are being read.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        !self.loading.is_empty()
    }
}

fn work(todo: &Receiver<Load>, finished: &Sender<Loaded>, waker: &Waker) {
    for Load { ticket, uid, file, key, limit } in todo {
        let result = Image::read(&file, key, limit);
        // If sending fails, the main thread is exiting.
        if finished.send(Loaded { ticket, uid, key, limit, result }).is_err()
            || waker.wake().is_err()
        {
            return;
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
            while let Some(loaded) = loader.take() {
                assert!(matches!(loaded.result, Err(ImageError::NotElf { .. })));
                reported.push((loaded.ticket, loaded.uid));
            }
        }
        reported.sort_unstable();
        let uids = [7, 7, 8, ROOT, ROOT, ROOT];
        assert_eq!(reported, tickets.into_iter().zip(uids).collect::<Vec<_>>());
        assert!(order(&mut loader, 7).is_ok());
    }
}
