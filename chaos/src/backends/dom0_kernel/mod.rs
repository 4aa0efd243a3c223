// SPDX-License-Identifier: GPL-3.0-or-later
//! Devices that dom0's kernel serves: vifs through netback, disks through blkback. xenconsoled
//! serves the console.
//!
//! The kernel learns of the devices from XenStore. This module waits until the kernel has created
//! its ends of them, and then adds the interfaces to their bridges, or runs the scripts that the config
//! names.

mod bridge;
mod child;
mod disk;
mod error;
mod script;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use noxs_control::{DiskImage, VifIdentity};
use xen::units::DomId;

use self::bridge::Interface;
use self::script::{Action, Hotplug};
use super::error::DevicesError;
use super::serve::{GuestIdentity, Links, Serve};
use crate::announce::xenstore::barrier::{self, Until};
use crate::announce::xenstore::{self, XenStorePaths};
use crate::announce::{DiskNodes, ScriptNodes};
use crate::clients::xenstored::{Connection, StoreError};
use crate::config::{DEFAULT_MTU, VifScript};
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;
use crate::records::RecordError;
use crate::timings::Timings;

pub use disk::{Disk, DiskError};
pub use error::KernelError;
pub use script::ScriptError;
pub(crate) use script::check as check_scripts;

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
    /// The script that does the rest, if chaos does not.
    script: Option<Box<VifScript>>,
}

impl BridgePort {
    /// Returns whether it is as those of shells, which have no guest yet.
    fn is_default(&self) -> bool {
        self.mtu == DEFAULT_MTU && self.name.is_none() && self.script.is_none()
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
        let port = |bridge: &str| BridgePort {
            bridge: bridge.to_owned(),
            mtu: DEFAULT_MTU,
            name: None,
            script: None,
        };
        Self {
            paths: XenStorePaths { domid: shell.domid(), handle: shell.handle() },
            ports: bridges.map(port).collect(),
            disks: Vec::new(),
        }
    }

    pub(super) fn disk_nodes(&self) -> Vec<DiskNodes<'_>> {
        self.disks.iter().map(Disk::nodes).collect()
    }

    pub(super) fn script_nodes(&self) -> Vec<ScriptNodes<'_>> {
        let numbered = (0..).zip(&self.ports);
        let scripts = numbered.filter_map(|(vif, port): (u32, _)| {
            let script = port.script.as_deref()?;
            Some(ScriptNodes {
                vif,
                script: &script.path,
                bridge: &port.bridge,
                ip: script.ip.as_deref(),
                name: port.name.as_deref(),
                mtu: port.mtu,
            })
        });
        scripts.collect()
    }

    /// Waits until the kernel has created its ends of the devices, and adds the vifs to their
    /// bridges, or has their scripts do that.
    fn settle(&self, connection: &mut Connection) -> Result<(), DevicesError> {
        if self.ports.is_empty() && self.disks.is_empty() {
            return Ok(());
        }
        barrier::wait(if self.disks.is_empty() { Until::Probed } else { Until::Ready })?;
        for (id, port) in (0..).zip(&self.ports) {
            if let Some(script) = &port.script {
                self.check_waits(connection, "vif", id)?;
                let hotplug = Hotplug { paths: self.paths, vif: id, script: &script.path };
                hotplug
                    .run(connection, Action::Online, script::TIMEOUT)
                    .map_err(KernelError::Script)?;
                continue;
            }
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
            self.check_waits(connection, "vbd", disk.id)?;
        }
        Ok(())
    }

    /// Checks that the kernel has created its end of a device, which waits for the guest's.
    fn check_waits(
        &self,
        connection: &mut Connection,
        kind: &str,
        id: u32,
    ) -> Result<(), DevicesError> {
        let node = format!("{}/state", self.paths.backend(kind, id));
        match connection.read(&node)?.as_deref() {
            Some(INIT_WAIT) => Ok(()),
            _ => Err(self.no_device(connection, kind, id)?.into()),
        }
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
        let disk = |(config, (image, file)): (&_, (&DiskImage, _))| Disk::of(config, image, file);
        self.disks = guest.config.disks.iter().zip(images).map(disk).collect::<Result<_, _>>()?;
        for (port, vif) in self.ports.iter_mut().zip(&guest.config.vifs) {
            (port.mtu, port.name) = (vif.mtu, vif.name.clone());
            port.script.clone_from(&vif.script);
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

    /// Has scripts disconnect the vifs. The kernel detaches the devices when their nodes are removed.
    fn abandon(&self, links: Links<'_>) {
        if self.ports.iter().any(|port| port.script.is_some()) {
            // Errors are not reported, because the create has failed with another one.
            let _ = links.xenstored.call(|connection| script::offline(connection, self.paths));
        }
    }
}

/// Has the scripts that XenStore names for a guest disconnect its vifs. Returns what failed, in spite of
/// which the guest can be removed.
pub(super) fn disconnect(links: Links<'_>, id: DomainIdentity) -> Vec<ScriptError> {
    match links.xenstored.call(|connection| script::offline(connection, id.into())) {
        Ok(failed) => failed,
        Err(StoreError::NotRunning { .. }) => Vec::new(),
        Err(error) => vec![error.into()],
    }
}

/// Opens the terminal that xenconsoled provides for a guest's console.
pub(super) fn terminal(domid: DomId) -> Result<OwnedFd, DevicesError> {
    let path = xenstore::terminal(domid)?;
    let options = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = open(path.as_str(), options, Mode::empty());
    let path = PathBuf::from(path);
    Ok(opened.map_err(|errno| RecordError::File { doing: "open", path, source: errno.into() })?)
}
