// SPDX-License-Identifier: GPL-3.0-or-later
//! The removal thread: destroys guests that have ended and have much memory, vifs with scripts, or disk
//! images that qemu-nbd serves. Those whose core is written come to it from the thread that does that.
//!
//! Xen takes some 10 ms to free a GiB, so a large guest would keep the main thread from requests
//! for seconds, a script up to 40 s, and an image as long as its storage takes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread;

use chaos::guests::{self, EndedDomain, Host, LifecycleError};
use daemon::chain::chain;
use mio::Waker;
use xen::units::KiB;

use crate::dumps;

/// Guests with at least this much memory are removed in the thread. Smaller ones take less than
/// the switch to another thread and back is worth.
pub const LARGE: KiB = KiB(256 << 10);

/// The removal of a guest that has ended.
#[derive(Debug)]
pub struct Removal {
    /// Its domain.
    pub ended: EndedDomain,
    /// The user whose guest it is.
    pub owner: u32,
    /// The guest to create afterwards, whose restart is pending.
    pub successor: Option<String>,
    /// Whether its memory is written to a file before.
    pub dumps_core: bool,
    /// Whether it is renamed and kept, so that its successor can have its name. Only its devices are
    /// removed.
    pub renames: bool,
}

/// What has become of a removal.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) removal: Removal,
    /// How it went; `None` if it is left to the main thread, because the thread cannot use Xen.
    pub(crate) result: Option<Result<(), LifecycleError>>,
}

/// A handle of the thread.
#[derive(Debug)]
pub struct Removals {
    orders: Sender<Removal>,
    /// Those whose core is written before.
    dumps: Sender<Removal>,
    done: Receiver<Done>,
}

impl Removals {
    /// Starts the thread. It wakes the main thread with each removal.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(waker: Arc<Waker>) -> io::Result<Self> {
        Self::start_with(waker, || {
            let host = Host::open();
            if let Err(error) = &host {
                tracing::warn!(
                    "large guests are removed in the main thread, which delays requests, until \
                     chaosd is restarted: {}",
                    chain(error)
                );
            }
            move |removal: &Removal| host.as_ref().ok().map(|host| remove(host, removal))
        })
    }

    /// Starts the thread with what it does for each removal, which returns `None` to leave it to the
    /// main thread.
    pub(crate) fn start_with<F: FnMut(&Removal) -> Option<Result<(), LifecycleError>>>(
        waker: Arc<Waker>,
        open: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, todo) = channel::<Removal>();
        let dumps = dumps::start(orders.clone())?;
        let (finished, done) = channel();
        // It ends with the process: the next chaosd finds a guest that is left.
        thread::Builder::new().name("removal".into()).spawn(move || {
            let mut remove = open();
            for removal in todo {
                let result = remove(&removal);
                // If sending fails, the main thread is exiting.
                if finished.send(Done { removal, result }).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, dumps, done })
    }

    /// Orders a removal. Returns it if the thread is gone.
    pub(crate) fn order(&self, removal: Removal) -> Option<Removal> {
        let first = if removal.dumps_core { &self.dumps } else { &self.orders };
        let SendError(removal) = first.send(removal).err()?;
        tracing::error!("the thread that removes guests has panicked; restart chaosd");
        Some(removal)
    }

    /// Returns the removals that are done, whether they succeeded or not, or left.
    pub(crate) fn done(&self) -> impl Iterator<Item = Done> {
        self.done.try_iter()
    }
}

/// Removes the guest, if it still exists, or renames it.
///
/// # Errors
/// Xen refuses, or a command does not finish to change its devices within 10 s.
pub(crate) fn remove(host: &Host, removal: &Removal) -> Result<(), LifecycleError> {
    let EndedDomain { domid, handle, .. } = removal.ended;
    let guest = match guests::settled_ended_guest(host, domid)? {
        Some(guest) if guest.handle() == handle => guest,
        _ => return Ok(()),
    };
    let warning = match removal.renames {
        false => guests::remove_ended(host, &guest)?.warning,
        true => {
            let guests::Renamed { name, warning } = guests::rename_ended(host, &guest)?;
            tracing::info!("domain {domid} is kept as {name}");
            warning
        }
    };
    if let Some(warning) = warning {
        tracing::warn!("domain {domid}: {warning}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use chaos::guests::GuestState;
    use xen::units::{DomId, DomainHandle};

    use super::*;

    fn removal(successor: Option<&str>) -> Removal {
        let (domid, handle) = (DomId(7), DomainHandle([1; 16]));
        let ended = EndedDomain { domid, handle, state: GuestState::Rebooted };
        Removal {
            ended,
            owner: 0,
            successor: successor.map(str::to_owned),
            dumps_core: false,
            renames: false,
        }
    }

    #[test]
    fn the_main_thread_does_not_wait_for_a_removal() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
        let (go_on, wait) = sync_channel::<()>(0);
        let removals = Removals::start_with(waker, || {
            move |_: &Removal| {
                wait.recv().unwrap();
                Some(Ok(()))
            }
        });
        let removals = removals.unwrap();
        let removal = removal(Some("a"));
        assert!(removals.order(removal).is_none());
        assert_eq!(removals.done().count(), 0, "Xen is still busy");
        go_on.send(()).unwrap();
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        let done: Vec<_> = removals.done().collect();
        assert_eq!(done.len(), 1);
        let Done { removal, result } = &done[0];
        assert_eq!((removal.ended.domid, removal.successor.as_deref()), (DomId(7), Some("a")));
        assert!(matches!(result, Some(Ok(()))));
    }

    #[test]
    fn a_removal_that_the_thread_cannot_carry_out_comes_back() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
        let removals = Removals::start_with(Arc::clone(&waker), || |_: &Removal| None).unwrap();
        assert!(removals.order(removal(None)).is_none());
        poll.poll(&mut Events::with_capacity(1), Some(Duration::from_secs(10))).unwrap();
        assert!(removals.done().next().unwrap().result.is_none());

        let panics = |_: &Removal| panic!("as a defect would");
        let removals = Removals::start_with(waker, move || panics).unwrap();
        let came_back = std::iter::repeat_with(|| removals.order(removal(None))).flatten().next();
        assert_eq!(came_back.unwrap().ended.domid, DomId(7));
    }
}
