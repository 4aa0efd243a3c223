// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest whose devices change.

use std::time::{Duration, Instant};

use noxs::shared;
use noxs::{
    AnswerStatus, Device, DevicePage, DeviceState, MAX_RING_PAGES, Overlay, Request, RequestId,
    Sysctl,
};
use noxs_control::{Attach, DeviceNumber};
use xen::units::{DomId, Gfn, GrantRef, Pages, Port};

use super::error::HotPlugError;
use crate::backends::nbd::{self, Releasing};
use crate::clients::noxsd::BackendError;
use crate::config::Discovery;
use crate::domain::{DevicePageDisk, OVERLAY_FRAMES, PageEntries, noxs_grant, noxs_overlay};
use crate::guests::error::LifecycleError;
use crate::guests::host::Host;
use crate::guests::resolve::{Guest, examine, resolve};
use crate::guests::state::GuestState;
use crate::guests::sysctl::{Channel, Reaction};
use crate::guests::vif_plan::page_vif;
use crate::guests::watch::{DomainWatch, deadline};
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::{
    DevicePageRecord, PageDevice, PageDevices, PendingDevice, Record, RecordLock,
};

/// The most pages that a guest has beside its memory: the boot page, the device page, the answer page
/// and the rings of all devices that it can have.
pub(in crate::guests) const MOST_SPECIAL_PAGES: Pages = Pages(3 + MAX_RING_PAGES as u64);

/// A guest whose devices change. No other process changes its record or removes it meanwhile.
#[derive(Debug)]
pub(super) struct Session<'a, H: Hypervisor> {
    pub(super) host: &'a Host<H>,
    pub(super) id: DomainIdentity,
    /// The record, except for its device page.
    pub(super) record: Record,
    /// The device page, except for its devices.
    page: DevicePageRecord,
    pub(super) devices: PageDevices,
    /// What the device file says.
    pub(super) attach: Attach,
    _locks: [RecordLock; 2],
}

/// Whether a request is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long.
    pub(super) timeout: Duration,
    deadline: Instant,
}

impl Patience {
    /// Begins to wait. A time-out of any size is possible.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, deadline: deadline(timeout) }
    }
}

/// Returns the record of a guest whose devices can be listed.
///
/// # Errors
/// The guest does not exist, or another toolstack must be used.
pub(super) fn find<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    command: &'static str,
) -> Result<(Guest, Record), LifecycleError> {
    let guest = resolve(host, target)?;
    let record = guest.record(target)?.clone();
    if record.config.store.discovery() == Discovery::XenStore {
        let name = record.name().to_owned();
        return Err(HotPlugError::InXenStore { name, command }.into());
    }
    Ok((guest, record))
}

impl<'a, H: Hypervisor> Session<'a, H> {
    /// Finds a guest, and locks its devices and its record. `command` is named if it is not for guests in
    /// XenStore mode. Withdraws what a killed process has left.
    ///
    /// # Errors
    /// There is no such guest, its devices cannot be changed, or it has ended.
    pub(super) fn open(
        host: &'a Host<H>,
        target: &str,
        command: &'static str,
    ) -> Result<Self, LifecycleError> {
        let (guest, record) = find(host, target, command)?;
        let name = record.name().to_owned();
        if record.owner != 0 {
            return Err(HotPlugError::OfMember { name, owner: record.owner }.into());
        }
        let state = guest.state();
        if state.has_ended() {
            return Err(HotPlugError::NotRunning { name, state }.into());
        }
        let locks = [host.records.lock_devices(guest.domid)?, host.records.lock(guest.domid)?];
        let mut session = Self::load(host, guest.domid, &record, locks)?;
        // It may have ended while this process has waited for the locks. From now on it is not removed
        // or restarted, so its successor has what this process records.
        let state = examine(host, guest.domid)?.state();
        if state.has_ended() {
            return Err(HotPlugError::NotRunning { name, state }.into());
        }
        if let Some(pending) = session.devices.pending {
            drop(session.withdraw(pending)?);
        }
        Ok(session)
    }

    /// Reads the record again, now that it is locked.
    fn load(
        host: &'a Host<H>,
        domid: DomId,
        found: &Record,
        locks: [RecordLock; 2],
    ) -> Result<Self, LifecycleError> {
        let no_record = || LifecycleError::NoRecord { target: found.name().to_owned() };
        let mut record = match host.records.read(domid)? {
            Some(record) if record.handle == found.handle => record,
            _ => return Err(LifecycleError::NoSuchGuest { target: found.name().to_owned() }),
        };
        let mut page = record.device_page.take().ok_or_else(no_record)?;
        let Some(devices) = page.devices.take() else {
            return Err(HotPlugError::OfOldGuest { name: record.name().to_owned() }.into());
        };
        let id = DomainIdentity { domid, handle: record.handle };
        let has_devices =
            record.config.console || !devices.vifs.is_empty() || !devices.disks.is_empty();
        let attach = match host.records.devices(domid)?.filter(|file| file.id == id.into()) {
            Some(attach) => attach,
            None if has_devices => return Err(no_record()),
            None => Attach { id: id.into(), console: None, vifs: Vec::new(), vbds: Vec::new() },
        };
        Ok(Self { host, id, record, page, devices, attach, _locks: locks })
    }

    pub(super) fn name(&self) -> &str {
        self.record.name()
    }

    /// Checks that the guest can answer.
    ///
    /// # Errors
    /// It is paused.
    pub(super) fn check_runs(&self) -> Result<(), LifecycleError> {
        match examine(self.host, self.id.domid)?.state() {
            GuestState::Paused => {
                Err(HotPlugError::OfPaused { name: self.name().to_owned() }.into())
            }
            _ => Ok(()),
        }
    }

    /// Writes the record.
    pub(super) fn save(&self) -> Result<(), LifecycleError> {
        let page = DevicePageRecord { devices: Some(self.devices.clone()), ..self.page.clone() };
        let record = Record { device_page: Some(page), ..self.record.clone() };
        Ok(self.host.records.replace(&record)?)
    }

    /// Counts a request, before the record is saved and the request is made.
    pub(super) fn count_request(&mut self) {
        self.page.requests = RequestId(self.page.requests).next().0;
    }

    /// Returns the number of the last request, by which a device that is being added differs from all
    /// before it.
    pub(super) fn instance(&self) -> u32 {
        self.page.requests
    }

    /// Writes the device file.
    pub(super) fn save_devices(&self) -> Result<(), LifecycleError> {
        match self.attach.is_empty() {
            true => self.host.records.forget_devices(self.id.domid)?,
            false => self.host.records.replace_devices(&self.attach)?,
        }
        Ok(())
    }

    /// Returns rings that no device uses; `None` if there are too few.
    pub(super) fn free_rings<const COUNT: usize>(&self) -> Option<[u16; COUNT]> {
        let PageDevices { vifs, disks, pending, .. } = &self.devices;
        let listed = vifs.iter().chain(disks).flat_map(|device| device.rings);
        let used: Vec<u16> =
            listed.chain(pending.iter().flat_map(|pending| pending.rings)).collect();
        let first = u16::from(self.record.config.console);
        let mut free = (first..).take_while(|ring| usize::from(*ring) < MAX_RING_PAGES);
        let mut rings = [0; COUNT];
        for ring in &mut rings {
            *ring = free.find(|ring| !used.contains(ring))?;
        }
        Some(rings)
    }

    /// Returns the grant of a ring.
    pub(super) fn grant(ring: u16) -> GrantRef {
        noxs_grant(ring.into())
    }

    /// Returns what the entries of the device page have in common; `None` before there is a port.
    pub(super) fn entries(&self) -> Option<PageEntries> {
        Some(PageEntries { rings: self.rings(), port: self.devices.port? })
    }

    fn rings(&self) -> Gfn {
        Gfn(self.page.answer_gfn.0 + 1)
    }

    /// Records that a device is being added, and prepares its port, its ring pages and its grants.
    ///
    /// # Errors
    /// Xen refuses. The device must be [withdrawn](Self::withdraw).
    pub(super) fn prepare(&mut self, pending: PendingDevice) -> Result<Port, LifecycleError> {
        let (xen, domid) = (&self.host.xen, self.id.domid);
        let port = match self.devices.port {
            Some(port) => port,
            None => xen.alloc_port(domid)?,
        };
        (self.devices.port, self.devices.pending) = (Some(port), Some(pending));
        self.count_request();
        self.save()?;
        let most = Pages(self.record.config.max_memory().0 / 4 + MOST_SPECIAL_PAGES.0);
        let mut pages: Vec<(GrantRef, Gfn)> = Vec::with_capacity(2);
        for ring in pending.rings {
            let page = (Self::grant(ring), Gfn(self.rings().0 + u64::from(ring)));
            if !pages.contains(&page) {
                xen.provide_page(domid, page.1, most)?;
                pages.push(page);
            }
        }
        xen.grant_pages(domid, &pages)?;
        Ok(port)
    }

    /// Writes the device page, with one more device if there is one, and notifies the guest. The
    /// request was counted and the record saved.
    fn publish(&self, more: Option<Device>) -> Result<(Channel<H>, RequestId), LifecycleError> {
        let id = RequestId(self.page.requests);
        let mut shared_page = self.host.xen.map_page(self.id.domid, self.page.gfn)?;
        let channel = Channel::open(self.host, self.id.domid, &self.page)?;
        let bytes = self.encode(id, more)?.encode();
        shared::publish(&mut shared_page, &bytes);
        channel.notify()?;
        Ok((channel, id))
    }

    /// Returns the device page. dom0 has written all of it, and reads nothing back.
    fn encode(&self, id: RequestId, more: Option<Device>) -> Result<DevicePage, LifecycleError> {
        let mut page = DevicePage::new(self.id.domid.0, self.id.handle.0);
        page.generation = id.0.wrapping_mul(2);
        page.sysctl = Sysctl {
            port: self.page.sysctl_port.0,
            answer_gfn: self.page.answer_gfn.0,
            request_id: id,
            request: Some(Request::Devices),
            balloon_pages: 0,
        };
        page.overlay = Overlay { gfn: noxs_overlay(self.rings()).0, frames: OVERLAY_FRAMES };
        let Some(entries) = self.entries() else { return Ok(page) };
        let full = |_| {
            LifecycleError::from(HotPlugError::NoRoomForDevice { name: self.name().to_owned() })
        };
        let config = &self.record.config;
        if config.console {
            page.add(entries.console()).map_err(full)?;
        }
        for (vif, listed) in config.vifs.iter().zip(&self.devices.vifs) {
            let Some(mac) = vif.mac else { continue };
            let rings = listed.rings.map(u64::from);
            let entry = entries.vif(
                (listed.number, listed.instance),
                rings,
                state(listed),
                &page_vif(vif, mac),
            );
            page.add(entry).map_err(full)?;
        }
        for listed in &self.devices.disks {
            let recorded = self.attach.vbds.iter().find(|vbd| vbd.index == listed.number);
            let Some(image) = recorded.and_then(|vbd| vbd.image.as_ref()) else { continue };
            let disk = DevicePageDisk { geometry: image.geometry, discard: image.discard };
            let entry = entries.disk(
                (listed.number, listed.instance),
                listed.rings[0].into(),
                state(listed),
                &disk,
            );
            page.add(entry).map_err(full)?;
        }
        if let Some(device) = more {
            page.add(device).map_err(full)?;
        }
        Ok(page)
    }

    /// Writes the device page and waits until the guest has done what it says.
    ///
    /// # Errors
    /// The guest refuses, has ended, or does not answer in time.
    pub(super) fn ask(
        &self,
        device: DeviceNumber,
        more: Option<Device>,
        patience: Patience,
    ) -> Result<(), LifecycleError> {
        // Only serves to notice that the guest exits instead of answering.
        let mut watch = DomainWatch::start(self.host).ok();
        let adds = more.is_some();
        let (channel, id) = self.publish(more)?;
        let name = || self.name().to_owned();
        match channel.wait(self.host, id, patience.deadline, watch.as_mut())? {
            Reaction::Answered(Some(AnswerStatus::Accepted)) => Ok(()),
            Reaction::Answered(Some(AnswerStatus::NoRoom)) => {
                Err(HotPlugError::NoRoomInGuest { name: name(), device }.into())
            }
            Reaction::Answered(Some(AnswerStatus::NoIpv6)) => {
                Err(HotPlugError::NoIpv6 { name: name(), device }.into())
            }
            Reaction::Answered(_) => {
                Err(HotPlugError::Unsupported { name: name(), device, can_force: !adds }.into())
            }
            Reaction::Ended => {
                let state = examine(self.host, self.id.domid)?.state();
                Err(HotPlugError::NotRunning { name: name(), state }.into())
            }
            Reaction::Silent => {
                let after = patience.timeout;
                Err(HotPlugError::TimedOut { name: name(), device, adds, after }.into())
            }
        }
    }

    /// Writes the device page without waiting for the guest.
    pub(super) fn announce(&mut self) -> Result<(), LifecycleError> {
        self.publish(None).map(drop)
    }

    /// Removes a pending device from the device file, from noxsd and from the device page, and revokes
    /// its grants. The guest may not know it any more, or not yet.
    ///
    /// Returns the network block device of a disk, for a caller that waits until its image is closed.
    ///
    /// Whatever fails, the rest is done. Otherwise a guest could keep the device: it can close the port
    /// by which it is notified, and return the pages.
    ///
    /// # Errors
    /// noxsd does not answer, or a file cannot be written: the device stays pending. Or the guest cannot
    /// be notified: the device is gone.
    pub(super) fn withdraw(&mut self, pending: PendingDevice) -> Result<Releasing, LifecycleError> {
        self.count_request();
        self.devices.pending = Some(pending);
        let saved = self.save();
        let device = pending.device;
        // The file first: a noxsd that is restarted after it has answered does not serve the device.
        let disks = self.attach.vbds.iter().filter(|vbd| DeviceNumber::Vbd(vbd.index) == device);
        let images = Releasing::of_numbers(&nbd::numbers(disks).collect::<Vec<_>>());
        let filed = match self.attach.remove(device) {
            Some(_) => self.save_devices(),
            None => Ok(()),
        };
        match self.host.noxsd.call(|noxsd| noxsd.detach_device(self.attach.id, device)) {
            // A noxsd that does not run has mapped nothing.
            Ok(()) | Err(BackendError::NotRunning { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // Only now: a device that the page does not list has no backend that still uses the guest's
        // pages.
        let notified = self.notify();
        let grants = pending.rings.map(Self::grant);
        self.host.xen.revoke_grants(self.id.domid, &grants)?;
        saved.and(filed)?;
        self.devices.pending = None;
        self.save()?;
        notified.map(|()| images)
    }

    /// Writes the device page, if the guest has not ended.
    fn notify(&mut self) -> Result<(), LifecycleError> {
        match examine(self.host, self.id.domid)?.state().has_ended() {
            true => Ok(()),
            false => self.announce(),
        }
    }
}

fn state(device: &PageDevice) -> DeviceState {
    if device.is_closing { DeviceState::Closing } else { DeviceState::Connected }
}

/// Withdraws a device that a killed process has left pending. Does nothing if another process is
/// changing the guest's devices.
///
/// # Errors
/// As [`Session::withdraw`].
pub(in crate::guests) fn withdraw_leftover<H: Hypervisor>(
    host: &Host<H>,
    record: &Record,
) -> Result<(), LifecycleError> {
    let devices = record.device_page.as_ref().and_then(|page| page.devices.as_ref());
    if devices.is_none_or(|devices| devices.pending.is_none()) {
        return Ok(());
    }
    let Ok(devices) = host.records.try_lock_devices(record.domid) else { return Ok(()) };
    let Ok(lock) = host.records.try_lock(record.domid) else { return Ok(()) };
    let mut session = Session::load(host, record.domid, record, [devices, lock])?;
    match session.devices.pending {
        Some(pending) => session.withdraw(pending).map(drop),
        None => Ok(()),
    }
}
