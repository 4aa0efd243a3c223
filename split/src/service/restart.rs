// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates the successors of guests that are restarted.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use chaos::clients::chaosd::protocol::Origin;
use chaos::guests::{self, CreateOptions, KnownImage, LifecycleError};
use chaos::image::{Image, ImageError};
use chaos::records::Record;
use chaos::timings::Timings;
use xen::units::KiB;

use super::Service;
use super::create::GuestFiles;
use crate::answers::{open_pv_kernel, open_ramdisk};
use crate::boots::{self, Booted};
use crate::members::ROOT;
use crate::reserved;
use crate::restart_files::OpenFiles;
use crate::restart_threads::{OrderedGuest, Restarted};
use crate::supervise::{RestartError, Successors, Supervisor};

impl Successors for Service {
    fn check(&mut self, record: &Record) -> Result<(), RestartError> {
        if record.owner == ROOT {
            if boots::check(&record.config)? {
                return Ok(());
            }
            return self.restart_files.open(&record.config).map(drop);
        }
        match self.members.files(&record.handle.0) {
            Some(_) => Ok(()),
            None => Err(RestartError::NoFiles { owner: record.owner }),
        }
    }

    fn create(&mut self, record: &Record) -> Result<u16, RestartError> {
        let mut timings = Timings::start();
        let booted = self.boot(record)?;
        let booted_config = booted.as_ref().map(|booted| booted.config.clone());
        let config = booted_config.as_ref().unwrap_or(&record.config);
        let (owner, old) = (record.owner, &record.handle.0);
        let kernel_error = |source| LifecycleError::Kernel { path: config.kernel.clone(), source };
        let mut member_files = None;
        let (image, pv_kernel, ramdisk) = if owner == ROOT {
            let OpenFiles { kernel, pv_kernel, ramdisk } = match booted {
                Some(booted) => booted.files,
                None => self.restart_files.open(config)?,
            };
            (self.restart_image(kernel, record)?, pv_kernel, ramdisk)
        } else {
            if let Some(until) = self.rest.ends(Instant::now()) {
                return Err(RestartError::Resting { until });
            }
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
            (image, None, ramdisk)
        };
        let pv_kernel = open_pv_kernel(pv_kernel, config)?;
        let ramdisk = open_ramdisk(ramdisk, config)?;
        timings.stage("files");
        let options = CreateOptions { owner, request: record.request, ..CreateOptions::default() };
        if config.needs_programs() {
            let config = config.clone();
            let guest = OrderedGuest { config, image, pv_kernel, ramdisk, options };
            self.restart_threads
                .order(record.name().to_owned(), guest)
                .map_err(RestartError::Thread)?;
            return Err(RestartError::InThread);
        }
        let (pv_kernel, ramdisk) = (pv_kernel.as_ref(), ramdisk.as_ref());
        let files = GuestFiles { image: &image, pv_kernel, ramdisk, disks: None };
        let began = Instant::now();
        let created = Self::create(self, config, files, options, &mut timings);
        if owner != ROOT {
            self.rest.had_turn(began, Instant::now());
        }
        let created = created?;
        self.members.created(owner, created.handle.0, config, member_files);
        Ok(created.domid.0)
    }

    fn cancel(&mut self, name: &str) {
        self.boots.cancel(name);
    }
}

impl Service {
    /// Tries a restart whose kernel was read.
    pub(crate) fn restart_loaded(&mut self, supervisor: &mut Supervisor, name: &str) {
        let host = self.host.clone();
        supervisor.retry_now(&host, name, self);
        self.read_for_restart = None;
        if !self.restarting.values().any(|other| other == name) {
            self.boots.forget(name);
        }
    }

    /// Returns the name of a guest to restart whose bootloader has ended, if there is one. Call
    /// [`restart_loaded`](Self::restart_loaded) for it.
    pub(crate) fn booted(&mut self) -> Option<String> {
        let records = &self.host.records;
        // A command may have destroyed a guest meanwhile whose bootloader waits, which would be next.
        self.boots.keep_waiting(|name, handle| match records.pending_restart(name) {
            Ok(pending) => pending.is_some_and(|record| record.handle == handle),
            Err(_) => true,
        });
        self.boots.ended()
    }

    /// Returns what the bootloader of one of root's guests has found, if it has one.
    ///
    /// # Errors
    /// [`RestartError::Booting`] if it has not ended yet, or it has found nothing.
    fn boot(&mut self, record: &Record) -> Result<Option<Booted>, RestartError> {
        if record.owner != ROOT || record.config.extras().bootloader.is_none() {
            return Ok(None);
        }
        self.boots.take(record.name(), record.handle, &record.config).map(Some)
    }

    /// Ends the restarts of the guests that threads have created meanwhile.
    pub(crate) fn collect_restarts(&mut self, supervisor: &mut Supervisor) {
        while let Some(Restarted { name, result }) = self.restart_threads.done() {
            let result = match result {
                Ok((identity, timings)) => {
                    self.note_created(&name, identity, Origin::Cold, ROOT, &timings);
                    Ok(identity.domid.0)
                }
                Err(error) => {
                    if error.is_out_of_memory() {
                        // The next attempt finds more.
                        self.free_memory(ROOT, KiB(0));
                    }
                    self.creates.failed();
                    Err(error.into())
                }
            };
            let host = self.host.clone();
            supervisor.finish_restart(&host, &name, result, self);
        }
    }

    /// Returns the kernel of a guest that is restarted.
    ///
    /// # Errors
    /// [`RestartError::Reading`] if it must be read first, or it cannot be used.
    fn restart_image(&mut self, kernel: File, record: &Record) -> Result<Arc<Image>, RestartError> {
        let config = &record.config;
        let kernel_error =
            |source| LifecycleError::Kernel { path: config.boot_kernel().to_owned(), source };
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
}
