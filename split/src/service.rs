//! What is done with a request.

use std::collections::VecDeque;
use std::fmt::Write;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaos::clients::chaosd::protocol::{Created, Origin, Refusal, Reply, Request};
use chaos::config::{DomainConfig, EncodedConfig};
use chaos::domain::Mapped;
use chaos::failure::FailureClass;
use chaos::guests::{self, CreateOptions, GuestRequest, Host, LifecycleError};
use chaos::image::{Image, RamdiskFile};
use chaos::timings::Timings;
use daemon::chain::chain;
use xen::units::DomId;

use crate::files::{CreateFiles, FilesError};
use crate::pool::PoolMarks;
use crate::refill::{Refill, RefillOrder};
use crate::server::{Peer, Serve};
use crate::settings::Settings;
use crate::stock::Stock;
use crate::supervise::{RestartError, Supervisor};

/// How long no request may have come before the pool is refilled. A client that has its answer needs
/// the CPU to exit: where there is only one, Linux may well give it to the thread that refills,
/// although that thread steps back (`SCHED_IDLE` is a small share, not the last place).
const QUIET: Duration = Duration::from_millis(5);

/// How long the pool waits for that where requests never cease: other CPUs refill it then. With one
/// CPU, refilling it under such a load would take from the creates what it gives them.
const PATIENCE: Duration = Duration::from_millis(50);

/// Most guests whose memory stays mapped until then: a guest that ends meanwhile keeps it so long.
const MAX_LEFTOVER: usize = 64;

/// Everything that answers requests.
#[derive(Debug)]
pub struct Service {
    host: Host,
    stock: Stock,
    /// Guests' memory that is still mapped, the oldest first.
    leftover: VecDeque<Mapped>,
    /// When the first and the last request came since the pool was looked at.
    asked: Option<(Instant, Instant)>,
    /// How many CPUs this process may use.
    cpus: usize,
}

/// A guest that was created.
struct CreatedGuest {
    domid: DomId,
    /// As a UUID.
    handle: String,
    origin: Origin,
}

impl Service {
    /// Returns a service with an empty pool.
    #[must_use]
    pub fn new(host: Host, refill: Refill) -> Self {
        Self {
            host,
            stock: Stock::new(refill),
            leftover: VecDeque::new(),
            asked: None,
            cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
    }

    /// Returns the handles that everything is done with.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Replaces the settings. The shells of the old ones are destroyed.
    ///
    /// # Errors
    /// A flavour's kernel cannot be used; then nothing has changed.
    pub fn configure(&mut self, settings: &Settings) -> Result<(), LifecycleError> {
        self.stock.configure(&self.host, settings)
    }

    /// Returns when to call [`tidy`](Self::tidy).
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
            self.stock.order(RefillOrder::Unmap(mapped));
        }
        self.stock.restock();
    }

    /// Takes the shells that the other thread has prepared.
    pub fn collect(&mut self) {
        self.stock.collect();
        // After a request, `tidy` does it in its time.
        if !self.stock.has_trouble() && self.asked.is_none() {
            self.stock.restock();
        }
    }

    /// Deals with one guest that has ended.
    pub fn supervise(&mut self, supervisor: &mut Supervisor) {
        let host = self.host.clone();
        supervisor.turn(&host, &mut |config| self.restart(config));
        // Memory may have come back.
        self.stock.forget_trouble();
        self.after();
    }

    /// Destroys all shells and waits for it. Guests stay.
    pub fn shut_down(self) {
        self.stock.shut_down(&self.host);
    }

    fn answer_create(
        &mut self,
        config: EncodedConfig,
        paused: bool,
        files: Vec<OwnedFd>,
        mut timings: Timings,
    ) -> Result<Reply, Refusal> {
        let config =
            DomainConfig::try_from(config).map_err(|error| wrong_input(error.to_string()))?;
        let CreateFiles { kernel, ramdisk } = CreateFiles::take(files, config.ramdisk.is_some())
            .map_err(|error: FilesError| wrong_input(error.to_string()))?;
        let image = self.host.image_in(&kernel).map_err(|source| {
            refusal(&LifecycleError::Kernel { path: config.kernel.clone(), source })
        })?;
        let ramdisk = match (ramdisk, &config.ramdisk) {
            (Some(file), Some(path)) => Some(RamdiskFile::new(file).map_err(|source| {
                refusal(&LifecycleError::Ramdisk { path: path.clone(), source })
            })?),
            _ => None,
        };
        timings.stage("files");

        let created = self
            .create(&config, &image, ramdisk.as_ref(), paused, &mut timings)
            .map_err(|error| refusal(&error))?;
        let stages = timings.stages().iter();
        let stages = stages.map(|stage| (stage.name.to_owned(), stage.ns)).collect();
        let CreatedGuest { domid, handle, origin } = created;
        Ok(Reply::Created(Created { domid: domid.0, handle, shell: origin, stages }))
    }

    /// Creates a guest, from the pool if a shell fits.
    fn create(
        &mut self,
        config: &DomainConfig,
        image: &Arc<Image>,
        ramdisk: Option<&RamdiskFile>,
        paused: bool,
        timings: &mut Timings,
    ) -> Result<CreatedGuest, LifecycleError> {
        let (shell, origin) = self.stock.take(config, image);
        let options = CreateOptions { paused, console: false };
        let request = GuestRequest { config, image, ramdisk, options };
        let created = match shell {
            Some(shell) => {
                let shell = shell.unpark(&self.host);
                guests::execute_shell(&self.host, shell, &request, timings)
            }
            None => guests::create_from(&self.host, &request, timings),
        }?;
        self.leftover.push_back(created.mapped);
        tracing::info!("{}", create_line(&config.name, created.domid, origin, timings));
        let handle = created.record.handle.to_string();
        Ok(CreatedGuest { domid: created.domid, handle, origin })
    }

    /// Creates a guest that has ended again.
    fn restart(&mut self, config: &DomainConfig) -> Result<u16, RestartError> {
        let mut timings = Timings::start();
        let image = self
            .host
            .image(&config.kernel)
            .map_err(|source| LifecycleError::Kernel { path: config.kernel.clone(), source })?;
        let ramdisk = config.ramdisk.as_deref().map(|path| {
            RamdiskFile::open(path)
                .map_err(|source| LifecycleError::Ramdisk { path: path.to_owned(), source })
        });
        let ramdisk = ramdisk.transpose()?;
        timings.stage("files");
        let created = self.create(config, &image, ramdisk.as_ref(), false, &mut timings)?;
        Ok(created.domid.0)
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
    fn serve(
        &mut self,
        peer: Peer,
        request: Request,
        files: Vec<OwnedFd>,
        timings: Timings,
    ) -> Reply {
        // What was in the way may be gone.
        self.stock.forget_trouble();
        let (pid, uid) = (peer.pid, peer.uid);
        let (what, result) = match request {
            Request::Create { config, paused } => {
                ("create", self.answer_create(config, paused, files, timings))
            }
            Request::Pool => ("pool", Ok(Reply::Pool(self.stock.status()))),
            Request::Resize { flavour, low, high } => {
                ("resize", self.resize(&flavour, PoolMarks { low, high }))
            }
            Request::Drain => {
                self.stock.drain();
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
            self.stock.order(RefillOrder::Unmap(oldest));
        }
    }
}

fn wrong_input(message: String) -> Refusal {
    Refusal { class: FailureClass::WrongInput, message }
}

fn refusal(error: &LifecycleError) -> Refusal {
    Refusal { class: error.class(), message: chain(error) }
}

/// Returns the log's line of a create.
fn create_line(name: &str, domid: DomId, origin: Origin, timings: &Timings) -> String {
    let from = match origin {
        Origin::Warm => "from a warm shell",
        Origin::Pool => "from a shell",
        Origin::Cold => "prepared on the spot",
    };
    let mut text =
        format!("{name} is domain {}, {from}, in {} us:", domid.0, timings.total_ns() / 1000);
    for stage in timings.stages() {
        // Writing to a string does not fail.
        let _ = write!(text, " {} {}", stage.name, stage.ns / 1000);
    }
    text
}
