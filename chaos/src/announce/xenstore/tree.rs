// SPDX-License-Identifier: GPL-3.0-or-later
//! The nodes of a domain in XenStore (Xen's `docs/misc/xenstore-paths.pandoc`).
//!
//! Only those are written that dom0's kernel, xenconsoled, the guests' drivers and xl read: half as
//! many as libxl writes. Each node costs time in xenstored. A node below `backend` also costs time
//! in the kernel, which gets an event for it and then checks whether it exists.

use xen::units::{DomId, DomainHandle, KiB};
use xenstore::{Batch, Permission};

use super::tuning::MEMORY_LIMIT;
use crate::announce::nodes::{DiskNodes, GuestNodes, ScriptNodes};
use crate::config::DEFAULT_MTU;
use crate::domain::XenStoreRings;
use crate::handle::DomainIdentity;

/// The hotplug script of a vif that chaos connects itself: it does nothing, but netback requires its
/// node, and libxl runs it to remove a device.
const SCRIPT: &str = "/bin/true";

/// Bytes of console output that xenconsoled buffers for a reader, as set by libxl.
const CONSOLE_LIMIT: &str = "1048576";

/// `XenbusStateInitialising` (Xen's `public/io/xenbus.h`).
const INITIALISING: &str = "1";

/// The paths of a domain's nodes in XenStore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XenStorePaths {
    /// Its number.
    pub domid: DomId,
    /// Its handle.
    pub handle: DomainHandle,
}

/// What is announced of a shell before its guest is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellNodes {
    /// The memory it starts with.
    pub memory: KiB,
    /// The most memory that it may be given.
    pub max_memory: KiB,
    /// The vCPUs it starts with.
    pub vcpus: u32,
    /// The most vCPUs that it may use.
    pub max_vcpus: u32,
    /// Number of its vifs.
    pub vifs: u16,
    /// Its rings of XenStore and the console.
    pub rings: XenStoreRings,
}

impl From<DomainIdentity> for XenStorePaths {
    fn from(DomainIdentity { domid, handle }: DomainIdentity) -> Self {
        Self { domid, handle }
    }
}

impl XenStorePaths {
    /// Returns `/local/domain/DOMID`.
    pub(super) fn home(self) -> String {
        format!("/local/domain/{}", self.domid.0)
    }

    /// Returns `/vm/UUID`.
    pub(super) fn vm(self) -> String {
        format!("/vm/{}", self.handle)
    }

    /// Returns the folder where libxl looks for the devices that it has to remove.
    fn libxl(self) -> String {
        format!("/libxl/{}", self.domid.0)
    }

    fn frontend(self, kind: &str, id: u32) -> String {
        format!("/local/domain/{}/device/{kind}/{id}", self.domid.0)
    }

    /// Returns dom0's node of a device.
    pub(crate) fn backend(self, kind: &str, id: u32) -> String {
        format!("/local/domain/0/backend/{kind}/{}/{id}", self.domid.0)
    }

    /// Returns the node that names the domain's `/vm` folder.
    pub(crate) fn vm_node(self) -> String {
        format!("{}/vm", self.home())
    }

    /// Returns whether the value of [`vm_node`](Self::vm_node) is this domain's.
    pub(crate) fn is_vm(self, value: &str) -> bool {
        value == self.vm()
    }

    /// Returns the node of a vif's script.
    pub(crate) fn script_node(self, vif: u32) -> String {
        format!("{}/script", self.backend("vif", vif))
    }

    /// Returns whether the value of a [`script_node`](Self::script_node) is a script that must be run.
    pub(crate) fn is_script(value: &str) -> bool {
        value != SCRIPT
    }

    /// Returns everything that may exist, in the order of removal. The backends are first, so that
    /// the kernel unmaps the guest's pages. The home is last: if the removal is interrupted, the
    /// next attempt finds the home and repeats it.
    pub(super) fn all(self) -> [String; 7] {
        let Self { domid: DomId(domid), .. } = self;
        let dom0 = |what: &str| format!("/local/domain/0/{what}/{domid}");
        [
            dom0("backend/vif"),
            dom0("backend/vbd"),
            dom0("error/backend/vif"),
            dom0("error/backend/vbd"),
            self.libxl(),
            self.vm(),
            self.home(),
        ]
    }

    /// Returns the nodes of the devices only.
    pub(super) fn devices(self) -> [String; 4] {
        let [vif, vbd, ..] = self.all();
        [vif, vbd, format!("{}/device", self.home()), format!("{}/device", self.libxl())]
    }
}

/// Writes the nodes of a shell.
pub(super) fn write_shell(batch: &mut Batch, paths: XenStorePaths, shell: &ShellNodes) {
    let home = paths.home();
    let readable = Permission::ReadableBy(DomId::DOM0.0, paths.domid.0);
    let owned = Permission::Owner(paths.domid.0);
    batch.make(&home, readable);
    let mut node = |path: &str, value: &str| batch.write(&format!("{home}/{path}"), value);
    node("vm", &paths.vm());
    node("domid", &paths.domid.0.to_string());
    // What it sees as its memory: see there.
    node("memory/static-max", &shell.memory.0.to_string());
    if shell.max_memory != shell.memory {
        node(MEMORY_LIMIT, &shell.max_memory.0.to_string());
    }
    node("memory/target", &shell.memory.0.to_string());
    for vcpu in 0..shell.max_vcpus {
        let availability = if vcpu < shell.vcpus { "online" } else { "offline" };
        node(&format!("cpu/{vcpu}/availability"), availability);
    }
    if let Some(console) = shell.rings.console {
        node("console/ring-ref", &console.gfn.0.to_string());
        node("console/port", &console.port.0.to_string());
        node("console/limit", CONSOLE_LIMIT);
        node("console/type", "xenconsoled");
    }
    // The guest writes here: which requests it supports, and acknowledgements.
    for folder in ["control", "data", "drivers", "feature", "attr", "error"] {
        batch.make(&format!("{home}/{folder}"), owned);
    }
    batch.make(&paths.vm(), readable);
    batch.write(&format!("{}/uuid", paths.vm()), &paths.handle.to_string());
    batch.write(&format!("{}/type", paths.libxl()), "pvh");
    for id in 0..u32::from(shell.vifs) {
        write_vif(batch, paths, id);
    }
}

/// Writes the nodes that a guest has in addition to its shell.
pub(super) fn write_guest(batch: &mut Batch, paths: XenStorePaths, guest: &GuestNodes<'_>) {
    batch.write(&format!("{}/name", paths.home()), guest.name);
    batch.write(&format!("{}/name", paths.vm()), guest.name);
    if guest.is_driver_domain {
        // For xl devd and QEMU in the guest, as libxl has them.
        for folder in ["libxl", "device-model"] {
            let owned = Permission::Owner(paths.domid.0);
            batch.make(&format!("{}/{folder}", paths.home()), owned);
        }
    }
    for (id, vif) in (0..).zip(guest.vifs) {
        let (front, back) = (paths.frontend("vif", id), paths.backend("vif", id));
        let mac = vif.mac.to_string();
        batch.write(&format!("{front}/mac"), &mac);
        batch.write(&format!("{front}/mtu"), &vif.mtu.to_string());
        batch.write(&format!("{back}/mac"), &mac);
        if let Some(rate) = vif.rate {
            let rate = format!("{},{}", rate.bytes, rate.interval_us);
            batch.write(&format!("{back}/rate"), &rate);
        }
    }
    for script in guest.scripts {
        write_script(batch, paths, script);
    }
    for disk in guest.disks {
        write_vbd(batch, paths, disk);
    }
}

fn write_vif(batch: &mut Batch, paths: XenStorePaths, id: u32) {
    let (front, back) = write_device(batch, paths, "vif", id);
    let number = id.to_string();
    batch.write(&format!("{front}/handle"), &number);
    batch.write(&format!("{back}/handle"), &number);
    batch.write(&format!("{back}/type"), "vif");
    // netback waits for this node before it connects to the guest. It may be written ahead, because
    // the guest does not run before its vif is on the bridge.
    batch.write(&format!("{back}/hotplug-status"), "connected");
}

/// Writes what a vif's script reads, and has netback wait until the script has connected the interface.
fn write_script(batch: &mut Batch, paths: XenStorePaths, nodes: &ScriptNodes<'_>) {
    let back = paths.backend("vif", nodes.vif);
    batch.write(&paths.script_node(nodes.vif), nodes.script);
    batch.write(&format!("{back}/bridge"), nodes.bridge);
    if let Some(ip) = nodes.ip {
        batch.write(&format!("{back}/ip"), ip);
    }
    if let Some(name) = nodes.name {
        batch.write(&format!("{back}/vifname"), name);
    }
    if nodes.mtu != DEFAULT_MTU {
        batch.write(&format!("{back}/mtu"), &nodes.mtu.to_string());
    }
    batch.write(&format!("{back}/hotplug-status"), "");
}

fn write_vbd(batch: &mut Batch, paths: XenStorePaths, disk: &DiskNodes<'_>) {
    let (front, back) = write_device(batch, paths, "vbd", disk.id);
    batch.write(&format!("{front}/virtual-device"), &disk.id.to_string());
    batch.write(&format!("{front}/device-type"), "disk");
    let (major, minor) = disk.device;
    batch.write(&format!("{back}/physical-device"), &format!("{major:x}:{minor:x}"));
    batch.write(&format!("{back}/mode"), if disk.read_only { "r" } else { "w" });
    batch.write(&format!("{back}/dev"), disk.vdev);
    batch.write(&format!("{back}/params"), disk.path);
    batch.write(&format!("{back}/type"), "phy");
}

/// Writes the nodes that all kinds of devices have. Returns the paths of both ends.
fn write_device(batch: &mut Batch, paths: XenStorePaths, kind: &str, id: u32) -> (String, String) {
    let (front, back) = (paths.frontend(kind, id), paths.backend(kind, id));
    batch.make(&front, Permission::ReadableBy(paths.domid.0, DomId::DOM0.0));
    batch.write(&format!("{front}/backend"), &back);
    batch.write(&format!("{front}/backend-id"), "0");
    batch.write(&format!("{front}/state"), INITIALISING);
    batch.make(&back, Permission::ReadableBy(DomId::DOM0.0, paths.domid.0));
    batch.write(&format!("{back}/frontend"), &front);
    batch.write(&format!("{back}/frontend-id"), &paths.domid.0.to_string());
    batch.write(&format!("{back}/online"), "1");
    batch.write(&format!("{back}/state"), INITIALISING);
    batch.write(&format!("{back}/script"), SCRIPT);
    let libxl = format!("{}/device/{kind}/{id}", paths.libxl());
    batch.write(&format!("{libxl}/frontend"), &front);
    batch.write(&format!("{libxl}/backend"), &back);
    (front, back)
}

#[cfg(test)]
mod tests;
