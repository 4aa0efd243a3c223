// SPDX-License-Identifier: GPL-3.0-or-later
//! Replaces the config that a guest is restarted with.

use thiserror::Error;
use xen::units::DomId;

use super::decide::decide;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::{Guest, examine, resolve};
use crate::backends::mtu;
use crate::config::{Action, DomainConfig, Undecided};
use crate::hypervisor::Hypervisor;
use crate::image::ModuleFile;
use crate::records::Record;

/// Why the config of a guest cannot be replaced.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// The config is that of another guest.
    #[error(
        "name = {found:?}: must be {name:?}, as the guest is called; add name={name}, or rename the \
         guest: chaos rename"
    )]
    OtherName {
        /// The name in the config.
        found: String,
        /// The guest's name.
        name: String,
    },
    /// The guest is that of a user other than root.
    #[error(
        "guest {name} is that of user {owner}, and is restarted from the files that this user has \
         uploaded; the user can destroy it, and create it with the new config"
    )]
    OfMember {
        /// The guest's name.
        name: String,
        /// The user.
        owner: u32,
    },
}

/// A config that was replaced.
#[derive(Clone, Debug)]
pub struct UpdatedConfig {
    /// The guest's name.
    pub name: String,
    /// Its number.
    pub domid: DomId,
    /// Whether one of the actions of the new config restarts the guest.
    pub restarts: bool,
}

/// Replaces the config that a guest's end is handled with and that its successor is created from. The
/// running guest is not changed. A vif that leaves its MAC address open keeps that of the guest's vif
/// with the same number.
///
/// # Errors
/// There is no such guest, it has ended or is that of a user other than root; or the config has another
/// name, or cannot be that of a guest. Nothing is changed.
pub fn update_config<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    config: &DomainConfig,
) -> Result<UpdatedConfig, LifecycleError> {
    let guest = resolve(host, target)?;
    guest.record(target)?;
    let config = usable(host, config)?;
    // A process that removes the guest, or creates its successor, holds this lock meanwhile.
    let _devices = host.records.lock_devices(guest.domid)?;
    let guest = examine(host, guest.domid)?;
    let record = updatable(&guest, target, &config.name)?;
    let name = record.name().to_owned();
    let mut next = config;
    for (number, now) in record.config.vifs.iter().enumerate().take(next.vifs.len()) {
        if next.vifs[number].mac.is_none() && next.vifs.iter().all(|vif| vif.mac != now.mac) {
            next.vifs[number].mac = now.mac;
        }
    }
    let actions =
        [next.on_poweroff, next.on_reboot, next.on_crash, next.on_watchdog(), next.on_soft_reset()];
    let restarts = actions.into_iter().any(Action::restarts);
    host.records.write_next(record, next)?;
    Ok(UpdatedConfig { name, domid: guest.domid, restarts })
}

/// Checks that the config of a guest can be replaced by one with this name, before what takes longer.
///
/// # Errors
/// As [`update_config`].
pub fn check_update<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    name: &str,
) -> Result<(), LifecycleError> {
    updatable(&resolve(host, target)?, target, name).map(|_| ())
}

/// Returns the record of a guest whose config can be replaced by one with this name.
fn updatable<'a>(
    guest: &'a Guest,
    target: &str,
    found: &str,
) -> Result<&'a Record, LifecycleError> {
    let record = guest.record(target)?;
    let name = record.name().to_owned();
    if let Some(state) = guest.end() {
        return Err(LifecycleError::HasEnded { name, state });
    }
    if record.owner != 0 {
        return Err(UpdateError::OfMember { name, owner: record.owner }.into());
    }
    if found != name {
        return Err(UpdateError::OtherName { found: found.to_owned(), name }.into());
    }
    Ok(record)
}

/// Returns the config with nothing left open, as a create would use it.
fn usable<H: Hypervisor>(
    host: &Host<H>,
    config: &DomainConfig,
) -> Result<DomainConfig, LifecycleError> {
    let path = config.boot_kernel();
    let image = host
        .image(path, config.memory)
        .map_err(|source| LifecycleError::Kernel { path: path.to_owned(), source })?;
    if let Some(path) = config.pv_kernel() {
        ModuleFile::open(path)
            .map_err(|source| LifecycleError::Kernel { path: path.to_owned(), source })?;
    }
    if let Some(path) = &config.ramdisk {
        ModuleFile::open(path)
            .map_err(|source| LifecycleError::Ramdisk { path: path.clone(), source })?;
    }
    mtu::check(&config.vifs)?;
    let decided = decide(host, config, &image, false)?.into_owned();
    Ok(DomainConfig { undecided: Undecided::default(), ..decided })
}
