//! The other thread: makes shells, and does what may wait.
//!
//! It has a hand on Xen and a connection to `noxsd` of its own, and runs only when no other program
//! wants the CPU.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread::{self, JoinHandle};

use chaos::chain::chain;
use chaos::domain::Mapped;
use chaos::guests::{self, Host, LifecycleError, ParkedAttachedShell, ShellKind};
use chaos::timings::Timings;
use mio::Waker;

use crate::idle;

/// What the thread is to do.
#[derive(Debug)]
pub enum Order {
    /// Make a shell for this shelf.
    Make {
        /// Which generation of the settings the shelf belongs to.
        generation: u64,
        /// The shelf's number.
        shelf: usize,
        /// What it is to be.
        kind: Arc<ShellKind>,
    },
    /// Take a shell away.
    Destroy(Box<ParkedAttachedShell>),
    /// Unmap what a guest was filled through.
    Unmap(Mapped),
}

/// What has come of an [`Order::Make`].
#[derive(Debug)]
pub struct Outcome {
    /// As in the order.
    pub generation: u64,
    /// As in the order.
    pub shelf: usize,
    /// The shell and how long it took in nanoseconds, or why there is none.
    pub result: Result<(Box<ParkedAttachedShell>, u64), String>,
}

/// The thread.
#[derive(Debug)]
pub struct Refill {
    orders: Sender<Order>,
    outcomes: Receiver<Outcome>,
    thread: JoinHandle<()>,
}

impl Refill {
    /// Starts the thread. It wakes the main one with each outcome.
    ///
    /// # Errors
    /// There is no thread, or it cannot use Xen.
    pub fn start(waker: Waker) -> Result<Self, RefillError> {
        let (orders, todo) = channel();
        let (done, outcomes) = channel();
        let (opened, ready) = channel();
        let thread = thread::Builder::new().name("refill".into()).spawn(move || {
            let host = match open() {
                Ok(host) => host,
                Err(error) => return drop(opened.send(Err(error))),
            };
            // The main thread waits for this: it is there.
            let _ = opened.send(Ok(()));
            work(&host, &todo, &done, &waker);
        })?;
        match ready.recv() {
            Ok(Ok(())) => Ok(Self { orders, outcomes, thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RefillError::Thread(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Gives the thread something to do.
    ///
    /// # Errors
    /// The thread has ended, which it never does by itself.
    pub fn order(&self, order: Order) -> Result<(), SendError<Order>> {
        self.orders.send(order)
    }

    /// What has come of orders meanwhile.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.outcomes.try_iter()
    }

    /// Waits until all orders are done, and gives what has come of them.
    #[must_use]
    pub fn finish(self) -> Vec<Outcome> {
        drop(self.orders);
        // A panic has been reported; what the thread has made is found in Xen by the next chaosd.
        let _ = self.thread.join();
        self.outcomes.try_iter().collect()
    }
}

/// Why the thread does not start.
#[derive(Debug, thiserror::Error)]
pub enum RefillError {
    /// No thread, or no way to step back behind other programs.
    #[error("cannot start the thread that fills the pool")]
    Thread(#[from] io::Error),
    /// No Xen.
    #[error(transparent)]
    Xen(#[from] LifecycleError),
}

fn open() -> Result<Host, RefillError> {
    idle::become_idle()?;
    Ok(Host::open_caching()?)
}

fn work(host: &Host, todo: &Receiver<Order>, done: &Sender<Outcome>, waker: &Waker) {
    for order in todo {
        match order {
            Order::Make { generation, shelf, kind } => {
                let outcome = Outcome { generation, shelf, result: make(host, &kind) };
                // Whoever does not listen any more is about to end, and the shells with it.
                if done.send(outcome).is_err() || waker.wake().is_err() {
                    return;
                }
            }
            Order::Destroy(shell) => drop(shell.unpark(host)),
            Order::Unmap(mapped) => drop(mapped),
        }
    }
}

fn make(host: &Host, kind: &ShellKind) -> Result<(Box<ParkedAttachedShell>, u64), String> {
    let mut timings = Timings::start();
    let shell = guests::prepare_shell(host, kind, &mut timings).map_err(|error| chain(&error))?;
    Ok((Box::new(shell.park()), timings.total_ns()))
}
