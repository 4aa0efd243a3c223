//! What a guest's `main` is given.

use alloc::boxed::Box;
use core::cell::OnceCell;
use core::ops::Range;

use noxs::{Device, DevicePage, Vif};

use crate::clock::Instant;

/// The guest: its name to Xen, its command line and its devices.
#[derive(Debug)]
pub struct Guest {
    page: Box<DevicePage>,
    /// Where dom0 keeps the page.
    page_address: u64,
    /// Free frames for what Xen shares with the guest.
    overlay: Range<u64>,
    command_line: &'static str,
    /// The time stamp counter when it was first asked for. Reading it can be an exit to Xen.
    stamp: OnceCell<u64>,
}

impl Guest {
    pub(crate) fn new(
        page: Box<DevicePage>,
        page_address: u64,
        overlay: Range<u64>,
        command_line: &'static str,
    ) -> Self {
        Self { page, page_address, overlay, command_line, stamp: OnceCell::new() }
    }

    /// Xen's number for this domain.
    #[must_use]
    pub fn domid(&self) -> u16 {
        self.page.domid
    }

    /// The domain's handle (UUID).
    #[must_use]
    pub fn handle(&self) -> [u8; 16] {
        self.page.handle
    }

    /// What the configuration gave as `cmdline`; empty if it is not UTF-8.
    #[must_use]
    pub fn command_line(&self) -> &'static str {
        self.command_line
    }

    /// Guest-physical address of the device page, for a guest that looks at it with its own eyes;
    /// 0 in XenStore mode, where there is none.
    #[must_use]
    pub fn device_page_address(&self) -> u64 {
        self.page_address
    }

    /// The devices, in the order of the device page.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.page.devices()
    }

    /// The first network interface.
    #[must_use]
    pub fn vif(&self) -> Option<&Vif> {
        self.devices().find_map(|device| match device {
            Device::Vif(vif) => Some(vif),
            _ => None,
        })
    }

    /// A number that is hard to guess from outside: the time to the CPU's cycle and the domain's
    /// handle. For hash tables and sequence numbers, not for secrets. Always the same for one guest.
    #[must_use]
    pub fn seed(&self) -> u64 {
        let handle = self.handle().iter().fold(0u64, |mixed, byte| {
            // FNV-1a.
            (mixed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (handle ^ self.stamp()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// When the guest started, as nearly as matters: when it was first asked for. Costs nothing
    /// after that, unlike [`Instant::now`], and nothing after [`seed`](Self::seed).
    #[must_use]
    pub fn started(&self) -> Instant {
        Instant::at(self.stamp())
    }

    fn stamp(&self) -> u64 {
        *self.stamp.get_or_init(crate::cpu::time_stamp)
    }

    /// A frame for the grant table: one dom0 left free, or one of the heap's.
    pub(crate) fn take_overlay_frame(&mut self) -> Option<u64> {
        self.overlay.next().or_else(crate::heap::take_frame)
    }
}
