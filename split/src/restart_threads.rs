// SPDX-License-Identifier: GPL-3.0-or-later
//! Restarts of guests that programs of dom0 work for, each in a thread of its own: a script of a vif may
//! take 40 s, and qemu-nbd 30 s to open an image. The main thread serves requests meanwhile.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use chaos::config::DomainConfig;
use chaos::guests::{self, CreateOptions, GuestRequest, Host, LifecycleError};
use chaos::handle::DomainIdentity;
use chaos::image::{Image, ModuleFile};
use chaos::timings::Timings;
use mio::Waker;

/// The most guests that are created at once. The others follow in their order.
const AT_ONCE: usize = 4;

/// Creates a guest.
type Create<G> = dyn Fn(&G) -> Result<(DomainIdentity, Timings), LifecycleError> + Send + Sync;

/// A guest to create, with its files.
#[derive(Debug)]
pub(crate) struct OrderedGuest {
    /// Its config.
    pub(crate) config: DomainConfig,
    /// The kernel that Xen starts.
    pub(crate) image: Arc<Image>,
    /// The kernel that this one starts, if it is the PV shim.
    pub(crate) pv_kernel: Option<ModuleFile>,
    /// Its ramdisk.
    pub(crate) ramdisk: Option<ModuleFile>,
    /// The options.
    pub(crate) options: CreateOptions,
}

/// What has become of a restart.
#[derive(Debug)]
pub(crate) struct Restarted {
    /// The guest's name.
    pub(crate) name: String,
    /// The successor, and how long each stage took.
    pub(crate) result: Result<(DomainIdentity, Timings), LifecycleError>,
}

/// The threads, for guests of type `G`.
pub(crate) struct RestartThreads<G = OrderedGuest> {
    create: Arc<Create<G>>,
    waker: Option<Arc<Waker>>,
    sender: Sender<Restarted>,
    receiver: Receiver<Restarted>,
    running: usize,
    waiting: VecDeque<(String, G)>,
}

impl RestartThreads {
    /// Returns threads that wake the main thread.
    pub(crate) fn new(waker: Option<Arc<Waker>>) -> Self {
        Self::with(waker, Arc::new(create))
    }
}

impl<G: Send + 'static> RestartThreads<G> {
    fn with(waker: Option<Arc<Waker>>, create: Arc<Create<G>>) -> Self {
        let (sender, receiver) = channel();
        Self { create, waker, sender, receiver, running: 0, waiting: VecDeque::new() }
    }

    /// Orders a guest with this name.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn order(&mut self, name: String, guest: G) -> io::Result<()> {
        match self.running < AT_ONCE {
            true => self.start(name, guest),
            false => {
                self.waiting.push_back((name, guest));
                Ok(())
            }
        }
    }

    fn start(&mut self, name: String, guest: G) -> io::Result<()> {
        let (create, waker) = (Arc::clone(&self.create), self.waker.clone());
        let sender = self.sender.clone();
        // It ends with the process: the next chaosd removes an incomplete guest.
        thread::Builder::new().name("restart".into()).spawn(move || {
            let result = create(&guest);
            // If sending fails, the main thread is exiting.
            let _ = sender.send(Restarted { name, result });
            if let Some(waker) = waker {
                let _ = waker.wake();
            }
        })?;
        self.running += 1;
        Ok(())
    }

    /// Returns a restart that is done, whether it succeeded or not.
    pub(crate) fn done(&mut self) -> Option<Restarted> {
        let done = self.receiver.try_recv().ok()?;
        self.running -= 1;
        if let Some((name, next)) = self.waiting.pop_front()
            && let Err(error) = self.start(name.clone(), next)
        {
            let result = Err(LifecycleError::Process(error));
            self.running += 1;
            // The receiver is this one.
            let _ = self.sender.send(Restarted { name, result });
        }
        Some(done)
    }
}

impl<G> std::fmt::Debug for RestartThreads<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestartThreads").field("running", &self.running).finish_non_exhaustive()
    }
}

/// Creates a guest as the command does, without the pool.
fn create(guest: &OrderedGuest) -> Result<(DomainIdentity, Timings), LifecycleError> {
    let OrderedGuest { config, image, pv_kernel, ramdisk, options } = guest;
    let mut timings = Timings::start();
    let host = Host::open()?;
    let request = GuestRequest {
        config,
        image,
        pv_kernel: pv_kernel.as_ref(),
        ramdisk: ramdisk.as_ref(),
        disks: None,
        options: *options,
    };
    let created = guests::create_from(&host, &request, &mut timings)?;
    let identity = DomainIdentity { domid: created.domid, handle: created.record.handle };
    Ok((identity, timings))
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use xen::units::{DomId, DomainHandle};

    use super::*;

    #[test]
    fn the_main_thread_does_not_wait_and_few_restarts_run_at_once() {
        let (started, starts) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let (started, wait) = (Mutex::new(started), Mutex::new(wait));
        let create = move |number: &usize| {
            started.lock().unwrap().send(*number).unwrap();
            wait.lock().unwrap().recv().unwrap();
            match number {
                0 => Err(LifecycleError::Process(io::ErrorKind::NotFound.into())),
                _ => {
                    let identity =
                        DomainIdentity { domid: DomId(4), handle: DomainHandle([1; 16]) };
                    Ok((identity, Timings::start()))
                }
            }
        };
        let mut restarts = RestartThreads::with(None, Arc::new(create));
        for number in 0..=AT_ONCE {
            restarts.order(format!("g{number}"), number).unwrap();
        }
        assert!(restarts.done().is_none());
        let mut numbers: Vec<_> = starts.iter().take(AT_ONCE).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!((restarts.running, restarts.waiting.len()), (AT_ONCE, 1));
        let mut results = Vec::new();
        for _ in 0..=AT_ONCE {
            go.send(()).unwrap();
            let done = restarts.receiver.recv().unwrap();
            restarts.sender.send(done).unwrap();
            let Restarted { name, result } = restarts.done().unwrap();
            results.push((name, result.is_ok()));
        }
        assert_eq!(starts.recv().unwrap(), 4, "it follows the first one that is done");
        results.sort();
        let expected = ["g0", "g1", "g2", "g3", "g4"].map(|name| (name.to_owned(), name != "g0"));
        assert_eq!(results, expected);
        assert_eq!(restarts.running, 0);
    }
}
