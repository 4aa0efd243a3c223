// SPDX-License-Identifier: MIT OR Apache-2.0
//! The argument of a guest's `main`.

use alloc::boxed::Box;
use core::cell::OnceCell;
use core::ops::Range;

use noxs::{Device, DevicePage, DeviceState, Vbd, Vif};

use crate::clock::Instant;
use crate::grant::{GrantError, GrantTable};

/// The guest: its domain, its command line and its devices.
#[derive(Debug)]
pub struct Guest {
    page: Box<DevicePage>,
    /// The address of the device page.
    page_address: u64,
    /// Free frames, at which pages of Xen's can be mapped.
    overlay: Range<u64>,
    command_line: &'static str,
    /// The time and the time stamp counter at their first use. Reading the counter can be an exit to
    /// Xen.
    started: OnceCell<(Instant, u64)>,
    /// The grant table, once a device has needed it.
    grants: Option<GrantTable>,
}

impl Guest {
    pub(crate) fn new(
        page: Box<DevicePage>,
        page_address: u64,
        overlay: Range<u64>,
        command_line: &'static str,
    ) -> Self {
        Self { page, page_address, overlay, command_line, started: OnceCell::new(), grants: None }
    }

    /// Returns the domain's number.
    #[must_use]
    pub fn domid(&self) -> u16 {
        self.page.domid
    }

    /// Returns the domain's handle (UUID).
    #[must_use]
    pub fn handle(&self) -> [u8; 16] {
        self.page.handle
    }

    /// Returns the value of `cmdline` in the config; empty if it is not UTF-8.
    #[must_use]
    pub fn command_line(&self) -> &'static str {
        self.command_line
    }

    /// Returns the guest-physical address of the device page, for a guest that reads it itself; 0
    /// in XenStore mode, which has no device page.
    #[must_use]
    pub fn device_page_address(&self) -> u64 {
        self.page_address
    }

    /// Returns the devices, in the order of the device page.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.page.devices()
    }

    /// Returns the first network interface.
    #[must_use]
    pub fn vif(&self) -> Option<&Vif> {
        self.vifs().next()
    }

    /// Returns the network interfaces, in the order of the device page.
    pub fn vifs(&self) -> impl Iterator<Item = &Vif> {
        self.page.vifs().filter(|vif| vif.backend.state == DeviceState::Connected)
    }

    /// Returns the disks, in the order of the device page.
    pub fn disks(&self) -> impl Iterator<Item = &Vbd> {
        self.devices().filter_map(|device| match device {
            Device::Vbd(vbd) if vbd.backend.state == DeviceState::Connected => Some(vbd),
            _ => None,
        })
    }

    /// Returns a number that is hard to guess from outside, computed from the time stamp counter
    /// and the domain's handle. For hash tables and sequence numbers, not for secrets. Each call
    /// returns the same number.
    #[must_use]
    pub fn seed(&self) -> u64 {
        let handle = self.handle().iter().fold(0u64, |mixed, byte| {
            // FNV-1a.
            (mixed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (handle ^ self.first_reading().1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Returns roughly when the guest started: the time of the first call of this or of
    /// [`seed`](Self::seed). Unlike [`Instant::now`], later calls do not read the time stamp
    /// counter.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.first_reading().0
    }

    /// Replaces the list of devices, after dom0 has changed it.
    #[cfg(feature = "hot-plug")]
    pub fn update(&mut self, change: &crate::hot_plug::Change) {
        self.page = change.page.clone();
    }

    fn first_reading(&self) -> (Instant, u64) {
        *self.started.get_or_init(Instant::now_with_stamp)
    }

    /// Returns the grant table, which all devices share. Maps it at the first call.
    pub(crate) fn grants(&mut self) -> Result<&mut GrantTable, GrantError> {
        if self.grants.is_none() {
            self.grants = Some(GrantTable::map(self)?);
        }
        self.grants.as_mut().ok_or(GrantError::NoFrame)
    }

    /// Takes a frame to map a page of Xen's at: one that dom0 reserved, or else one of the heap.
    pub(crate) fn take_overlay_frame(&mut self) -> Option<u64> {
        self.overlay.next().or_else(crate::heap::take_frame)
    }
}
