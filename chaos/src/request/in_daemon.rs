// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates guests in `chaosd`, also if it is stopped or restarted meanwhile.
//!
//! A connection that is lost leaves open whether the guest was created. So each request has a
//! number, which the guest's record contains: `chaosd` answers a repeated request with the guest
//! that the first one has created. Where no `chaosd` runs any more, this process looks for that
//! guest, and creates it if there is none.

use std::fs::File;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use disk::DiskError;
use nix::unistd::geteuid;
use xen::units::DomId;

use super::create::{CreatedGuest, create_in_this_process};
use super::error::RequestError;
use crate::backends::{DevicesError, disks};
use crate::clients::chaosd::client::{CHAOSD, Chaosd, DaemonError, UploadError};
use crate::clients::chaosd::protocol::{Created, Reply, Request};
use crate::config::{DiskConfig, DiskFormat, DomainConfig, EncodedConfig};
use crate::guests::{self, CreateOptions, Host, LifecycleError};
use crate::image::{self, ImageError, ImageKey};
use crate::random;
use crate::records::RequestId;
use crate::timings::Timings;

/// How often a request is sent to a `chaosd` that closes the connection.
const ATTEMPTS: u32 = 3;

/// The open files of a guest.
struct GuestFiles<'a> {
    config: &'a DomainConfig,
    kernel: File,
    /// The kernel that the PV shim starts, if that is the other kernel.
    pv_kernel: Option<File>,
    ramdisk: Option<File>,
    /// The files behind its disks: all of them, or none.
    disks: Vec<File>,
}

/// Creates a guest in `chaosd`.
pub(super) fn create(
    daemon: &Chaosd,
    config: &DomainConfig,
    options: CreateOptions,
    timings: &mut Timings,
) -> Result<CreatedGuest, RequestError> {
    if options.console {
        return Err(RequestError::ConsoleInDaemon { name: config.name.clone() });
    }
    let is_root = geteuid().is_root();
    let files = GuestFiles::open(config, is_root)?;
    let mut request = RequestId::default();
    random::fill(&mut request).map_err(LifecycleError::Process)?;
    let message =
        Request::Create { config: EncodedConfig::from(config), paused: options.paused, request };
    let send =
        || if is_root { files.pass(daemon, &message) } else { files.upload(daemon, &message) };
    for attempt in 1.. {
        match send() {
            Ok(created) => {
                timings.stage("request");
                return Ok(of_daemon(config, created));
            }
            Err(RequestError::Daemon(DaemonError::Closed(_))) if attempt < ATTEMPTS => {}
            Err(RequestError::Daemon(source @ DaemonError::Silent(_))) => {
                return Err(RequestError::Lost { name: config.name.clone(), source });
            }
            Err(error) => return Err(error),
        }
        let connected =
            if is_root { daemon.reconnect() } else { daemon.reconnect_when_it_returns() };
        match connected {
            Ok(()) => {}
            Err(DaemonError::NotRunning { .. }) if is_root => {
                daemon.wait_for_exit()?;
                // Opening a block device fails while this process still claims it.
                disks::close(files.disks);
                return without_daemon(config, options, request, timings);
            }
            Err(error) => {
                return Err(RequestError::Lost { name: config.name.clone(), source: error });
            }
        }
    }
    unreachable!("the last attempt returns")
}

impl<'a> GuestFiles<'a> {
    /// Opens them. chaosd refuses the disks of other users than root.
    fn open(config: &'a DomainConfig, is_root: bool) -> Result<Self, LifecycleError> {
        // What other users have is uploaded.
        let open = if is_root { image::open_for_another_process } else { image::open };
        let open_kernel = |path: &Path| open(path).map_err(|source| kernel_error(path, source));
        let kernel = open_kernel(config.boot_kernel())?;
        let pv_kernel = config.pv_kernel().map(open_kernel).transpose()?;
        let ramdisk = config.ramdisk.as_deref();
        let ramdisk = ramdisk.map(|path| open(path).map_err(|e| ramdisk_error(path, e)));
        let disks = match is_root && !config.disks.is_empty() {
            true => open_disks(config)?,
            false => Vec::new(),
        };
        Ok(Self { config, kernel, pv_kernel, ramdisk: ramdisk.transpose()?, disks })
    }

    /// Sends a create with the files' descriptors.
    fn pass(&self, daemon: &Chaosd, message: &Request) -> Result<Created, RequestError> {
        let more = self.pv_kernel.iter().chain(&self.ramdisk).chain(&self.disks);
        if more.clone().next().is_none() {
            return ask(daemon, message, &[self.kernel.as_fd()]);
        }
        let files = iter::once(&self.kernel).chain(more);
        ask(daemon, message, &files.map(AsFd::as_fd).collect::<Vec<_>>())
    }

    /// Sends the files' bytes, then a create. The files are read with the rights of this user.
    fn upload(&self, daemon: &Chaosd, message: &Request) -> Result<Created, RequestError> {
        upload(daemon, &self.kernel, |source| kernel_error(&self.config.kernel, source))?;
        if let (Some(file), Some(path)) = (&self.ramdisk, &self.config.ramdisk) {
            upload(daemon, file, |source| ramdisk_error(path, source))?;
        }
        ask(daemon, message, &[])
    }
}

/// Opens the files behind a guest's disks: storage that does not answer holds this process, and not
/// chaosd. Returns none if another process, perhaps a guest of this name, has claimed a block device:
/// then chaosd opens them, and its error says who has what.
#[cold]
fn open_disks(config: &DomainConfig) -> Result<Vec<File>, LifecycleError> {
    let is_raw = |disk: &DiskConfig| disk.format == DiskFormat::Raw;
    match config.disks.iter().map(disks::open_file).collect() {
        // Only if all are raw: chaosd could not open an image while this process still has it open.
        Err(DevicesError::Image(DiskError::Claimed { .. })) if config.disks.iter().all(is_raw) => {
            Ok(Vec::new())
        }
        opened => opened.map_err(|error| LifecycleError::from(error).about("create", &config.name)),
    }
}

fn kernel_error(path: &Path, source: ImageError) -> LifecycleError {
    LifecycleError::Kernel { path: path.to_owned(), source }
}

fn ramdisk_error(path: &Path, source: ImageError) -> LifecycleError {
    LifecycleError::Ramdisk { path: path.to_owned(), source }
}

fn upload(
    daemon: &Chaosd,
    file: &File,
    about: impl Fn(ImageError) -> LifecycleError,
) -> Result<(), RequestError> {
    let size = ImageKey::of(file).map_err(&about)?.size;
    // An earlier attempt has read the file.
    let file = file.try_clone().and_then(|mut file| {
        std::io::Seek::rewind(&mut file)?;
        Ok(file)
    });
    let file = file.map_err(|error| about(ImageError::Read(error)))?;
    daemon.upload(&file, size).map_err(|error| match error {
        UploadError::Daemon(error) => error.into(),
        UploadError::Read(error) => about(ImageError::Read(error)).into(),
    })
}

fn ask(
    daemon: &Chaosd,
    message: &Request,
    files: &[BorrowedFd<'_>],
) -> Result<Created, RequestError> {
    match daemon.ask(message, files)? {
        Reply::Created(created) => Ok(created),
        _ => Err(DaemonError::Unexpected(&CHAOSD).into()),
    }
}

fn of_daemon(config: &DomainConfig, created: Created) -> CreatedGuest {
    CreatedGuest {
        name: config.name.clone(),
        domid: DomId(created.domid),
        handle: created.handle,
        origin: created.shell,
        is_kernels_store: created.is_kernels_store,
        daemon_stages: created.stages,
        console: None,
        mapped: None,
    }
}

/// Returns the guest of a request whose `chaosd` is gone, and creates it if it does not exist.
///
/// It is not inlined: its stack frame is large, and each new page of the stack costs the caller
/// time.
#[cold]
#[inline(never)]
fn without_daemon(
    config: &DomainConfig,
    options: CreateOptions,
    request: RequestId,
    timings: &mut Timings,
) -> Result<CreatedGuest, RequestError> {
    let host = Host::open()?;
    if let Some(found) = guests::of_request(&host, &config.name, request)? {
        return Ok(of_daemon(config, found.into()));
    }
    create_in_this_process(&host, config, options, timings)
}
