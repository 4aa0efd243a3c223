// SPDX-License-Identifier: GPL-3.0-or-later
//! The ready shells: the pool, and the thread that refills it.

use std::sync::Arc;

use chaos::clients::chaosd::protocol::{self, FlavourStatus, Origin, Reply};
use chaos::config::DomainConfig;
use chaos::guests::{self, Host, LifecycleError, ParkedAttachedShell, ShellKind};
use chaos::image::Image;
use daemon::chain::chain;
use xen::units::KiB;

use crate::pool::{Pool, PoolMarks, Shelf, ShellFit, Taker};
use crate::refill::{Refill, RefillOrder, RefillOutcome};
use crate::settings::Settings;

/// The pool, the properties of its shells, and the thread that prepares and destroys them.
#[derive(Debug)]
pub(crate) struct Stock {
    pool: Pool<Box<ParkedAttachedShell>>,
    /// The kind of each shelf's shells, in the shelves' order.
    kinds: Vec<Arc<ShellKind>>,
    /// The path of each shelf's kernel, if its shells hold one.
    kernels: Vec<Option<String>>,
    /// Counts changes of the settings: a shell that was ordered before the last one is destroyed.
    generation: u64,
    refill: Refill,
    /// Why the last shell could not be prepared, as logged. No more shells are ordered until
    /// something has changed.
    error: Option<String>,
}

impl Stock {
    /// Returns an empty stock.
    #[must_use]
    pub(crate) fn new(refill: Refill) -> Self {
        let pool = Pool::new(KiB(0), Vec::new());
        let (kinds, kernels) = (Vec::new(), Vec::new());
        Self { pool, kinds, kernels, generation: 0, refill, error: None }
    }

    /// Replaces the flavours, and destroys the shells of the old ones.
    ///
    /// # Errors
    /// A flavour's kernel cannot be used; nothing has changed then.
    pub(crate) fn configure(
        &mut self,
        host: &Host,
        settings: &Settings,
    ) -> Result<(), LifecycleError> {
        let mut kinds = Vec::new();
        let mut kernels = Vec::new();
        let mut shelves = Vec::new();
        for flavour in &settings.flavours {
            let mut kind = flavour.shell();
            if let Some(path) = &flavour.kernel {
                let image = host
                    .image(path, flavour.memory)
                    .map_err(|source| LifecycleError::Kernel { path: path.clone(), source })?;
                guests::check_flavour(&kind.flavour, path, &image)?;
                kind.image = Some(image);
            }
            let fit = ShellFit { flavour: kind.flavour, bridges: kind.bridges.clone() };
            let marks = PoolMarks { low: flavour.low, high: flavour.high };
            kinds.push(Arc::new(kind));
            kernels.push(flavour.kernel.as_ref().map(|path| path.display().to_string()));
            shelves.push(Shelf::new(flavour.name.clone(), fit, marks));
        }
        self.drain();
        self.pool = Pool::new(settings.memory, shelves);
        (self.kinds, self.kernels) = (kinds, kernels);
        self.generation += 1;
        self.error = None;
        self.restock();
        Ok(())
    }

    /// Takes the shells that the thread has prepared.
    pub(crate) fn collect(&mut self) {
        let outcomes: Vec<RefillOutcome> = self.refill.outcomes().collect();
        for RefillOutcome { generation, shelf, result } in outcomes {
            let current = generation == self.generation;
            match result {
                Ok((shell, took_ns)) => {
                    let surplus =
                        if current { self.pool.put(shelf, shell, took_ns) } else { Some(shell) };
                    match surplus {
                        Some(shell) => self.order(RefillOrder::Destroy(shell)),
                        None => self.log_if_full(shelf),
                    }
                }
                Err(error) if current => {
                    self.pool.failed(shelf);
                    let error = chain(&error);
                    if self.error.as_ref() != Some(&error) {
                        tracing::warn!(
                            "cannot refill the pool: {error}; chaosd tries again with the next \
                             request, or when a guest exits"
                        );
                    }
                    self.error = Some(error);
                }
                Err(_) => {}
            }
        }
    }

    fn log_if_full(&self, shelf: usize) {
        let shelf = &self.pool.shelves()[shelf];
        if shelf.ready() == shelf.marks.high {
            tracing::info!("flavour {} is full: {} shells", shelf.name, shelf.ready());
        }
    }

    /// Notes that something has changed: preparing a shell may succeed now.
    pub(crate) fn clear_error(&mut self) {
        self.error = None;
    }

    /// Returns whether the last shell could not be prepared, and nothing has changed since.
    #[must_use]
    pub(crate) fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// Orders one shell, if one is missing and none is being prepared: by the time it is ready,
    /// another flavour may need a shell most.
    pub(crate) fn restock(&mut self) {
        if self.pool.shelves().iter().any(|shelf| shelf.preparing() > 0) {
            return;
        }
        if let Some(shelf) = self.pool.order() {
            let kind = Arc::clone(&self.kinds[shelf]);
            self.order(RefillOrder::Prepare { generation: self.generation, shelf, kind });
        }
    }

    /// Takes a shell that fits: one that holds the image, or else one that holds none.
    pub(crate) fn take(
        &mut self,
        config: &DomainConfig,
        image: &Arc<Image>,
        taker: Taker,
    ) -> (Option<Box<ParkedAttachedShell>>, Origin) {
        let kind = guests::shell_kind(config);
        let fit = ShellFit { flavour: kind.flavour, bridges: kind.bridges };
        let kinds = &self.kinds;
        let warm =
            |shelf: usize| kinds[shelf].image.as_ref().is_some_and(|held| Arc::ptr_eq(held, image));
        let plain = |shelf: usize| kinds[shelf].image.is_none();
        if let Some(shell) = self.pool.take(&fit, taker, warm) {
            return (Some(shell), Origin::Warm);
        }
        if let Some(shell) = self.pool.take(&fit, taker, plain) {
            return (Some(shell), Origin::Pool);
        }
        self.pool.miss(&fit, |shelf| warm(shelf) || plain(shelf));
        (None, Origin::Cold)
    }

    /// Returns the reply that says what the pool holds, one entry per flavour, without the first
    /// `from`.
    #[must_use]
    pub(crate) fn status_from(&self, from: u32) -> Reply {
        fitting(
            self.status()
                .split_off(usize::try_from(from).unwrap_or(usize::MAX).min(self.kinds.len())),
        )
    }

    /// Returns what the pool holds, one entry per flavour.
    fn status(&self) -> Vec<FlavourStatus> {
        let shelves = self.pool.shelves().iter().zip(&self.kernels);
        shelves
            .map(|(shelf, kernel)| FlavourStatus {
                name: shelf.name.clone(),
                memory_kib: shelf.fit.flavour.memory.0,
                vcpus: shelf.fit.flavour.vcpus,
                console: shelf.fit.flavour.console,
                bridges: shelf.fit.bridges.clone(),
                disks: shelf.fit.flavour.disks,
                kernel: kernel.clone(),
                low: shelf.marks.low,
                high: shelf.marks.high,
                ready: shelf.ready(),
                creating: shelf.preparing(),
                hits: shelf.hits,
                misses: shelf.misses,
                refill_ns: shelf.refill_ns,
            })
            .collect()
    }

    /// Changes the marks of a flavour and destroys surplus shells. Returns `false` if there is no
    /// such flavour.
    #[must_use]
    pub(crate) fn resize(&mut self, flavour: &str, marks: PoolMarks) -> bool {
        let Some(surplus) = self.pool.resize(flavour, marks) else { return false };
        for shell in surplus {
            self.order(RefillOrder::Destroy(shell));
        }
        true
    }

    /// Destroys all ready shells at once, because a guest needs their memory. Returns how many there
    /// were. The pool is refilled later.
    pub(crate) fn give_up(&mut self, host: &Host) -> usize {
        let shells = self.pool.take_all();
        let count = shells.len();
        for shell in shells {
            drop(shell.unpark(host));
        }
        count
    }

    /// Destroys all shells, and orders no new ones until the next resize.
    pub(crate) fn drain(&mut self) {
        for shell in self.pool.drain() {
            self.order(RefillOrder::Destroy(shell));
        }
    }

    /// Destroys all shells and waits until they are gone. Guests keep running.
    pub(crate) fn shut_down(mut self, host: &Host) {
        self.drain();
        for outcome in self.refill.finish() {
            if let Ok((shell, _)) = outcome.result {
                drop(shell.unpark(host));
            }
        }
    }

    /// Sends an order to the refill thread.
    pub(crate) fn order(&self, order: RefillOrder) {
        if self.refill.order(order).is_err() {
            tracing::error!("the thread that refills the pool has panicked; restart chaosd");
        }
    }
}

/// Returns a reply with as many of these flavours as fit in a packet.
fn fitting(mut flavours: Vec<FlavourStatus>) -> Reply {
    let mut more = false;
    loop {
        let reply = Reply::Pool { flavours, more };
        if protocol::encode(&reply).is_some() {
            return reply;
        }
        let Reply::Pool { flavours: all, .. } = reply else { return reply };
        flavours = all;
        // One that does not fit alone is sent all the same: the server then refuses the request.
        if flavours.len() <= 1 {
            return Reply::Pool { flavours, more };
        }
        flavours.truncate(flavours.len() / 2);
        more = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(number: usize) -> FlavourStatus {
        FlavourStatus {
            name: format!("flavour-{number}"),
            memory_kib: 8192,
            vcpus: 1,
            console: true,
            bridges: vec!["xenbr0".into()],
            disks: 1,
            kernel: Some(format!("/srv/{}", "k".repeat(200))),
            low: 1,
            high: 2,
            ready: 2,
            creating: 0,
            hits: 0,
            misses: 0,
            refill_ns: 1_000_000,
        }
    }

    #[test]
    fn many_flavours_are_reported_in_several_packets() {
        let all: Vec<_> = (0..300).map(status).collect();
        let mut reported = Vec::new();
        loop {
            let reply = fitting(all[reported.len()..].to_vec());
            assert!(protocol::encode(&reply).is_some(), "it fits in a packet");
            let Reply::Pool { flavours, more } = reply else { panic!("{reply:?}") };
            assert!(!flavours.is_empty());
            reported.extend(flavours);
            if !more {
                break;
            }
        }
        assert_eq!(reported, all);
        assert_eq!(fitting(Vec::new()), Reply::Pool { flavours: Vec::new(), more: false });
    }
}
