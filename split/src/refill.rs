// SPDX-License-Identifier: GPL-3.0-or-later
//! The refill thread: prepares shells, and does work that can wait.
//!
//! It has its own Xen handle and connection to `noxsd`, and runs when no other program wants the
//! CPU.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread::{self, JoinHandle};

use chaos::domain::Mapped;
use chaos::guests::{self, Host, LifecycleError, ParkedAttachedShell, ShellKind};
use chaos::timings::Timings;
use mio::Waker;

use crate::idle;
use crate::pool::ShelfId;

/// An order to the thread.
#[derive(Debug)]
pub enum RefillOrder {
    /// Prepare a shell for this shelf.
    Prepare {
        /// The shelf.
        shelf: ShelfId,
        /// The kind of shell.
        kind: Arc<ShellKind>,
    },
    /// Destroy a shell.
    Destroy(Box<ParkedAttachedShell>),
    /// Unmap the memory of a guest.
    Unmap(Mapped),
}

/// The result of a [`RefillOrder::Prepare`].
#[derive(Debug)]
pub struct RefillOutcome {
    /// As in the order.
    pub shelf: ShelfId,
    /// The shell and how long it took in nanoseconds, or why it could not be prepared.
    pub result: Result<(Box<ParkedAttachedShell>, u64), LifecycleError>,
}

/// A handle of the thread.
#[derive(Debug)]
pub struct Refill {
    orders: Sender<RefillOrder>,
    outcomes: Receiver<RefillOutcome>,
    thread: JoinHandle<()>,
}

impl Refill {
    /// Starts the thread. It wakes the main thread with each outcome.
    ///
    /// # Errors
    /// The thread cannot be started, or cannot use Xen.
    pub fn start(waker: Arc<Waker>) -> Result<Self, RefillError> {
        let (orders, todo) = channel();
        let (done, outcomes) = channel();
        let (opened, ready) = channel();
        let thread = thread::Builder::new().name("refill".into()).spawn(move || {
            let host = match open() {
                Ok(host) => host,
                Err(error) => return drop(opened.send(Err(error))),
            };
            // Sending cannot fail: the main thread waits for this.
            let _ = opened.send(Ok(()));
            work(&host, &todo, &done, &waker);
        })?;
        match ready.recv() {
            Ok(Ok(())) => Ok(Self { orders, outcomes, thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RefillError::Thread(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Sends an order to the thread.
    ///
    /// # Errors
    /// The thread has panicked.
    pub fn order(&self, order: RefillOrder) -> Result<(), SendError<RefillOrder>> {
        self.orders.send(order)
    }

    /// Returns the outcomes so far.
    pub fn outcomes(&self) -> impl Iterator<Item = RefillOutcome> {
        self.outcomes.try_iter()
    }

    /// Waits until all orders are done, and returns the remaining outcomes.
    #[must_use]
    pub fn finish(self) -> Vec<RefillOutcome> {
        drop(self.orders);
        // A panic was logged already; the next chaosd removes the shells that the thread has left.
        let _ = self.thread.join();
        self.outcomes.try_iter().collect()
    }
}

/// Why the thread cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RefillError {
    /// The thread cannot be started, or its scheduling class cannot be set.
    #[error("cannot start the thread that refills the pool")]
    Thread(#[from] io::Error),
    /// Xen cannot be used.
    #[error(transparent)]
    Xen(#[from] LifecycleError),
}

fn open() -> Result<Host, RefillError> {
    idle::become_idle()?;
    Ok(Host::open_caching()?)
}

fn work(host: &Host, todo: &Receiver<RefillOrder>, done: &Sender<RefillOutcome>, waker: &Waker) {
    for order in todo {
        match order {
            RefillOrder::Prepare { shelf, kind } => {
                let result = prepare(host, &kind);
                let outcome = RefillOutcome { shelf, result };
                // If sending fails, the main thread is exiting.
                if done.send(outcome).is_err() || waker.wake().is_err() {
                    return;
                }
            }
            RefillOrder::Destroy(shell) => drop(shell.unpark(host)),
            RefillOrder::Unmap(mapped) => drop(mapped),
        }
    }
}

fn prepare(
    host: &Host,
    kind: &ShellKind,
) -> Result<(Box<ParkedAttachedShell>, u64), LifecycleError> {
    let mut timings = Timings::start();
    let shell = guests::prepare_shell(host, kind, &mut timings)?;
    Ok((Box::new(shell.park()), timings.total_ns()))
}
