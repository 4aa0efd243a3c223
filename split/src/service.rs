// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers requests, and does the work that they leave.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaos::clients::chaosd::protocol::{Created, Origin, Refusal, Reply, Request};
use chaos::config::{DomainConfig, EncodedConfig};
use chaos::domain::Mapped;
use chaos::guests::{
    self, Condition, CreateOptions, GuestRequest, Host, KnownImage, LifecycleError,
};
use chaos::image::{self, Image, ImageCache, ImageError, ImageKey, RamdiskFile, SizeLimit};
use chaos::records::{Record, RecordError, RequestId};
use chaos::timings::Timings;
use xen::units::{DomId, DomainHandle, KiB};

use crate::answers::{
    create_line, only_root, open_ramdisk, refusal, reply, wrong_files, wrong_input,
};
use crate::files::CreateFiles;
use crate::line_limit::LineLimit;
use crate::loader::{Loaded, Loader};
use crate::members::{MemberFiles, MemberRefusal, Members, ROOT, check_backends};
use crate::pool::{PoolMarks, Taker};
use crate::refill::{Refill, RefillOrder};
use crate::refused_kernels::RefusedKernels;
use crate::reserved;
use crate::server::{Answer, Files, Peer, Serve};
use crate::settings::{MemberLimits, Settings};
use crate::stock::Stock;
use crate::supervise::{RestartError, Successors, Supervisor};

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
    /// The members' kernels that were refused.
    refused_kernels: RefusedKernels,
    /// Limits the lines about refused requests of members.
    lines: LineLimit,
    loader: Loader,
    /// Creates whose kernel is being read, by the loader's ticket.
    loading: HashMap<u64, PendingCreate>,
    /// Guests to restart whose kernel is being read, by the loader's ticket.
    restarting: HashMap<u64, String>,
    /// The kernel that was read for the restart that is tried now.
    read_for_restart: Option<(ImageKey, Result<Arc<Image>, ImageError>)>,
}

/// What waited for a kernel that was read.
#[derive(Debug)]
pub(crate) enum AfterLoad {
    /// A create, with its number and its reply.
    Created(u64, Reply),
    /// The restart of the guest with this name.
    Restart(String),
}

/// A request to create a guest.
struct CreateRequest {
    config: EncodedConfig,
    paused: bool,
    request: RequestId,
}

/// A create that was checked, and whose kernel is known or being read.
#[derive(Debug)]
struct PendingCreate {
    peer: Peer,
    config: DomainConfig,
    paused: bool,
    request: RequestId,
    ramdisk: Option<File>,
    /// The files, if a user other than root has uploaded them.
    uploaded: Option<MemberFiles>,
    timings: Timings,
}

/// A guest that this service has created.
struct ServedGuest {
    domid: DomId,
    handle: DomainHandle,
    origin: Origin,
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
            refused_kernels: RefusedKernels::default(),
            lines: LineLimit::default(),
            loader,
            loading: HashMap::new(),
            restarting: HashMap::new(),
            read_for_restart: None,
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

    fn answer_create(
        &mut self,
        peer: Peer,
        create: CreateRequest,
        files: Files,
        timings: Timings,
    ) -> Result<Answer, Refusal> {
        let CreateRequest { config, paused, request } = create;
        let config =
            DomainConfig::try_from(config).map_err(|error| wrong_input(error.to_string()))?;
        let has_ramdisk = config.ramdisk.is_some();
        let (kernel, ramdisk, uploaded) = match files {
            Files::Passed(files) => {
                let CreateFiles { kernel, ramdisk } =
                    CreateFiles::take(files, has_ramdisk).map_err(|error| wrong_files(&error))?;
                (kernel, ramdisk, None)
            }
            Files::Uploaded(files) => {
                self.check_member(peer.uid, &config)?;
                // Otherwise the whole guest would be prepared and destroyed again for each attempt.
                if let Some(error) = self.name_in_use(&config.name) {
                    return self.repeated(&config.name, request, &error).map(Answer::Now);
                }
                let CreateFiles { kernel, ramdisk } =
                    CreateFiles::sort(files, has_ramdisk).map_err(|error| wrong_files(&error))?;
                let files = MemberFiles { kernel, ramdisk };
                let (kernel, ramdisk) = files.open().map_err(|error| {
                    let source = ImageError::Read(error);
                    refusal(&LifecycleError::Kernel { path: config.kernel.clone(), source })
                })?;
                (kernel, ramdisk, Some(files))
            }
        };
        let pending = PendingCreate { peer, config, paused, request, ramdisk, uploaded, timings };
        let memory = self.memory_for_kernel(peer.uid, &pending.config);
        let refused = pending.uploaded.as_ref().and_then(|files| {
            self.refused_kernels.find(&files.kernel, SizeLimit::of_guest(memory))
        });
        if let Some(error) = refused {
            return self.finish_create(pending, Err(error)).map(Answer::Now);
        }
        match self.host_of(peer.uid).known_image(&kernel, memory) {
            Ok(KnownImage::Read(image)) => self.finish_create(pending, Ok(image)).map(Answer::Now),
            Ok(KnownImage::Unread { key, limit }) => {
                let ticket =
                    self.loader.order(peer.uid, kernel, key, limit).map_err(wrong_input)?;
                self.loading.insert(ticket, pending);
                Ok(Answer::Later(ticket))
            }
            Err(error) => self.finish_create(pending, Err(error)).map(Answer::Now),
        }
    }

    /// Returns what has waited for a kernel that was read, if there is anything. A create is carried
    /// out; call [`restart_loaded`](Self::restart_loaded) for a restart.
    pub(crate) fn loaded(&mut self) -> Option<AfterLoad> {
        let Loaded { ticket, uid, key, limit, result } = self.loader.take()?;
        let image = self.host_of(uid).keep_image(key, limit, result);
        if let Some(name) = self.restarting.remove(&ticket) {
            self.read_for_restart = Some((key, image));
            return Some(AfterLoad::Restart(name));
        }
        let pending = self.loading.remove(&ticket)?;
        if let (Some(files), Err(error)) = (&pending.uploaded, &image) {
            self.refused_kernels.note(&files.kernel, limit, error);
        }
        let (peer, uploads) = (pending.peer, pending.uploaded.is_some());
        // The user may have got other guests meanwhile.
        let checked = if uploads { self.check_member(peer.uid, &pending.config) } else { Ok(()) };
        let result = checked.and_then(|()| self.finish_create(pending, image));
        Some(AfterLoad::Created(ticket, reply("create", peer, result, &self.lines)))
    }

    /// Tries a restart whose kernel was read.
    pub(crate) fn restart_loaded(&mut self, supervisor: &mut Supervisor, name: &str) {
        let host = self.host.clone();
        supervisor.retry_now(&host, name, self);
        self.read_for_restart = None;
    }

    /// Returns the kernel of a guest that is restarted.
    ///
    /// # Errors
    /// [`RestartError::Reading`] if it must be read first, or it cannot be used.
    fn restart_image(&mut self, kernel: File, record: &Record) -> Result<Arc<Image>, RestartError> {
        let config = &record.config;
        let kernel_error = |source| LifecycleError::Kernel { path: config.kernel.clone(), source };
        let host = self.host_of(record.owner);
        let memory = self.memory_for_kernel(record.owner, config);
        let known = host.known_image(&kernel, memory).map_err(kernel_error)?;
        let (key, limit) = match known {
            KnownImage::Read(image) => return Ok(image),
            KnownImage::Unread { key, limit } => (key, limit),
        };
        if let Some((_, read)) = self.read_for_restart.take_if(|(other, _)| *other == key) {
            return Ok(read.map_err(kernel_error)?);
        }
        if !self.restarting.values().any(|name| name == record.name()) {
            let ticket = self.loader.order_restart(record.owner, kernel, key, limit);
            self.restarting.insert(ticket, record.name().to_owned());
        }
        Err(RestartError::Reading)
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

    fn finish_create(
        &mut self,
        pending: PendingCreate,
        image: Result<Arc<Image>, ImageError>,
    ) -> Result<Reply, Refusal> {
        let PendingCreate { peer, config, paused, request, ramdisk, uploaded, mut timings } =
            pending;
        let image = image.map_err(|source| {
            refusal(&LifecycleError::Kernel { path: config.kernel.clone(), source })
        })?;
        let ramdisk = open_ramdisk(ramdisk, &config).map_err(|error| refusal(&error))?;
        let config =
            guests::decide(&self.host, &config, &image, false).map_err(|error| refusal(&error))?;
        check_backends(peer.uid, &config).map_err(wrong_input)?;
        timings.stage("files");

        let options =
            CreateOptions { paused, console: false, owner: peer.uid, request: Some(request) };
        let files = (&image, ramdisk.as_ref());
        let created = match self.create(&config, files, options, &mut timings) {
            Err(error) if error.is_name_in_use() => {
                return self.repeated(&config.name, request, &error);
            }
            result => result.map_err(|error| refusal(&error))?,
        };
        let ServedGuest { domid, handle, origin } = created;
        self.members.created(peer.uid, handle.0, &config, uploaded);
        let stages = timings.stages().iter();
        let stages = stages.map(|stage| (stage.name.to_owned(), stage.ns)).collect();
        let handle = handle.to_string();
        Ok(Reply::Created(Created { domid: domid.0, handle, shell: origin, stages }))
    }

    /// Returns the error of a create with this name, if a guest has it.
    fn name_in_use(&self, name: &str) -> Option<LifecycleError> {
        let guest = guests::resolve(&self.host, name).ok()?;
        let Condition::Guest(record) = &guest.condition else { return None };
        let in_use = RecordError::NameInUse { name: name.to_owned(), domid: guest.domid };
        (record.name() == name).then(|| in_use.into())
    }

    /// Answers a create whose name is in use: with the guest that an earlier attempt of the same
    /// request has created, if that is why.
    fn repeated(
        &self,
        name: &str,
        request: RequestId,
        error: &LifecycleError,
    ) -> Result<Reply, Refusal> {
        match guests::of_request(&self.host, name, request) {
            Ok(Some(record)) => Ok(Reply::Created(record.into())),
            _ => Err(refusal(error)),
        }
    }

    /// Checks whether a user other than root may have a guest.
    fn check_member(&mut self, uid: u32, config: &DomainConfig) -> Result<(), Refusal> {
        let name = &config.name;
        match self.host.records.pending_restart(name) {
            Ok(None) => {}
            Ok(Some(record)) if record.owner == uid => {}
            _ => return Err(wrong_input(MemberRefusal::NamePending { name: name.clone() })),
        }
        let reserved = reserved::refusal(&self.host.records, config, |owner| owner != uid);
        if let Some(refused) = reserved.map_err(|error| refusal(&error.into()))? {
            return Err(wrong_input(refused));
        }
        let mut checked = self.members.check(uid, config, &self.limits, None);
        // Guests that have ended count until they are forgotten. To list all domains takes long, so
        // it is done only if the member would be refused.
        if checked.as_ref().is_err_and(MemberRefusal::is_of_number) {
            self.forget_ended_members();
            checked = self.members.check(uid, config, &self.limits, None);
        }
        checked.map_err(wrong_input)
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

    /// Creates a guest, from the pool if a shell fits.
    fn create(
        &mut self,
        config: &DomainConfig,
        (image, ramdisk): (&Arc<Image>, Option<&RamdiskFile>),
        options: CreateOptions,
        timings: &mut Timings,
    ) -> Result<ServedGuest, LifecycleError> {
        let taker = if options.owner == ROOT { Taker::Root } else { Taker::Member };
        let (shell, origin) = self.stock.take(config, image, taker);
        let request = GuestRequest { config, image, ramdisk, options };
        let created = match shell {
            Some(shell) => {
                let shell = shell.unpark(&self.host);
                guests::execute_shell(&self.host, shell, &request, timings)
            }
            None => guests::create_from(&self.host, &request, timings),
        };
        let created = match created {
            Err(error) if error.is_out_of_memory() && self.free_memory(options.owner) => {
                guests::create_from(&self.host, &request, timings)?
            }
            result => result?,
        };
        self.still_mapped.push_back(created.mapped);
        tracing::info!("{}", create_line(&config.name, created.domid, origin, timings));
        Ok(ServedGuest { domid: created.domid, handle: created.record.handle, origin })
    }

    /// Frees the memory of incomplete domains and, for a guest of root's, of ready shells. Returns
    /// whether there were any. A member could empty the pool again and again otherwise.
    fn free_memory(&mut self, owner: u32) -> bool {
        let given_up = if owner == ROOT { self.stock.give_up(&self.host) } else { 0 };
        if given_up > 0 {
            tracing::info!(
                "Xen has too little memory: {given_up} shells of the pool are destroyed"
            );
        }
        let reaped = guests::reap(&self.host).unwrap_or_default();
        given_up + reaped > 0
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

impl Successors for Service {
    fn check(&self, record: &Record) -> Result<(), RestartError> {
        if record.owner != ROOT {
            return match self.members.files(&record.handle.0) {
                Some(_) => Ok(()),
                None => Err(RestartError::NoFiles { owner: record.owner }),
            };
        }
        let config = &record.config;
        for path in [Some(&config.kernel), config.ramdisk.as_ref()].into_iter().flatten() {
            fs::metadata(path)
                .map_err(|source| RestartError::File { path: path.clone(), source })?;
        }
        Ok(())
    }

    fn create(&mut self, record: &Record) -> Result<u16, RestartError> {
        let mut timings = Timings::start();
        let (config, owner, old) = (&record.config, record.owner, &record.handle.0);
        let kernel_error = |source| LifecycleError::Kernel { path: config.kernel.clone(), source };
        let mut member_files = None;
        let (image, ramdisk) = if owner == ROOT {
            let kernel = image::open(&config.kernel).map_err(kernel_error)?;
            let image = self.restart_image(kernel, record)?;
            let ramdisk = config.ramdisk.as_deref().map(|path| {
                image::open(path)
                    .map_err(|source| LifecycleError::Ramdisk { path: path.to_owned(), source })
            });
            (image, ramdisk.transpose()?)
        } else {
            // Never from the paths in the config: this process could read what the owner cannot.
            let files = self.members.files(old).ok_or(RestartError::NoFiles { owner })?;
            // Two members' guests do not wait for each other: the first one gets the address.
            if let Some(refused) = reserved::refusal(&self.host.records, config, |one| one == ROOT)?
            {
                return Err(RestartError::NotAllowed(Box::new(refused)));
            }
            // After a rename the guest still exists, and counts.
            let exists = guests::handles(&self.host)?.contains(old);
            self.members
                .check(owner, config, &self.limits, (!exists).then_some(old))
                .map_err(|refusal| RestartError::NotAllowed(Box::new(refusal)))?;
            let (kernel, ramdisk) =
                files.open().map_err(|error| kernel_error(ImageError::Read(error)))?;
            let image = self.restart_image(kernel, record)?;
            member_files = Some(files);
            (image, ramdisk)
        };
        let ramdisk = open_ramdisk(ramdisk, config)?;
        timings.stage("files");
        let options = CreateOptions { owner, request: record.request, ..CreateOptions::default() };
        let files = (&image, ramdisk.as_ref());
        let created = Self::create(self, config, files, options, &mut timings)?;
        self.members.created(owner, created.handle.0, config, member_files);
        Ok(created.domid.0)
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
