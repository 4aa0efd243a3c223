// SPDX-License-Identifier: GPL-3.0-or-later
//! Completes the device file of a guest whose creator was killed right after the guest's start.
//!
//! `chaosd` sends `noxsd` the identities of a guest's vifs and the files behind its disks as the guest
//! starts, and adds them to the device file only afterwards. A restarted `noxsd` serves vifs without
//! identities and disks without files to no guest.

use std::os::fd::BorrowedFd;

use noxs_control::{Attach, Refusal};

use super::destroy::if_possible;
use super::error::LifecycleError;
use super::host::Host;
use super::vif_plan;
use crate::backends::disks::OpenDisks;
use crate::backends::noxsd::configure_restarted;
use crate::clients::noxsd::{BackendError, Configure, Link};
use crate::hypervisor::Hypervisor;
use crate::records::{Record, RecordError};

/// Sends `noxsd` the identities of vifs and the images of disks that are missing in a guest's device
/// file, and adds them to the file. Does nothing for a guest whose file is complete, or that has
/// none. Returns `false` if `noxsd` refuses an identity because another guest has it: then the create
/// had failed when its process was killed.
///
/// # Errors
/// The file cannot be read or written, a disk cannot be opened any more or is an image, or a command does not finish
/// to change the guest's devices within 10 s.
pub(super) fn configure_again<H: Hypervisor>(
    host: &Host<H>,
    record: &Record,
) -> Result<bool, LifecycleError> {
    if incomplete_devices(host, record)?.is_none() {
        return Ok(true);
    }
    // A command may add devices, or remove the guest.
    let _lock = if_possible(host.records.lock_devices(record.domid))?;
    let Some(mut attach) = incomplete_devices(host, record)? else { return Ok(true) };
    let mut vifs = Vec::with_capacity(attach.vifs.len());
    for (vif, config) in attach.vifs.iter_mut().zip(&record.config.vifs) {
        // The record has the MAC address, also if the user's config left it open.
        let Some(mac) = config.mac else { return Ok(true) };
        let identity = vif_plan::identity(config, mac);
        vif.identity = Some(identity);
        vifs.push(identity);
    }
    OpenDisks::check_again(&record.config.disks)?;
    let disks = OpenDisks::open(&record.config.disks)?;
    attach.set_images(disks.images());
    let files: Vec<BorrowedFd<'_>> = disks.files().collect();
    let guest = Configure { id: attach.id, vifs: &vifs, disks: disks.images(), files: &files };
    // First: a noxsd that starts later takes what the file says for an identity that was accepted.
    let sent = send(&host.noxsd, &disks, guest);
    if let Err(BackendError::Refused(Refusal::AddressInUse(_))) = sent {
        return Ok(false);
    }
    // It has the identities already, or does not run. If the next one finds that an older guest has
    // them, it serves that one.
    host.records.replace_devices(&attach)?;
    let sent = configure_restarted(&host.noxsd, &disks, guest);
    Ok(!matches!(sent, Err(BackendError::Refused(Refusal::AddressInUse(_)))))
}

/// Returns what a guest's device file has, if that is incomplete and can be completed from the record.
fn incomplete_devices<H: Hypervisor>(
    host: &Host<H>,
    record: &Record,
) -> Result<Option<Attach>, RecordError> {
    let attach = host.records.devices(record.domid)?;
    Ok(attach.filter(|attach| {
        let is_complete = attach.vifs.iter().all(|vif| vif.identity.is_some())
            && attach.vbds.iter().all(|vbd| vbd.image.is_some());
        !is_complete
            && attach.vifs.len() == record.config.vifs.len()
            && attach.vbds.len() == record.config.disks.len()
    }))
}

fn send(noxsd: &Link, disks: &OpenDisks, guest: Configure<'_>) -> Result<(), BackendError> {
    noxsd.call(|noxsd| {
        disks.lift_file_limit(noxsd)?;
        noxsd.begin_configure(guest)?;
        noxsd.finish_configure(guest)
    })
}
