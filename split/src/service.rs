// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers requests, and does the work that they leave.

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

/// The service: the host, the ready shells, and the work that can wait.
#[derive(Debug)]
pub struct Service {
    host: Host,
    stock: Stock,
    /// Guests' memory that is still mapped, the oldest first.
    still_mapped: VecDeque<Mapped>,
    /// The times of the first and the last request since [`tidy`](Self::tidy).
    recent_requests: Option<(Instant, Instant)>,
    /// Number of CPUs that this process may use.
    cpus: usize,
}

/// A guest that this service has created.
struct ServedGuest {
    domid: DomId,
    /// The domain's handle, as a UUID.
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
            still_mapped: VecDeque::new(),
            recent_requests: None,
            cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
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
        self.stock.configure(&self.host, settings)
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
        supervisor.turn(&host, &mut |config| self.restart(config));
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
        config: EncodedConfig,
        paused: bool,
        files: Vec<OwnedFd>,
        mut timings: Timings,
    ) -> Result<Reply, Refusal> {
        let config =
            DomainConfig::try_from(config).map_err(|error| wrong_input(error.to_string()))?;
        let CreateFiles { kernel, ramdisk } = CreateFiles::take(files, config.ramdisk.is_some())
            .map_err(|error: FilesError| wrong_input(error.to_string()))?;
        let image = self.host.image_in(&kernel, config.memory).map_err(|source| {
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
        let ServedGuest { domid, handle, origin } = created;
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
    ) -> Result<ServedGuest, LifecycleError> {
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
        self.still_mapped.push_back(created.mapped);
        tracing::info!("{}", create_line(&config.name, created.domid, origin, timings));
        let handle = created.record.handle.to_string();
        Ok(ServedGuest { domid: created.domid, handle, origin })
    }

    /// Creates the successor of a guest that has ended.
    fn restart(&mut self, config: &DomainConfig) -> Result<u16, RestartError> {
        let mut timings = Timings::start();
        let image = self
            .host
            .image(&config.kernel, config.memory)
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
        // Preparing a shell may succeed now.
        self.stock.clear_error();
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
        let (first, _) = *self.recent_requests.get_or_insert((now, now));
        self.recent_requests = Some((first, now));
        if self.still_mapped.len() > MAX_MAPPED
            && let Some(oldest) = self.still_mapped.pop_front()
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

/// Returns the line that a create writes to the log.
fn create_line(name: &str, domid: DomId, origin: Origin, timings: &Timings) -> String {
    let from = match origin {
        Origin::Warm => "from a warm shell",
        Origin::Pool => "from a shell",
        Origin::Cold => "prepared for this request",
    };
    let mut text =
        format!("{name} is domain {}, {from}, in {} us:", domid.0, timings.total_ns() / 1000);
    for stage in timings.stages() {
        // Writing to a string does not fail.
        let _ = write!(text, " {} {}", stage.name, stage.ns / 1000);
    }
    text
}
