//! What stands in XenStore for a domain: Xen's `docs/misc/xenstore-paths.pandoc`.
//!
//! The nodes are those that dom0's kernel, xenconsoled, guests' drivers and xl read; libxl writes
//! twice as many. Each costs xenstored time, and those below `backend` cost the kernel some too: it is
//! told of each and asks whether it exists.

use xen::units::{DomId, DomainHandle, KiB};
use xenstore::{Batch, Permission};

use crate::announce::GuestNodes;
use crate::domain::XenStoreRings;
use crate::handle::DomainIdentity;

/// What libxl runs when it takes a device away, and netback wants to be named: nothing is to be done.
const SCRIPT: &str = "/bin/true";

/// How much of a console's output xenconsoled keeps for a reader, in bytes, as in libxl.
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

/// What is announced of a shell, before its guest is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellNodes {
    /// Its memory.
    pub memory: KiB,
    /// Its vCPUs.
    pub vcpus: u32,
    /// How many vifs it has.
    pub vifs: u16,
    /// Where its own rings are.
    pub rings: XenStoreRings,
}

/// A disk, as its nodes describe it.
#[derive(Clone, Copy, Debug)]
pub struct DiskNodes<'a> {
    /// Its number for the guest.
    pub id: u32,
    /// Its name for the guest, such as `xvda`.
    pub vdev: &'a str,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Major and minor number of the block device.
    pub device: (u64, u64),
    /// Path of the block device.
    pub path: &'a str,
}

impl From<DomainIdentity> for XenStorePaths {
    fn from(DomainIdentity { domid, handle }: DomainIdentity) -> Self {
        Self { domid, handle }
    }
}

impl XenStorePaths {
    /// `/local/domain/DOMID`
    pub(super) fn home(self) -> String {
        format!("/local/domain/{}", self.domid.0)
    }

    /// `/vm/UUID`
    pub(super) fn vm(self) -> String {
        format!("/vm/{}", self.handle)
    }

    /// Where libxl looks for what it has to take away.
    fn libxl(self) -> String {
        format!("/libxl/{}", self.domid.0)
    }

    fn frontend(self, kind: &str, id: u32) -> String {
        format!("/local/domain/{}/device/{kind}/{id}", self.domid.0)
    }

    /// The node of a device that dom0's kernel serves, below dom0's own.
    pub(crate) fn backend(self, kind: &str, id: u32) -> String {
        format!("/local/domain/0/backend/{kind}/{}/{id}", self.domid.0)
    }

    /// All that may stand there, in the order in which it is removed: the backends first, so that
    /// the kernel lets go of the guest's pages, and last the home, by which whoever goes on after a
    /// kill sees that there is something left.
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

    /// Its devices only.
    pub(super) fn devices(self) -> [String; 4] {
        let [vif, vbd, ..] = self.all();
        [vif, vbd, format!("{}/device", self.home()), format!("{}/device", self.libxl())]
    }
}

/// Writes what a shell has.
pub(super) fn write_shell(batch: &mut Batch, paths: XenStorePaths, shell: &ShellNodes) {
    let home = paths.home();
    let theirs = Permission::ReadableBy(DomId::DOM0.0, paths.domid.0);
    let own = Permission::Owner(paths.domid.0);
    batch.make(&home, theirs);
    let mut node = |path: &str, value: &str| batch.write(&format!("{home}/{path}"), value);
    node("vm", &paths.vm());
    node("domid", &paths.domid.0.to_string());
    // There is no ballooning: the guest has all its memory from the start.
    let memory = shell.memory.0.to_string();
    node("memory/static-max", &memory);
    node("memory/target", &memory);
    for vcpu in 0..shell.vcpus {
        node(&format!("cpu/{vcpu}/availability"), "online");
    }
    if let Some(console) = shell.rings.console {
        node("console/ring-ref", &console.gfn.0.to_string());
        node("console/port", &console.port.0.to_string());
        node("console/limit", CONSOLE_LIMIT);
        node("console/type", "xenconsoled");
    }
    // Here the guest says what it can do, and takes note of what it is asked.
    for folder in ["control", "data", "drivers", "feature", "attr", "error"] {
        batch.make(&format!("{home}/{folder}"), own);
    }
    batch.make(&paths.vm(), theirs);
    batch.write(&format!("{}/uuid", paths.vm()), &paths.handle.to_string());
    batch.write(&format!("{}/type", paths.libxl()), "pvh");
    for id in 0..u32::from(shell.vifs) {
        write_vif(batch, paths, id);
    }
}

/// Writes what a guest has beyond its shell.
pub(super) fn write_guest(batch: &mut Batch, paths: XenStorePaths, guest: &GuestNodes<'_>) {
    batch.write(&format!("{}/name", paths.home()), guest.name);
    batch.write(&format!("{}/name", paths.vm()), guest.name);
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
    // netback waits for this until it tells the guest that the interface is connected. By then it
    // is: the guest does not run before its vif is on the bridge.
    batch.write(&format!("{back}/hotplug-status"), "connected");
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

/// Writes what all devices have. Returns the paths of both ends.
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
