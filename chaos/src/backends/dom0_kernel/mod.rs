// SPDX-License-Identifier: GPL-3.0-or-later
//! Devices that dom0's kernel serves: vifs through netback, disks through blkback. xenconsoled
//! serves the console.
//!
//! The kernel learns of the devices from XenStore. This module waits until the kernel has created
//! its ends of them, and then adds the interfaces to their bridges. No script is run.

mod bridge;
mod disk;
mod error;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use noxs_control::{DiskImage, VifIdentity};
use xen::units::DomId;

use self::bridge::Interface;
use super::error::DevicesError;
use super::serve::{GuestIdentity, Links, Serve};
use crate::announce::DiskNodes;
use crate::announce::xenstore::barrier::{self, Until};
use crate::announce::xenstore::{self, XenStorePaths};
use crate::clients::xenstored::{Connection, StoreError};
use crate::config::DEFAULT_MTU;
use crate::hypervisor::BuiltShell;
use crate::records::RecordError;
use crate::timings::Timings;

pub use disk::{Disk, DiskError};
pub use error::KernelError;

/// `XenbusStateInitWait` (Xen's `public/io/xenbus.h`): the backend waits for its frontend.
const INIT_WAIT: &str = "2";

/// The port of a vif on its bridge.
#[derive(Debug)]
struct BridgePort {
    bridge: String,
    /// Largest IP packet in bytes.
    mtu: u16,
    /// The interface's name, if it is not to keep that of netback.
    name: Option<String>,
}

impl BridgePort {
    /// Returns whether it is as those of shells, which have no guest yet.
    fn is_default(&self) -> bool {
        self.mtu == DEFAULT_MTU && self.name.is_none()
    }
}

/// The devices of one shell.
#[derive(Debug)]
pub struct KernelDevices {
    paths: XenStorePaths,
    ports: Vec<BridgePort>,
    /// Kept open until blkback has opened them.
    disks: Vec<Disk>,
}

impl KernelDevices {
    pub(super) fn of<'a>(shell: &impl BuiltShell, bridges: impl Iterator<Item = &'a str>) -> Self {
        let port =
            |bridge: &str| BridgePort { bridge: bridge.to_owned(), mtu: DEFAULT_MTU, name: None };
        Self {
            paths: XenStorePaths { domid: shell.domid(), handle: shell.handle() },
            ports: bridges.map(port).collect(),
            disks: Vec::new(),
        }
    }

    pub(super) fn disk_nodes(&self) -> Vec<DiskNodes<'_>> {
        self.disks.iter().map(Disk::nodes).collect()
    }

    /// Waits until the kernel has created its ends of the devices, and adds the vifs to their
    /// bridges.
    fn settle(&self, connection: &mut Connection) -> Result<(), DevicesError> {
        if self.ports.is_empty() && self.disks.is_empty() {
            return Ok(());
        }
        barrier::wait(if self.disks.is_empty() { Until::Probed } else { Until::Ready })?;
        for (id, port) in (0..).zip(&self.ports) {
            let interface = Interface {
                domid: self.paths.domid,
                number: id,
                name: port.name.as_deref(),
                bridge: &port.bridge,
                mtu: port.mtu,
            };
            if !interface.attach()? {
                return Err(self.no_device(connection, "vif", id)?.into());
            }
        }
        for disk in &self.disks {
            let node = format!("{}/state", self.paths.backend("vbd", disk.id));
            if connection.read(&node)?.as_deref() != Some(INIT_WAIT) {
                return Err(self.no_device(connection, "vbd", disk.id)?.into());
            }
        }
        Ok(())
    }

    /// Returns why the kernel has not created its end of a device. A driver writes the reason into
    /// XenStore; without a reason there is no driver.
    fn no_device(
        &self,
        connection: &mut Connection,
        kind: &str,
        id: u32,
    ) -> Result<KernelError, StoreError> {
        let device = format!("{kind}/{}/{id}", self.paths.domid.0);
        let node = format!("/local/domain/0/error/backend/{device}/error");
        Ok(match connection.read(&node)? {
            Some(reason) => KernelError::NoDevice { device, reason },
            None => {
                let module = if kind == "vif" { "xen-netback" } else { "xen-blkback" };
                KernelError::NoDriver { device, module }
            }
        })
    }
}

impl Serve for KernelDevices {
    fn learn(&mut self, links: Links<'_>, guest: GuestIdentity<'_>) -> Result<(), DevicesError> {
        let open = guest.open_disks()?;
        disk::check_unserved(links.records, open.images())?;
        let images = open.images().iter().zip(open.files());
        let disk = |(config, (image, file)): (&_, (&DiskImage, _))| {
            Disk::of(config, &image.identity, file)
        };
        self.disks = guest.config.disks.iter().zip(images).map(disk).collect::<Result<_, _>>()?;
        for (port, vif) in self.ports.iter_mut().zip(&guest.config.vifs) {
            (port.mtu, port.name) = (vif.mtu, vif.name.clone());
        }
        Ok(())
    }

    /// Does nothing, because the kernel has received the watch events of the nodes already.
    fn begin_attach(
        &mut self,
        _: Links<'_>,
        _: &mut Timings,
    ) -> Result<Option<File>, DevicesError> {
        Ok(None)
    }

    fn finish_attach(&self, links: Links<'_>, _: Option<&File>) -> Result<(), DevicesError> {
        links.xenstored.call(|connection| self.settle(connection))
    }

    /// Does nothing, because the kernel refuses no address.
    fn attach_again(
        &mut self,
        _: Links<'_>,
        _: &[VifIdentity],
        _: Option<&File>,
    ) -> Result<(), DevicesError> {
        Ok(())
    }

    /// Waits again if the guest has disks, which its shell did not have, or another MTU, or a name for a
    /// vif.
    fn begin_configure(&self, links: Links<'_>, _: &[VifIdentity]) -> Result<bool, DevicesError> {
        if !self.disks.is_empty() || !self.ports.iter().all(BridgePort::is_default) {
            links.xenstored.call(|connection| self.settle(connection))?;
        }
        Ok(false)
    }

    fn finish_configure(&self, _: Links<'_>, _: &[VifIdentity]) -> Result<(), DevicesError> {
        Ok(())
    }

    /// Does nothing, because the kernel detaches the devices when their nodes are removed.
    fn abandon(&self, _: Links<'_>) {}
}

/// Opens the terminal that xenconsoled provides for a guest's console.
pub(super) fn terminal(domid: DomId) -> Result<OwnedFd, DevicesError> {
    let path = xenstore::terminal(domid)?;
    let options = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = open(path.as_str(), options, Mode::empty());
    let path = PathBuf::from(path);
    Ok(opened.map_err(|errno| RecordError::File { doing: "open", path, source: errno.into() })?)
}
