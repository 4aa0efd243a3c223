// SPDX-License-Identifier: GPL-3.0-or-later
//! Disk images in other formats than raw: qemu-nbd opens the image, and the kernel's driver `nbd` makes a
//! block device of it, which then is a disk like any other.
//!
//! # Who ends what
//! The kernel disconnects a device when its last user closes it, as it does with a loop device, and qemu-nbd
//! exits when the kernel disconnects. So nothing is left of a process that is killed, nor of a guest whose
//! disk the kernel has served.
//!
//! noxsd closes its disks when it is restarted, and opens them again by their paths. So a device that it
//! serves is [kept](keep): it stays connected without a user, from when the guest's device file names it,
//! until it is [released](Releasing). Between the system calls that connect a device and open it, it is kept
//! as well, because other programs of dom0, such as udev, may open and close it before; [`release_unowned`],
//! which the next `chaos list` or chaosd calls, finds what a process that was killed just there has left.

mod device;
mod error;
mod handshake;
mod kernel;
mod process;
mod server;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process as this_process;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use noxs_control::{DiskIdentity, VbdDevice};
use xen::units::DomId;

use self::device::{NbdDevice, identifier};
use self::kernel::{Driver, Lifetime};
use self::process::Process;
use self::server::Server;
use super::error::DevicesError;
use crate::config::{DiskConfig, DiskFormat};
use crate::records::Records;

pub use error::NbdError;

/// How long qemu-nbd may take to open an image: that of a disk which has to spin up, and less than what a
/// client of chaosd waits.
const OPENS: Duration = Duration::from_secs(30);

/// How long qemu-nbd may take to exit: it writes what it has cached of the image's tables.
const EXITS: Duration = Duration::from_secs(10);

/// Opens an image as a block device and returns that, with its path. It stays connected as long as a descriptor is open, unless it is
/// [kept](keep).
///
/// # Errors
/// A program or a module is missing, or qemu-nbd does not open the image. Nothing is left.
pub(crate) fn open(disk: &DiskConfig) -> Result<(File, PathBuf), DevicesError> {
    let path = || disk.target.clone();
    let format = disk.format.name();
    let program = server::program().ok_or_else(|| NbdError::NoProgram { path: path(), format })?;
    let failed = |errno| NbdError::Connect { path: path(), errno };
    let driver = Driver::find_or_load().map_err(failed)?;
    let driver = driver.ok_or_else(|| NbdError::NoDriver { path: path(), format })?;
    let start = |source| NbdError::Start { path: path(), source };
    let server = Server::start(&program, disk, OPENS).map_err(start)?;
    let refused = |words| NbdError::Refused { path: path(), format, words };
    let export = handshake::negotiate(&server.client).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            NbdError::Silent { path: path(), seconds: OPENS.as_secs() }
        }
        io::ErrorKind::InvalidData => refused(error.to_string()),
        // It has exited.
        _ => refused(server.last_words(OPENS)),
    })?;
    if export.is_read_only() && !disk.read_only {
        return Err(refused(
            "qemu-nbd can only read it; let the guest only read it: access=r".to_owned(),
        )
        .into());
    }
    if export.size == 0 || !export.size.is_multiple_of(disk::SECTOR.into()) {
        return Err(NbdError::Size { path: path(), size: export.size }.into());
    }
    let creator = Process::running(this_process::id()).ok_or_else(|| failed(Errno::ESRCH))?;
    let identifier = identifier(creator, server.process);
    let connection = server.without_timeout().map_err(start)?;
    let index = driver.connect(connection, export, &identifier).map_err(failed)?;
    let path = device::path(index);
    let opened =
        disk::open_file(&path, disk.read_only).map_err(DevicesError::from).and_then(|file| {
            driver.set_lifetime(index, &identifier, Lifetime::UntilClosed).map_err(failed)?;
            server.keep().map_err(start)?;
            Ok(file)
        });
    opened.map(|file| (file, path)).inspect_err(|_| {
        // The other error is reported. If this fails, too, the device is not connected.
        let _ = driver.disconnect(index);
    })
}

/// Returns the path of the device behind an open disk of this format, which its image is known by then.
/// `None` if it is raw.
///
/// # Errors
/// chaos has not connected it.
pub(super) fn device_path(
    disk: &DiskConfig,
    identity: DiskIdentity,
) -> Result<Option<PathBuf>, NbdError> {
    match (disk.format, identity) {
        (DiskFormat::Raw, _) => Ok(None),
        (_, DiskIdentity::BlockDevice { number })
            if let Some(device) = NbdDevice::of_number(number) =>
        {
            Ok(Some(device.path()))
        }
        _ => Err(NbdError::Foreign { path: disk.target.clone() }),
    }
}

/// Keeps devices connected while noxsd, which serves them, is restarted. The guest's device file names them.
///
/// # Errors
/// The kernel refuses, because a device is no longer connected.
pub(super) fn keep(numbers: &[u64]) -> Result<(), NbdError> {
    set_lifetimes(numbers, Lifetime::Kept).map_err(|(device, errno)| NbdError::Connect {
        path: device.map_or_else(PathBuf::new, |device| device.path()),
        errno,
    })
}

/// Has devices disconnected when they are closed, after [`keep`].
pub(super) fn give_up(numbers: &[u64]) {
    // A device that this fails for is not connected.
    let _ = set_lifetimes(numbers, Lifetime::UntilClosed);
}

fn set_lifetimes(numbers: &[u64], lifetime: Lifetime) -> Result<(), (Option<NbdDevice>, Errno)> {
    if numbers.is_empty() {
        return Ok(());
    }
    let found = Driver::find().map_err(|errno| (None, errno))?;
    let driver = found.ok_or((None, Errno::ENODEV))?;
    for number in numbers {
        let device = NbdDevice::of_number(*number).ok_or((None, Errno::ENOTCONN))?;
        driver
            .set_lifetime(device.index, &device.identifier, lifetime)
            .map_err(|errno| (Some(device), errno))?;
    }
    Ok(())
}

/// The devices of a guest that is being removed. This process keeps them open: it is the last user and
/// disconnects them, and so waits for the writes, rather than noxsd, which serves other guests. If this
/// process is killed, the last user disconnects them all the same.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Releasing(Vec<(NbdDevice, Option<File>)>);

impl Releasing {
    /// Returns those of a domain. Its device file and its nodes must not be removed yet.
    pub(crate) fn of_domain(records: &Records, domid: DomId) -> Self {
        if !device::may_exist() {
            return Self::default();
        }
        let attach = records.devices(domid).ok().flatten();
        let mut numbers: Vec<u64> =
            attach.iter().flat_map(|attach| numbers(&attach.vbds)).collect();
        numbers.extend(device::served_by_kernel(Some(domid.0)));
        Self::of_numbers(&numbers)
    }

    /// Returns those with these numbers of block devices.
    pub(crate) fn of_numbers(numbers: &[u64]) -> Self {
        let devices: Vec<NbdDevice> =
            numbers.iter().filter_map(|number| NbdDevice::of_number(*number)).collect();
        if devices.is_empty() {
            return Self::default();
        }
        let driver = Driver::find().ok().flatten();
        let open = |device: NbdDevice| {
            // Either fails only if the device has been disconnected since.
            let file = OpenOptions::new().read(true).open(device.path()).ok();
            if let Some(driver) = &driver {
                let _ =
                    driver.set_lifetime(device.index, &device.identifier, Lifetime::UntilClosed);
            }
            (device, file)
        };
        Self(devices.into_iter().map(open).collect())
    }

    /// Closes the devices, and waits until qemu-nbd has closed the images. Returns a warning if it has not.
    pub(crate) fn finish(self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let deadline = Instant::now() + EXITS;
        let (devices, files): (Vec<NbdDevice>, Vec<Option<File>>) = self.0.into_iter().unzip();
        // The last close of a device writes what the kernel has cached, so it waits for the storage. If no
        // thread can be started, this drops the files here.
        let (closed, wait) = channel();
        let _ = thread::Builder::new().name("close".into()).spawn(move || {
            drop(files);
            // If this fails, the thread that waits has given up.
            let _ = closed.send(());
        });
        // An error means that they are not closed; then the server has not exited.
        let _ = wait.recv_timeout(EXITS);
        let late = devices.iter().find(|device| !device.server.wait(deadline))?;
        Some(format!(
            "{} is still connected to qemu-nbd ({}), which may still write its image",
            late.path().display(),
            late.server
        ))
    }
}

/// Returns the numbers of the block devices behind disks.
pub(crate) fn numbers<'a>(
    disks: impl IntoIterator<Item = &'a VbdDevice>,
) -> impl Iterator<Item = u64> {
    disks.into_iter().filter_map(|vbd| match vbd.image.as_ref()?.identity {
        DiskIdentity::BlockDevice { number } => Some(number),
        DiskIdentity::File { .. } => None,
    })
}

/// Returns the numbers of block devices of these files, of which raw ones are none of ours.
pub(crate) fn numbers_of_files(files: &[File]) -> Vec<u64> {
    files.iter().filter_map(|file| Some(fstat(file).ok()?.st_rdev)).collect()
}

/// Releases the devices whose creator is gone and which no device file names, nor the kernel serves: their
/// creator was killed. Costs one system call if the driver is not loaded.
pub(crate) fn release_unowned(records: &Records) {
    if !device::may_exist() {
        return;
    }
    server::remove_sockets();
    let without_creator: Vec<u64> = NbdDevice::all()
        .filter_map(|(number, device)| (!device.creator.runs()).then_some(number))
        .collect();
    if without_creator.is_empty() {
        return;
    }
    let Some(used) = used(records) else { return };
    let unowned: Vec<u64> =
        without_creator.into_iter().filter(|number| !used.contains(number)).collect();
    if unowned.is_empty() {
        return;
    }
    drop(Releasing::of_numbers(&unowned));
    // Perhaps chaosd has written a device file since, for a process that has connected the device and has
    // exited.
    let used = self::used(records).unwrap_or_default();
    for number in unowned.iter().filter(|number| used.contains(number)) {
        let _ = keep(&[*number]);
    }
}

/// Returns the numbers of the block devices that guests have. `None` if a device file cannot be read, which may
/// name any.
fn used(records: &Records) -> Option<HashSet<u64>> {
    let mut used: HashSet<u64> = device::served_by_kernel(None).into_iter().collect();
    for domid in records.domids().ok()? {
        let attach = records.devices(domid).ok()?;
        used.extend(attach.iter().flat_map(|attach| numbers(&attach.vbds)));
    }
    Some(used)
}
