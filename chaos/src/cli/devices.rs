// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands that change and list the devices of running guests.

use std::time::Duration;

use chaos::config::{parse_disk_arguments, parse_vif_arguments};
use chaos::guests::{self, DetachOptions, Host};

use super::MAX_TIMEOUT;
use super::args::{BlockDetachArgs, DeviceAttachArgs, DeviceListArgs, NetworkDetachArgs};
use super::failure::Failure;
use super::output::Output;
use super::table;

fn timeout(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(MAX_TIMEOUT)
}

/// Adds a vif.
pub(super) fn attach_vif(args: &DeviceAttachArgs, output: &mut Output) -> Result<(), Failure> {
    let vif = parse_vif_arguments(&args.fields)?;
    let attached = guests::attach_vif(&Host::open()?, &args.guest, vif, timeout(args.timeout))?;
    if args.json {
        output.json(&attached);
    }
    Ok(())
}

/// Adds a disk.
pub(super) fn attach_disk(args: &DeviceAttachArgs, output: &mut Output) -> Result<(), Failure> {
    let disk = parse_disk_arguments(&args.fields)?;
    let attached = guests::attach_disk(&Host::open()?, &args.guest, disk, timeout(args.timeout))?;
    if args.json {
        output.json(&attached);
    }
    Ok(())
}

/// Removes a vif.
pub(super) fn detach_vif(args: &NetworkDetachArgs) -> Result<(), Failure> {
    let options = DetachOptions { force: args.force, timeout: timeout(args.timeout) };
    Ok(guests::detach_vif(&Host::open()?, &args.guest, &args.device, options)?)
}

/// Removes a disk.
pub(super) fn detach_disk(args: &BlockDetachArgs) -> Result<(), Failure> {
    let options = DetachOptions { force: args.force, timeout: timeout(args.timeout) };
    Ok(guests::detach_disk(&Host::open()?, &args.guest, &args.device, options)?)
}

/// Lists vifs.
pub(super) fn list_vifs(args: &DeviceListArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let mut vifs = Vec::new();
    for guest in &args.guests {
        vifs.extend(guests::list_vifs(&host, guest)?);
    }
    if args.json {
        output.json(&vifs);
    } else {
        output.text(&table::vifs(&vifs));
    }
    Ok(())
}

/// Lists disks.
pub(super) fn list_disks(args: &DeviceListArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let mut disks = Vec::new();
    for guest in &args.guests {
        disks.extend(guests::list_disks(&host, guest)?);
    }
    if args.json {
        output.json(&disks);
    } else {
        output.text(&table::disks(&disks));
    }
    Ok(())
}
