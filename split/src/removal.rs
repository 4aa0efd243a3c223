// SPDX-License-Identifier: GPL-3.0-or-later
//! The removal thread: destroys guests that have ended and have much memory.
//!
//! Xen takes some 10 ms to free a GiB, so a large guest would keep the main thread from requests
//! for seconds.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use chaos::guests::{self, Host, LifecycleError};
use daemon::chain::chain;
use mio::Waker;
use xen::units::{DomId, DomainHandle, KiB};

/// Guests with at least this much memory are removed in the thread. Smaller ones take less than
/// the switch to another thread and back is worth.
pub const LARGE: KiB = KiB(256 << 10);

/// The removal of a guest that has ended.
#[derive(Debug)]
pub struct Removal {
    /// Its number.
    pub domid: DomId,
    /// Its handle.
    pub handle: DomainHandle,
    /// The guest to create afterwards, whose restart is pending.
    pub successor: Option<String>,
}

/// A handle of the thread.
#[derive(Debug)]
pub struct Removals {
    orders: Sender<Removal>,
    done: Receiver<Removal>,
}

impl Removals {
    /// Starts the thread. It wakes the main thread with each removal.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(waker: Arc<Waker>) -> io::Result<Self> {
        Self::start_with(waker, || {
            let host = Host::open();
            move |removal: &Removal| match &host {
                Ok(host) => remove(host, removal),
                Err(error) => {
                    tracing::error!("domain {} is kept as it is: {}", removal.domid, chain(error))
                }
            }
        })
    }

    pub(crate) fn start_with<F: FnMut(&Removal)>(
        waker: Arc<Waker>,
        open: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, todo) = channel::<Removal>();
        let (finished, done) = channel();
        // It ends with the process: the next chaosd finds a guest that is left.
        thread::Builder::new().name("removal".into()).spawn(move || {
            let mut remove = open();
            for removal in todo {
                remove(&removal);
                // If sending fails, the main thread is exiting.
                if finished.send(removal).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, done })
    }

    /// Orders a removal.
    pub(crate) fn order(&self, removal: Removal) {
        if self.orders.send(removal).is_err() {
            tracing::error!("the thread that removes guests has panicked; restart chaosd");
        }
    }

    /// Returns the removals that are done, whether they succeeded or not.
    pub(crate) fn done(&self) -> impl Iterator<Item = Removal> {
        self.done.try_iter()
    }
}

/// Removes the guest, if it still exists.
fn remove(host: &Host, removal: &Removal) {
    let removed = || -> Result<(), LifecycleError> {
        match guests::ended_guest(host, removal.domid)? {
            Some(guest) if guest.handle() == removal.handle => {
                guests::remove_ended(host, &guest).map(drop)
            }
            _ => Ok(()),
        }
    };
    match removed() {
        Ok(()) => tracing::info!("domain {} is destroyed", removal.domid),
        Err(error) => {
            tracing::error!("domain {} is kept as it is: {}", removal.domid, chain(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    #[test]
    fn the_main_thread_does_not_wait_for_a_removal() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
        let (go_on, wait) = sync_channel::<()>(0);
        let removals = Removals::start_with(waker, || move |_: &Removal| wait.recv().unwrap());
        let removals = removals.unwrap();
        let handle = DomainHandle([1; 16]);
        removals.order(Removal { domid: DomId(7), handle, successor: Some("a".into()) });
        assert_eq!(removals.done().count(), 0, "Xen is still busy");
        go_on.send(()).unwrap();
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        let done: Vec<_> = removals.done().collect();
        assert_eq!(done.len(), 1);
        assert_eq!((done[0].domid, done[0].successor.as_deref()), (DomId(7), Some("a")));
    }
}
