// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates guests: checks a request, waits for the kernel, and takes a shell.

use std::fs::File;
use std::sync::Arc;

use chaos::backends::OpenDisks;
use chaos::clients::chaosd::protocol::{Created, Origin, Refusal, Reply};
use chaos::config::{DomainConfig, EncodedConfig};
use chaos::guests::{self, Condition, CreateOptions, GuestRequest, KnownImage, LifecycleError};
use chaos::handle::DomainIdentity;
use chaos::image::{Image, ImageError, ModuleFile, SizeLimit};
use chaos::records::{RecordError, RequestId};
use chaos::timings::Timings;
use xen::units::{DomId, DomainHandle, KiB};

use super::{AfterLoad, Service};
use crate::answers::{
    create_line, open_pv_kernel, open_ramdisk, refusal, reply, wrong_files, wrong_input,
};
use crate::files::{CreateFiles, WantedFiles};
use crate::loader::Loaded;
use crate::members::{MemberFiles, MemberRefusal, ROOT, check_backends};
use crate::observe::Report;
use crate::pool::Taker;
use crate::reserved;
use crate::server::{Answer, Files, Peer};

/// A request to create a guest.
pub(super) struct CreateRequest {
    pub(super) config: EncodedConfig,
    pub(super) paused: bool,
    pub(super) request: RequestId,
}

/// A create that was checked, and whose kernel is known or being read.
#[derive(Debug)]
pub(super) struct PendingCreate {
    peer: Peer,
    config: DomainConfig,
    paused: bool,
    request: RequestId,
    pv_kernel: Option<File>,
    ramdisk: Option<File>,
    /// Its disks, if they came with the request.
    disks: Option<Arc<OpenDisks>>,
    /// The files, if a user other than root has uploaded them.
    uploaded: Option<MemberFiles>,
    timings: Timings,
}

/// The files of a guest.
#[derive(Clone, Copy)]
pub(super) struct GuestFiles<'a> {
    pub(super) image: &'a Arc<Image>,
    /// The kernel that the image starts, if that is the PV shim.
    pub(super) pv_kernel: Option<&'a ModuleFile>,
    pub(super) ramdisk: Option<&'a ModuleFile>,
    /// Its disks, if they are open already.
    pub(super) disks: Option<&'a Arc<OpenDisks>>,
}

/// A guest that this service has created.
pub(super) struct ServedGuest {
    pub(super) domid: DomId,
    pub(super) handle: DomainHandle,
    origin: Origin,
}

/// Returns the disks that came with a request, if there are any. They are read now, and not when the
/// kernel was read: the client has just opened them, so that their storage has answered.
fn received_disks(
    config: &DomainConfig,
    files: Vec<File>,
) -> Result<Option<Arc<OpenDisks>>, Refusal> {
    if files.is_empty() {
        return Ok(None);
    }
    guests::receive_disks(config, files).map(Some).map_err(|error| refusal(&error))
}

impl Service {
    pub(super) fn answer_create(
        &mut self,
        peer: Peer,
        create: CreateRequest,
        files: Files,
        timings: Timings,
    ) -> Result<Answer, Refusal> {
        let CreateRequest { config, paused, request } = create;
        let config =
            DomainConfig::try_from(config).map_err(|error| wrong_input(error.to_string()))?;
        let mut wanted = WantedFiles {
            pv_kernel: config.pv_kernel().is_some(),
            ramdisk: config.ramdisk.is_some(),
            disks: config.disks.len(),
        };
        let (kernel, pv_kernel, ramdisk, disks, uploaded) = match files {
            Files::Passed(files) => {
                let CreateFiles { kernel, pv_kernel, ramdisk, disks } =
                    CreateFiles::take(files, wanted).map_err(|error| wrong_files(&error))?;
                (kernel, pv_kernel, ramdisk, received_disks(&config, disks)?, None)
            }
            Files::Uploaded(files) => {
                self.check_member(peer.uid, &config)?;
                // Otherwise the whole guest would be prepared and destroyed again for each attempt.
                if let Some(error) = self.name_in_use(&config.name) {
                    return self.repeated(&config.name, request, &error).map(Answer::Now);
                }
                wanted.disks = 0;
                let CreateFiles { kernel, ramdisk, .. } =
                    CreateFiles::sort(files, wanted).map_err(|error| wrong_files(&error))?;
                let files = MemberFiles { kernel, ramdisk };
                let (kernel, ramdisk) = files.open().map_err(|error| {
                    let source = ImageError::Read(error);
                    refusal(&LifecycleError::Kernel { path: config.kernel.clone(), source })
                })?;
                // Users other than root have no PV kernel.
                (kernel, None, ramdisk, None, Some(files))
            }
        };
        let pending = PendingCreate {
            peer,
            config,
            paused,
            request,
            pv_kernel,
            ramdisk,
            disks,
            uploaded,
            timings,
        };
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

    /// Returns what has waited for a kernel that was read, if there is anything, and for which user:
    /// for one other than root only if `of_members`. A create is carried out; call
    /// [`restart_loaded`](Self::restart_loaded) for a restart.
    pub(crate) fn loaded(&mut self, of_members: bool) -> Option<(u32, AfterLoad)> {
        let Loaded { ticket, uid, key, limit, result } = self.loader.take(of_members)?;
        let image = self.host_of(uid).keep_image(key, limit, result);
        if let Some(name) = self.restarting.remove(&ticket) {
            self.read_for_restart = Some((key, image));
            return Some((uid, AfterLoad::Restart(name)));
        }
        let pending = self.loading.remove(&ticket)?;
        if let (Some(files), Err(error)) = (&pending.uploaded, &image) {
            self.refused_kernels.note(&files.kernel, limit, error);
        }
        let (peer, uploads) = (pending.peer, pending.uploaded.is_some());
        // The user may have got other guests meanwhile.
        let checked = if uploads { self.check_member(peer.uid, &pending.config) } else { Ok(()) };
        let result = checked.and_then(|()| self.finish_create(pending, image));
        Some((uid, AfterLoad::Created(ticket, reply("create", peer, result, &self.lines))))
    }

    fn finish_create(
        &mut self,
        pending: PendingCreate,
        image: Result<Arc<Image>, ImageError>,
    ) -> Result<Reply, Refusal> {
        let PendingCreate {
            peer,
            config,
            paused,
            request,
            pv_kernel,
            ramdisk,
            disks,
            uploaded,
            mut timings,
        } = pending;
        let image = image.map_err(|source| {
            refusal(&LifecycleError::Kernel { path: config.boot_kernel().to_owned(), source })
        })?;
        let pv_kernel = open_pv_kernel(pv_kernel, &config).map_err(|error| refusal(&error))?;
        let ramdisk = open_ramdisk(ramdisk, &config).map_err(|error| refusal(&error))?;
        let decided =
            guests::decide(&self.host, &config, &image, false).map_err(|error| refusal(&error))?;
        let is_kernels_store = guests::is_kernels_store(&config, &decided);
        let config = decided;
        check_backends(peer.uid, &config).map_err(wrong_input)?;
        timings.stage("files");

        let options =
            CreateOptions { paused, console: false, owner: peer.uid, request: Some(request) };
        let files = GuestFiles {
            image: &image,
            pv_kernel: pv_kernel.as_ref(),
            ramdisk: ramdisk.as_ref(),
            disks: disks.as_ref(),
        };
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
        let domid = domid.0;
        Ok(Reply::Created(Created { domid, handle, shell: origin, is_kernels_store, stages }))
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

    /// Creates a guest, from the pool if a shell fits.
    pub(super) fn create(
        &mut self,
        config: &DomainConfig,
        files: GuestFiles<'_>,
        options: CreateOptions,
        timings: &mut Timings,
    ) -> Result<ServedGuest, LifecycleError> {
        let GuestFiles { image, pv_kernel, ramdisk, disks } = files;
        let taker = if options.owner == ROOT { Taker::Root } else { Taker::Member };
        let (shell, origin) = self.stock.take(config, image, taker);
        let request = GuestRequest { config, image, pv_kernel, ramdisk, disks, options };
        let created = match shell {
            Some(shell) => {
                let shell = shell.unpark(&self.host);
                guests::execute_shell(&self.host, shell, &request, timings)
            }
            None => guests::create_from(&self.host, &request, timings),
        };
        let created = match created {
            Err(error)
                if error.is_out_of_memory() && self.free_memory(options.owner, config.memory) =>
            {
                guests::create_from(&self.host, &request, timings)
            }
            result => result,
        };
        let created = created.inspect_err(|_| self.creates.failed())?;
        let (domid, handle) = (created.domid, created.record.handle);
        let identity = DomainIdentity { domid, handle };
        self.note_created(&config.name, identity, origin, options.owner, timings);
        self.still_mapped.push_back(created.mapped);
        Ok(ServedGuest { domid, handle, origin })
    }

    /// Counts, reports and logs a guest that was created.
    pub(super) fn note_created(
        &mut self,
        name: &str,
        identity: DomainIdentity,
        origin: Origin,
        owner: u32,
        timings: &Timings,
    ) {
        self.creates.created(origin, timings.stages());
        self.reporter.send(|| Report::Created { name: name.to_owned(), identity, origin });
        if self.lines.allows(owner) {
            tracing::info!("{}", create_line(name, identity.domid, origin, timings));
        }
    }

    /// Returns whether a guest with so much memory may fit once the shells of the pool are gone. If not, they are
    /// better kept.
    fn may_fit(&self, memory: KiB) -> bool {
        let free = self.host.xen.physinfo().map(|host| host.free.to_kib());
        free.is_ok_and(|free| memory <= KiB(free.0.saturating_add(self.stock.held().0)))
    }

    /// Frees the memory of incomplete domains and, for a guest of root's of this size, of ready shells.
    /// Returns whether there were any. A member could empty the pool again and again otherwise.
    pub(super) fn free_memory(&mut self, owner: u32, memory: KiB) -> bool {
        let given_up = match owner == ROOT && self.may_fit(memory) {
            true => self.stock.give_up(&self.host),
            false => 0,
        };
        if given_up > 0 {
            tracing::info!(
                "Xen has too little memory: {given_up} shells of the pool are destroyed"
            );
        }
        let reaped = guests::reap(&self.host).unwrap_or_default();
        given_up + reaped > 0
    }
}
