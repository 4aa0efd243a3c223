// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers requests, and does the work that they leave.

mod create;
mod restart;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaos::clients::chaosd::protocol::{FlavourStatus, Refusal, Reply, Request};
use chaos::config::DomainConfig;
use chaos::domain::Mapped;
use chaos::guests::{self, Host, LifecycleError};
use chaos::image::{Image, ImageCache, ImageError, ImageKey};
use chaos::timings::Timings;
use mio::Waker;
use xen::units::KiB;

use self::create::{CreateRequest, PendingCreate};
use crate::answers::{only_root, reply, wrong_input};
use crate::boots::Boots;
use crate::line_limit::LineLimit;
use crate::loader::Loader;
use crate::members::{Members, ROOT};
use crate::observe::{CreateTally, Reporter};
use crate::pool::PoolMarks;
use crate::refill::{Refill, RefillOrder};
use crate::refused_kernels::RefusedKernels;
use crate::rest::MemberRest;
use crate::restart_files::RestartFiles;
use crate::restart_threads::RestartThreads;
use crate::server::{Answer, Files, Peer, Serve};
use crate::settings::{MemberLimits, Settings};
use crate::stock::Stock;
use crate::supervise::Supervisor;

/// The time without requests before the pool is refilled. A client that has its reply needs the CPU
/// to exit. On a host with one CPU, Linux may run the refill thread instead: `SCHED_IDLE` is a
/// small share of the CPU, not strictly the lowest priority.
const QUIET: Duration = Duration::from_millis(5);

/// The longest time to wait for [`QUIET`] when requests never cease, on a host with several CPUs.
/// With one CPU there is no limit: under such a load, a refill would take the CPU time that it is
/// meant to save.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// The most guests whose memory stays mapped until then. Memory of a guest that ends is not freed
/// while it is mapped.
const MAX_MAPPED: usize = 64;

/// Limit of the kept kernels of users other than root, in bytes; less in a small dom0.
const MEMBER_CACHE_BYTES: u64 = 64 << 20;

/// The service: the host, the ready shells, and the work that can wait.
#[derive(Debug)]
pub struct Service {
    host: Host,
    /// The host with the kernels of users other than root: theirs do not displace root's.
    members_host: Host,
    stock: Stock,
    /// Guests' memory that is still mapped, the oldest first.
    still_mapped: VecDeque<Mapped>,
    /// The times of the first and the last request since [`tidy`](Self::tidy).
    recent_requests: Option<(Instant, Instant)>,
    /// Number of CPUs that this process may use.
    cpus: usize,
    /// The guests of users other than root.
    members: Members,
    limits: MemberLimits,
    /// When members have their next turn.
    pub(crate) rest: MemberRest,
    /// The members' kernels that were refused.
    refused_kernels: RefusedKernels,
    /// Limits the lines about refused requests of members.
    lines: LineLimit,
    loader: Loader,
    /// Creates whose kernel is being read, by the loader's ticket.
    loading: HashMap<u64, PendingCreate>,
    /// Guests to restart whose kernel is being read, by the loader's ticket.
    restarting: HashMap<u64, String>,
    /// Opens the files of root's guests that are restarted.
    restart_files: RestartFiles,
    /// Creates those of them whose vifs have scripts.
    restart_threads: RestartThreads,
    /// Runs the bootloaders of those that have one.
    boots: Boots,
    /// The kernel that was read for the restart that is tried now.
    read_for_restart: Option<(ImageKey, Result<Arc<Image>, ImageError>)>,
    /// How many guests were created, and how long that took.
    creates: CreateTally,
    reporter: Reporter,
}

/// What waited for a kernel that was read.
#[derive(Debug)]
pub(crate) enum AfterLoad {
    /// A create, with its number and its reply.
    Created(u64, Reply),
    /// The restart of the guest with this name.
    Restart(String),
}

impl Service {
    /// Returns a service with an empty pool.
    #[must_use]
    pub fn new(host: Host, refill: Refill, loader: Loader) -> Self {
        let limits = MemberLimits::default();
        let cache = MEMBER_CACHE_BYTES.min(limits.files.to_bytes().0);
        let cache = ImageCache::new(usize::try_from(cache).unwrap_or(usize::MAX));
        let images = Rc::new(RefCell::new(cache));
        Self {
            members_host: Host { images: Some(images), ..host.clone() },
            host,
            stock: Stock::new(refill),
            still_mapped: VecDeque::new(),
            recent_requests: None,
            cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
            members: Members::default(),
            limits,
            rest: MemberRest::default(),
            refused_kernels: RefusedKernels::default(),
            lines: LineLimit::default(),
            loader,
            loading: HashMap::new(),
            restarting: HashMap::new(),
            restart_files: RestartFiles::default(),
            restart_threads: RestartThreads::new(None),
            boots: Boots::new(None),
            read_for_restart: None,
            creates: CreateTally::default(),
            reporter: Reporter::default(),
        }
    }

    /// Learns which guests of users other than root an earlier `chaosd` has created. A record that
    /// cannot be read is left out: the guest is not restarted then either.
    ///
    /// # Errors
    /// The folder of records cannot be read.
    pub fn take_over(&mut self) -> Result<(), LifecycleError> {
        for domid in self.host.records.domids()? {
            if let Ok(Some(record)) = self.host.records.read(domid) {
                self.members.found(&record);
            }
        }
        Ok(())
    }

    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Has the main thread woken when a bootloader of a guest that is restarted has ended, or a thread has
    /// restarted a guest.
    pub(crate) fn wake_with(&mut self, waker: Arc<Waker>) {
        self.boots = Boots::new(Some(Arc::clone(&waker)));
        self.restart_threads = RestartThreads::new(Some(waker));
    }

    /// Has creates reported.
    pub(crate) fn report_to(&mut self, reporter: Reporter) {
        self.reporter = reporter;
    }

    /// Returns what the pool holds.
    pub(crate) fn flavours(&self) -> Vec<FlavourStatus> {
        self.stock.status()
    }

    /// Returns how many guests were created.
    pub(crate) fn creates(&self) -> &CreateTally {
        &self.creates
    }

    /// Returns the limit of lines about users other than root.
    pub(crate) fn lines(&self) -> LineLimit {
        self.lines.clone()
    }

    /// Replaces the settings, and destroys the shells of the old ones.
    ///
    /// # Errors
    /// A flavour's kernel cannot be used; nothing has changed then.
    pub fn configure(&mut self, settings: &Settings) -> Result<(), LifecycleError> {
        self.stock.configure(&self.host, settings)?;
        self.limits = settings.members.clone();
        Ok(())
    }

    /// Returns when to call [`tidy`](Self::tidy).
    #[must_use]
    pub fn tidy_at(&self) -> Option<Instant> {
        self.recent_requests.map(|(first, last)| match self.cpus {
            1 => last + QUIET,
            _ => (first + MAX_WAIT).min(last + QUIET),
        })
    }

    /// Does the work that recent requests have left: unmaps their guests and refills the pool.
    pub fn tidy(&mut self) {
        self.recent_requests = None;
        for mapped in std::mem::take(&mut self.still_mapped) {
            self.stock.order(RefillOrder::Unmap(mapped));
        }
        self.stock.restock();
    }

    /// Returns when to call [`adapt`](Self::adapt): not before recent requests are tidied up.
    #[must_use]
    pub fn adapt_at(&self) -> Option<Instant> {
        let due = self.stock.adapt_at()?;
        Some(self.tidy_at().map_or(due, |tidy| tidy.max(due)))
    }

    /// Keeps as many shells of the kinds that no flavour names as were asked for.
    pub fn adapt(&mut self, now: Instant) {
        self.stock.adapt(now);
    }

    /// Takes the shells that the refill thread has prepared.
    pub fn collect(&mut self) {
        self.stock.collect();
        // After a request, `tidy` does this later.
        if !self.stock.has_error() && self.recent_requests.is_none() {
            self.stock.restock();
        }
    }

    /// Handles one guest that has ended.
    pub fn supervise(&mut self, supervisor: &mut Supervisor) {
        let host = self.host.clone();
        supervisor.turn(&host, self);
        if !self.members.is_empty() {
            self.forget_ended_members();
        }
        // The guest's memory may be free now.
        self.stock.clear_error();
        self.after();
    }

    /// Destroys all shells and waits until they are gone. Guests keep running.
    pub fn shut_down(self) {
        self.stock.shut_down(&self.host);
    }

    /// Returns the memory on which the size of a guest's kernel depends. That of a member is kept
    /// while it is unpacked, like the files.
    fn memory_for_kernel(&self, uid: u32, config: &DomainConfig) -> KiB {
        if uid == ROOT { config.memory } else { config.memory.min(self.limits.files) }
    }

    /// Returns the host with the kernels of a user.
    fn host_of(&self, uid: u32) -> &Host {
        if uid == ROOT { &self.host } else { &self.members_host }
    }

    /// Returns whether a create waits for its kernel.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.loader.is_loading()
    }

    /// Returns whether a kernel of a user other than root was read and waits.
    pub(crate) fn has_loaded(&self) -> bool {
        self.loader.has_of_members()
    }

    /// Forgets guests of members that neither exist nor are to be restarted. If Xen refuses to list
    /// them, all stay, and count.
    fn forget_ended_members(&mut self) {
        let Ok(mut existing) = guests::handles(&self.host) else { return };
        let Ok(pending) = self.host.records.restarts() else { return };
        for name in pending {
            if let Ok(Some(record)) = self.host.records.pending_restart(&name) {
                existing.insert(record.handle.0);
            }
        }
        self.members.retain(|handle| existing.contains(handle));
    }

    fn resize(&mut self, flavour: &str, marks: PoolMarks) -> Result<Reply, Refusal> {
        let PoolMarks { low, high } = marks;
        if low > high {
            return Err(wrong_input(format!("low = {low}: must be at most high, which is {high}")));
        }
        if !self.stock.resize(flavour, marks) {
            return Err(wrong_input(format!("there is no flavour {flavour}; see chaos pool")));
        }
        Ok(Reply::Done)
    }
}

impl Serve for Service {
    fn serve(&mut self, peer: Peer, request: Request, files: Files, timings: Timings) -> Answer {
        // Preparing a shell may succeed now.
        self.stock.clear_error();
        let uid = peer.uid;
        let (what, result) = match request {
            Request::Create { config, paused, request } => {
                let create = CreateRequest { config, paused, request };
                match self.answer_create(peer, create, files, timings) {
                    Ok(Answer::Later(ticket)) => return Answer::Later(ticket),
                    Ok(Answer::Now(reply)) => ("create", Ok(reply)),
                    Err(refusal) => ("create", Err(refusal)),
                }
            }
            Request::Pool { from } => ("pool", Ok(self.stock.status_from(from))),
            Request::Resize { .. } if uid != ROOT => ("resize", Err(only_root("resize"))),
            Request::Resize { flavour, low, high } => {
                ("resize", self.resize(&flavour, PoolMarks { low, high }))
            }
            Request::Drain if uid != ROOT => ("drain", Err(only_root("drain"))),
            Request::Drain => {
                self.stock.drain();
                ("drain", Ok(Reply::Done))
            }
            // The server carries it out.
            Request::Upload { .. } => ("upload", Ok(Reply::Done)),
        };
        Answer::Now(reply(what, peer, result, &self.lines))
    }

    fn drop_uploads(&mut self) {
        self.forget_ended_members();
    }

    fn after(&mut self) {
        let now = Instant::now();
        let (first, _) = *self.recent_requests.get_or_insert((now, now));
        self.recent_requests = Some((first, now));
        if self.still_mapped.len() > MAX_MAPPED
            && let Some(oldest) = self.still_mapped.pop_front()
        {
            self.stock.order(RefillOrder::Unmap(oldest));
        }
    }
}
