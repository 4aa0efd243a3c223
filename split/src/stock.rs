// SPDX-License-Identifier: GPL-3.0-or-later
//! The ready shells: the pool, and the thread that refills it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use chaos::clients::chaosd::protocol::{self, FlavourStatus, Origin, Reply};
use chaos::config::{DomainConfig, check_name};
use chaos::guests::{self, Host, LifecycleError, ParkedAttachedShell, ShellKind};
use chaos::image::Image;
use daemon::chain::chain;
use xen::units::KiB;

use crate::demand::Demand;
use crate::pool::{Pool, PoolMarks, Shelf, ShelfId, ShellFit, Taker};
use crate::refill::{Refill, RefillOrder, RefillOutcome};
use crate::settings::Settings;

/// Without a limit in the settings, all shells together hold at most this part of the memory that is
/// free when they are read.
const SHARE: u64 = 16;

/// And no more than this.
const MOST_WITHOUT_FILE: KiB = KiB(512 << 10);

/// What the shells of a shelf are.
#[derive(Clone, Debug)]
struct Kept {
    kind: Arc<ShellKind>,
    /// Their kernel, if they hold one.
    kernel: Option<PathBuf>,
    /// Whether no flavour of the settings names them: they are kept because they were asked for.
    is_learned: bool,
}

impl Kept {
    fn fits(&self, fit: &ShellFit) -> bool {
        self.kind.flavour == fit.flavour && self.kind.bridges == fit.bridges
    }

    fn holds(&self, image: &Arc<Image>) -> bool {
        self.kind.image.as_ref().is_some_and(|held| Arc::ptr_eq(held, image))
    }

    fn is_plain(&self) -> bool {
        self.kind.image.is_none()
    }

    fn fit(&self) -> ShellFit {
        ShellFit { flavour: self.kind.flavour, bridges: self.kind.bridges.clone() }
    }
}

/// The pool, the properties of its shells, and the thread that prepares and destroys them.
#[derive(Debug)]
pub(crate) struct Stock {
    pool: Pool<Box<ParkedAttachedShell>>,
    /// What each shelf has, in the shelves' order.
    kept: Vec<Kept>,
    /// What root has asked for that no flavour names.
    demand: Demand<Kept>,
    /// The memory for the shells of these kinds; 0 if none are kept.
    budget: KiB,
    /// When to adapt the number of these shells: as soon as there was a request, or when fewer are
    /// wanted.
    adapt_at: Option<Instant>,
    refill: Refill,
    /// Why the last shell could not be prepared, as logged. No more shells are ordered until
    /// something has changed.
    error: Option<String>,
}

impl Stock {
    /// Returns an empty stock.
    #[must_use]
    pub(crate) fn new(refill: Refill) -> Self {
        Self {
            pool: Pool::new(KiB(0), Vec::new()),
            kept: Vec::new(),
            demand: Demand::default(),
            budget: KiB(0),
            adapt_at: None,
            refill,
            error: None,
        }
    }

    /// Replaces the flavours, and destroys the shells of the old ones.
    ///
    /// # Errors
    /// A flavour's kernel cannot be used, or Xen does not say how much memory is free; nothing has
    /// changed then.
    pub(crate) fn configure(
        &mut self,
        host: &Host,
        settings: &Settings,
    ) -> Result<(), LifecycleError> {
        let mut kept = Vec::new();
        let mut shelves = Vec::new();
        let mut named = 0;
        for flavour in &settings.flavours {
            let mut kind = flavour.shell();
            if let Some(path) = &flavour.kernel {
                let image = host
                    .image(path, flavour.memory)
                    .map_err(|source| LifecycleError::Kernel { path: path.clone(), source })?;
                guests::check_flavour(&kind.flavour, path, &image)?;
                kind.image = Some(image);
            }
            let (kind, kernel) = (Arc::new(kind), flavour.kernel.clone());
            let flavours = Kept { kind, kernel, is_learned: false };
            let marks = PoolMarks { low: flavour.low, high: flavour.high };
            let most = flavour.memory.0.saturating_mul(flavour.high.into());
            named = u64::saturating_add(named, most);
            shelves.push(Shelf::new(flavour.name.clone(), flavours.fit(), marks));
            kept.push(flavours);
        }
        let memory = match settings.memory {
            Some(memory) => memory,
            None => KiB(host.xen.physinfo()?.free.to_kib().0 / SHARE).min(MOST_WITHOUT_FILE),
        };
        self.destroy_all();
        self.pool = Pool::new(memory, shelves);
        self.kept = kept;
        self.budget = KiB(if settings.learn { memory.0.saturating_sub(named) } else { 0 });
        // What was asked for is still known.
        self.adapt_at = Some(Instant::now());
        self.error = None;
        self.restock();
        Ok(())
    }

    /// Counts a request that no flavour of the settings is for.
    fn learn(&mut self, fit: &ShellFit, image: &Arc<Image>, kernel: &Path, is_unique: bool) {
        let is_named = |kept: &Kept| {
            !kept.is_learned && kept.fits(fit) && (kept.is_plain() || kept.holds(image))
        };
        if self.budget.0 < fit.flavour.memory.0 || self.kept.iter().any(is_named) {
            return;
        }
        let now = Instant::now();
        // A kernel that was another one before will be another one next time, too: it was built anew, or
        // it is a copy that was made for this request. Shells without a kernel serve all of them.
        let plain = |kept: &Kept| kept.fits(fit) && kept.is_plain();
        let stale = |kept: &Kept| {
            kept.fits(fit) && !kept.holds(image) && kept.kernel.as_deref() == Some(kernel)
        };
        let is_plain = is_unique || self.demand.knows(plain) || self.demand.forget(stale);
        let warm = |kept: &Kept| kept.fits(fit) && kept.holds(image);
        let is_asked = |kept: &Kept| if is_plain { plain(kept) } else { warm(kept) };
        self.demand.asked(now, is_asked, || {
            let ShellFit { flavour, bridges } = fit.clone();
            let image = (!is_plain).then(|| Arc::clone(image));
            let kernel = (!is_plain).then(|| kernel.to_owned());
            let kind = Arc::new(ShellKind { flavour, bridges, image });
            (Kept { kind, kernel, is_learned: true }, flavour.memory)
        });
        self.adapt_at = Some(now);
    }

    /// Returns when to call [`adapt`](Self::adapt).
    #[must_use]
    pub(crate) fn adapt_at(&self) -> Option<Instant> {
        self.adapt_at
    }

    /// Keeps as many shells of the kinds that no flavour names as were asked for.
    pub(crate) fn adapt(&mut self, now: Instant) {
        let wanted = self.demand.shells(self.budget, now);
        let wanted: Vec<(Kept, u32)> =
            wanted.into_iter().map(|(kept, count)| (kept.clone(), count)).collect();
        self.adapt_at = self.demand.falls(now);
        let mut surplus = Vec::new();
        for index in (0..self.kept.len()).rev() {
            let kept = &self.kept[index];
            let is_same = |(other, _): &(Kept, u32)| Arc::ptr_eq(&other.kind, &kept.kind);
            if kept.is_learned && !wanted.iter().any(is_same) {
                surplus.extend(self.pool.remove(index));
                self.kept.remove(index);
            }
        }
        for (kept, count) in wanted {
            let marks = PoolMarks { low: count, high: count };
            let has = |other: &Kept| Arc::ptr_eq(&other.kind, &kept.kind);
            match self.kept.iter().position(has) {
                Some(index) => surplus.extend(self.pool.resize(index, marks)),
                None => {
                    let name = self.free_name(kept.kernel.as_deref());
                    self.pool.add(Shelf::new(name, kept.fit(), marks));
                    self.kept.push(kept);
                }
            }
        }
        for shell in surplus {
            self.order(RefillOrder::Destroy(shell));
        }
        self.restock();
    }

    /// Returns a name for a flavour that the settings do not name: that of its kernel.
    fn free_name(&self, kernel: Option<&Path>) -> String {
        let stem = kernel
            .and_then(|path| path.file_name()?.to_str())
            .filter(|name| check_name(name).is_ok())
            .unwrap_or("learned");
        let is_free = |name: &String| self.pool.shelves().iter().all(|shelf| shelf.name != *name);
        let numbered = (2..=u32::MAX).map(|number| format!("{stem}-{number}"));
        std::iter::once(stem.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
    }

    /// Takes the shells that the thread has prepared.
    pub(crate) fn collect(&mut self) {
        let outcomes: Vec<RefillOutcome> = self.refill.outcomes().collect();
        for RefillOutcome { shelf, result } in outcomes {
            match result {
                Ok((shell, took_ns)) => match self.pool.put(shelf, shell, took_ns) {
                    Some(shell) => self.order(RefillOrder::Destroy(shell)),
                    None => self.log_if_full(shelf),
                },
                Err(error) if self.pool.position(shelf).is_some() => {
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

    fn log_if_full(&self, shelf: ShelfId) {
        let Some(index) = self.pool.position(shelf) else { return };
        let shelf = &self.pool.shelves()[index];
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
            let kind = Arc::clone(&self.kept[shelf].kind);
            let shelf = self.pool.shelves()[shelf].id();
            self.order(RefillOrder::Prepare { shelf, kind });
        }
    }

    /// Takes a shell that fits: one that holds the image, or else one that holds none.
    pub(crate) fn take(
        &mut self,
        config: &DomainConfig,
        image: &Arc<Image>,
        taker: Taker,
    ) -> (Option<Box<ParkedAttachedShell>>, Origin) {
        // A shell has its handle already.
        if config.extras().uuid.is_some() {
            return (None, Origin::Cold);
        }
        let kind = guests::shell_kind(config);
        let fit = ShellFit { flavour: kind.flavour, bridges: kind.bridges };
        if taker == Taker::Root {
            // A kernel from a disk is another one each time.
            let is_unique = config.extras().bootloader.is_some() && config.pv_kernel().is_none();
            self.learn(&fit, image, &config.kernel, is_unique);
        }
        let kept = &self.kept;
        let warm = |shelf: usize| kept[shelf].holds(image);
        let plain = |shelf: usize| kept[shelf].is_plain();
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
                .split_off(usize::try_from(from).unwrap_or(usize::MAX).min(self.kept.len())),
        )
    }

    /// Returns what the pool holds, one entry per flavour.
    pub(crate) fn status(&self) -> Vec<FlavourStatus> {
        let shelves = self.pool.shelves().iter().zip(&self.kept);
        shelves
            .map(|(shelf, kept)| FlavourStatus {
                name: shelf.name.clone(),
                memory_kib: shelf.fit.flavour.memory.0,
                vcpus: shelf.fit.flavour.vcpus,
                console: shelf.fit.flavour.console,
                bridges: shelf.fit.bridges.clone(),
                disks: shelf.fit.flavour.disks,
                kernel: kept.kernel.as_ref().map(|path| path.display().to_string()),
                is_learned: kept.is_learned,
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
    /// such flavour. One that was learned is kept like those of the settings from now on.
    #[must_use]
    pub(crate) fn resize(&mut self, flavour: &str, marks: PoolMarks) -> bool {
        let mut shelves = self.pool.shelves().iter();
        let Some(index) = shelves.position(|shelf| shelf.name == flavour) else { return false };
        let kept = &mut self.kept[index];
        if std::mem::take(&mut kept.is_learned) {
            self.demand.forget(|other| Arc::ptr_eq(&other.kind, &kept.kind));
        }
        for shell in self.pool.resize(index, marks) {
            self.order(RefillOrder::Destroy(shell));
        }
        true
    }

    /// Returns the memory of all shells.
    pub(crate) fn held(&self) -> KiB {
        self.pool.held()
    }

    /// Destroys all ready shells at once, because a guest needs their memory. Returns how many there
    /// were. The pool is refilled later, but not with kinds that no flavour of the settings names.
    pub(crate) fn give_up(&mut self, host: &Host) -> usize {
        let shells = self.pool.take_all();
        self.demand.forget(|_| true);
        self.adapt_at = Some(Instant::now());
        let count = shells.len();
        for shell in shells {
            drop(shell.unpark(host));
        }
        count
    }

    /// Destroys all shells, and orders no new ones: of the flavours in the settings until the next
    /// resize, and of others until the next settings.
    pub(crate) fn drain(&mut self) {
        self.budget = KiB(0);
        self.demand.forget(|_| true);
        self.adapt_at = Some(Instant::now());
        self.destroy_all();
    }

    fn destroy_all(&mut self) {
        for shell in self.pool.drain() {
            self.order(RefillOrder::Destroy(shell));
        }
    }

    /// Destroys all shells and waits until they are gone. Guests keep running.
    pub(crate) fn shut_down(mut self, host: &Host) {
        self.destroy_all();
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
            is_learned: false,
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
