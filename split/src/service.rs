//! What is done with a request.

use std::collections::VecDeque;
use std::fmt::Write;
use std::fs::File;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaos::chain::chain;
use chaos::clients::chaosd::protocol::{Created, FlavourStatus, Origin, Refusal, Reply, Request};
use chaos::config::DomainConfig;
use chaos::config::EncodedConfig;
use chaos::failure::FailureClass;
use chaos::guests::{
    self, AttachedShell, CreateOptions, GuestRequest, Host, LifecycleError, ParkedAttachedShell,
    ShellKind,
};
use chaos::image::{Image, RamdiskFile};
use chaos::timings::Timings;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::pool::{Fit, Marks, Pool, Shelf};
use crate::refill::{Order, Outcome, Refill};
use crate::server::{Peer, Serve};
use crate::settings::Settings;
use crate::supervise::Supervisor;

/// How long nobody may have asked for anything before the pool is refilled. A client that has its
/// answer needs the CPU to end: where there is only one, Linux may well give it to the thread that
/// refills, although that thread steps back (`SCHED_IDLE` is a small share, not the last place).
const QUIET: Duration = Duration::from_millis(5);

/// How long the pool waits for that where requests never cease: other CPUs are to refill it. If
/// there are none, to refill it under such a load would take from the creates what it gives them.
const PATIENCE: Duration = Duration::from_millis(50);

/// Most guests whose memory stays mapped until then: those that end meanwhile keep it so long.
const MAX_LEFTOVER: usize = 64;

/// Everything that answers requests.
#[derive(Debug)]
pub struct Service {
    host: Host,
    pool: Pool<Box<ParkedAttachedShell>>,
    /// What each shelf's shells are, in the shelves' order.
    kinds: Vec<Arc<ShellKind>>,
    kernels: Vec<Option<String>>,
    generation: u64,
    refill: Refill,
    /// Why the last shell could not be made. No more are tried until something changes.
    trouble: Option<String>,
    /// What is to be unmapped when nobody waits.
    leftover: VecDeque<chaos::domain::Mapped>,
    /// When the first and the last request came since the pool was looked at.
    asked: Option<(Instant, Instant)>,
    /// How many CPUs this process may use.
    cpus: usize,
}

impl Service {
    /// With an empty pool.
    #[must_use]
    pub fn new(host: Host, refill: Refill) -> Self {
        let pool = Pool::new(xen::units::KiB(0), Vec::new());
        let (kinds, kernels) = (Vec::new(), Vec::new());
        Self {
            host,
            pool,
            kinds,
            kernels,
            generation: 0,
            refill,
            trouble: None,
            leftover: VecDeque::new(),
            asked: None,
            cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
    }

    /// When [`tidy`](Self::tidy) is to be called.
    #[must_use]
    pub fn tidy_at(&self) -> Option<Instant> {
        self.asked.map(|(first, last)| match self.cpus {
            1 => last + QUIET,
            _ => (first + PATIENCE).min(last + QUIET),
        })
    }

    /// Does what the last requests have left to do: unmaps their guests and refills the pool.
    pub fn tidy(&mut self) {
        self.asked = None;
        for mapped in std::mem::take(&mut self.leftover) {
            self.order(Order::Unmap(mapped));
        }
        self.restock();
    }

    /// Goes over to other settings. The shells of the old ones are destroyed.
    ///
    /// # Errors
    /// A flavour's kernel cannot be used; then nothing has changed.
    pub fn configure(&mut self, settings: &Settings) -> Result<(), LifecycleError> {
        let mut kinds = Vec::new();
        let mut kernels = Vec::new();
        let mut shelves = Vec::new();
        for flavour in &settings.flavours {
            let image = match &flavour.kernel {
                Some(path) => Some(
                    self.host
                        .image(path)
                        .map_err(|source| LifecycleError::Kernel { path: path.clone(), source })?,
                ),
                None => None,
            };
            let kind = ShellKind { image, ..flavour.shell() };
            let fit = Fit { flavour: kind.flavour, bridges: kind.bridges.clone() };
            let marks = Marks { low: flavour.low, high: flavour.high };
            kinds.push(Arc::new(kind));
            kernels.push(flavour.kernel.as_ref().map(|path| path.display().to_string()));
            shelves.push(Shelf::new(flavour.name.clone(), fit, marks));
        }
        self.destroy_all();
        self.pool = Pool::new(settings.memory, shelves);
        (self.kinds, self.kernels) = (kinds, kernels);
        self.generation += 1;
        self.trouble = None;
        self.restock();
        Ok(())
    }

    /// Takes what the other thread has made.
    pub fn collect(&mut self) {
        let outcomes: Vec<Outcome> = self.refill.outcomes().collect();
        for Outcome { generation, shelf, result } in outcomes {
            let current = generation == self.generation;
            match result {
                Ok((shell, took_ns)) => {
                    let surplus = match current {
                        true => self.pool.put(shelf, shell, took_ns),
                        false => Some(shell),
                    };
                    match surplus {
                        Some(shell) => self.order(Order::Destroy(shell)),
                        None => self.tell_if_full(shelf),
                    }
                }
                Err(error) if current => {
                    self.pool.failed(shelf);
                    if self.trouble.as_ref() != Some(&error) {
                        tracing::warn!("the pool is not filled: {error}");
                    }
                    self.trouble = Some(error);
                }
                Err(_) => {}
            }
        }
        // After a request, `tidy` does it in its time.
        if self.trouble.is_none() && self.asked.is_none() {
            self.restock();
        }
    }

    fn tell_if_full(&self, shelf: usize) {
        let shelf = &self.pool.shelves()[shelf];
        if shelf.ready() == shelf.marks.high {
            tracing::info!("flavour {} is full: {} shells", shelf.name, shelf.ready());
        }
    }

    /// Destroys all shells and waits for it. Guests stay.
    pub fn shut_down(mut self) {
        self.destroy_all();
        for outcome in self.refill.finish() {
            if let Ok((shell, _)) = outcome.result {
                drop(shell.unpark(&self.host));
            }
        }
    }

    fn destroy_all(&mut self) {
        for shell in self.pool.drain() {
            self.order(Order::Destroy(shell));
        }
    }

    /// One shell at a time: the one that is needed most may be another by then.
    fn restock(&mut self) {
        if self.pool.shelves().iter().any(|shelf| shelf.making() > 0) {
            return;
        }
        if let Some(shelf) = self.pool.order() {
            let kind = Arc::clone(&self.kinds[shelf]);
            self.order(Order::Make { generation: self.generation, shelf, kind });
        }
    }

    fn order(&self, order: Order) {
        if self.refill.order(order).is_err() {
            tracing::error!("the thread that fills the pool has ended; start chaosd again");
        }
    }

    fn create(
        &mut self,
        config: EncodedConfig,
        paused: bool,
        files: Vec<OwnedFd>,
        mut timings: Timings,
    ) -> Result<Reply, Refusal> {
        let wrong = |message: String| Refusal { class: FailureClass::WrongInput, message };
        let config = DomainConfig::try_from(config).map_err(|error| wrong(error.to_string()))?;
        let mut files = files.into_iter();
        let (kernel, ramdisk) = match (files.next(), &config.ramdisk, files.next(), files.next()) {
            (Some(kernel), None, None, None) => (kernel, None),
            (Some(kernel), Some(_), Some(ramdisk), None) => (kernel, Some(ramdisk)),
            _ => return Err(wrong("the files that came along are not those wanted".to_owned())),
        };
        let kernel = readable(kernel)
            .ok_or_else(|| wrong("the kernel's file was not opened for reading".to_owned()))?;
        let image = self.host.image_in(&kernel).map_err(|source| {
            refusal(&LifecycleError::Kernel { path: config.kernel.clone(), source })
        })?;
        let ramdisk = match (ramdisk, &config.ramdisk) {
            (Some(file), Some(path)) => {
                let file = readable(file).ok_or_else(|| {
                    wrong("the ramdisk's file was not opened for reading".to_owned())
                })?;
                let ramdisk = RamdiskFile::new(file).map_err(|source| {
                    refusal(&LifecycleError::Ramdisk { path: path.clone(), source })
                })?;
                Some(ramdisk)
            }
            _ => None,
        };
        timings.stage("files");

        let (made, origin) = self
            .guest(&config, &image, ramdisk.as_ref(), paused, &mut timings)
            .map_err(|error| refusal(&error))?;
        let stages = timings.stages().iter();
        let stages = stages.map(|stage| (stage.name.to_owned(), stage.ns)).collect();
        let (domid, handle) = made;
        Ok(Reply::Created(Created { domid, handle, shell: origin, stages }))
    }

    /// Makes a guest, from the pool if a shell fits. Gives its number and its handle.
    fn guest(
        &mut self,
        config: &DomainConfig,
        image: &Arc<Image>,
        ramdisk: Option<&RamdiskFile>,
        paused: bool,
        timings: &mut Timings,
    ) -> Result<((u16, String), Origin), LifecycleError> {
        let (shell, origin) = self.shell(config, image);
        let options = CreateOptions { paused, console: false };
        let request = GuestRequest { config, image, ramdisk, options };
        let created = match shell {
            Some(shell) => guests::execute_shell(&self.host, shell, &request, timings),
            None => guests::create_from(&self.host, &request, timings),
        }?;
        self.leftover.push_back(created.mapped);
        tracing::info!("{}", line(&config.name, created.domid.0, origin, timings));
        Ok(((created.domid.0, created.record.handle.to_string()), origin))
    }

    /// Makes a guest again.
    fn again(&mut self, config: &DomainConfig) -> Result<u16, String> {
        let mut timings = Timings::start();
        let image = self.host.image(&config.kernel).map_err(|error| chain(&error))?;
        let ramdisk = config.ramdisk.as_deref().map(RamdiskFile::open);
        let ramdisk = ramdisk.transpose().map_err(|error| chain(&error))?;
        timings.stage("files");
        let made = self.guest(config, &image, ramdisk.as_ref(), false, &mut timings);
        let ((domid, _), _) = made.map_err(|error| chain(&error))?;
        Ok(domid)
    }

    /// Deals with one guest that has ended.
    pub fn supervise(&mut self, supervisor: &mut Supervisor) {
        let host = self.host.clone();
        supervisor.turn(&host, &mut |config| self.again(config));
        // Memory may have come back.
        self.trouble = None;
        self.after();
    }

    /// What everything is done on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// A shell that fits: one that holds the image, or else one that holds none.
    fn shell(
        &mut self,
        config: &DomainConfig,
        image: &Arc<Image>,
    ) -> (Option<AttachedShell>, Origin) {
        let kind = guests::shell_kind(config);
        let fit = Fit { flavour: kind.flavour, bridges: kind.bridges };
        let kinds = &self.kinds;
        let warm =
            |shelf: usize| kinds[shelf].image.as_ref().is_some_and(|held| Arc::ptr_eq(held, image));
        let plain = |shelf: usize| kinds[shelf].image.is_none();
        let (shell, origin) = match self.pool.take(&fit, warm) {
            Some(shell) => (Some(shell), Origin::Warm),
            None => match self.pool.take(&fit, plain) {
                Some(shell) => (Some(shell), Origin::Pool),
                None => (None, Origin::Cold),
            },
        };
        if shell.is_none() {
            self.pool.miss(&fit, |shelf| warm(shelf) || plain(shelf));
        }
        (shell.map(|shell| shell.unpark(&self.host)), origin)
    }

    fn status(&self) -> Vec<FlavourStatus> {
        let shelves = self.pool.shelves().iter().zip(&self.kernels);
        shelves
            .map(|(shelf, kernel)| FlavourStatus {
                name: shelf.name.clone(),
                memory_kib: shelf.fit.flavour.memory.0,
                vcpus: shelf.fit.flavour.vcpus,
                console: shelf.fit.flavour.console,
                bridges: shelf.fit.bridges.clone(),
                kernel: kernel.clone(),
                low: shelf.marks.low,
                high: shelf.marks.high,
                ready: shelf.ready(),
                making: shelf.making(),
                hits: shelf.hits,
                misses: shelf.misses,
                refill_ns: shelf.refill_ns,
            })
            .collect()
    }

    fn resize(&mut self, flavour: &str, marks: Marks) -> Result<Reply, Refusal> {
        let wrong = |message| Refusal { class: FailureClass::WrongInput, message };
        if marks.low > marks.high {
            let Marks { low, high } = marks;
            return Err(wrong(format!("low is {low} and high is {high}; high must not be less")));
        }
        let surplus = self
            .pool
            .resize(flavour, marks)
            .ok_or_else(|| wrong(format!("there is no flavour {flavour}; see chaos pool")))?;
        for shell in surplus {
            self.order(Order::Destroy(shell));
        }
        Ok(Reply::Done)
    }
}

impl Serve for Service {
    fn serve(
        &mut self,
        peer: Peer,
        request: Request,
        files: Vec<OwnedFd>,
        timings: Timings,
    ) -> Reply {
        // What was in the way may be gone.
        self.trouble = None;
        let (pid, uid) = (peer.pid, peer.uid);
        let (what, result) = match request {
            Request::Create { config, paused } => {
                ("create", self.create(config, paused, files, timings))
            }
            Request::Pool => ("pool", Ok(Reply::Pool(self.status()))),
            Request::Resize { flavour, low, high } => {
                ("resize", self.resize(&flavour, Marks { low, high }))
            }
            Request::Drain => {
                self.destroy_all();
                ("drain", Ok(Reply::Done))
            }
        };
        match result {
            Ok(reply) => {
                tracing::debug!("{what} of process {pid} (user {uid})");
                reply
            }
            Err(refusal) => {
                tracing::info!("{what} of process {pid} (user {uid}) refused: {refusal}");
                Reply::Refused(refusal)
            }
        }
    }

    fn after(&mut self) {
        let now = Instant::now();
        let (first, _) = *self.asked.get_or_insert((now, now));
        self.asked = Some((first, now));
        if self.leftover.len() > MAX_LEFTOVER
            && let Some(oldest) = self.leftover.pop_front()
        {
            self.order(Order::Unmap(oldest));
        }
    }
}

fn refusal(error: &LifecycleError) -> Refusal {
    Refusal { class: error.class(), message: chain(error) }
}

/// A file that was opened for reading, and maybe for more.
fn readable(file: OwnedFd) -> Option<File> {
    let flags = OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL).ok()?);
    // `O_RDONLY` is 0; a file that was opened with `O_PATH` can be neither read nor written.
    let reads = matches!(flags & OFlag::O_ACCMODE, OFlag::O_RDONLY | OFlag::O_RDWR);
    (reads && !flags.contains(OFlag::O_PATH)).then(|| File::from(file))
}

/// The log's line of a create.
fn line(name: &str, domid: u16, origin: Origin, timings: &Timings) -> String {
    let from = match origin {
        Origin::Warm => "from a warm shell",
        Origin::Pool => "from a shell",
        Origin::Cold => "made on the spot",
    };
    let mut text =
        format!("{name} is domain {domid}, {from}, in {} us:", timings.total_ns() / 1000);
    for stage in timings.stages() {
        // Writing to a string does not fail.
        let _ = write!(text, " {} {}", stage.name, stage.ns / 1000);
    }
    text
}
