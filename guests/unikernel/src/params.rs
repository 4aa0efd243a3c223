// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of a guest in XenStore mode (`docs/xenstore.md`). It has no device page; Xen's HVM
//! parameters give the console's ring and port. The ring is the same, and its backend is
//! xenconsoled.

use noxs::{Backend, Console, Device, DevicePage, DeviceState, Ring};
use xen_abi::grant_table::GNTTAB_RESERVED_CONSOLE;
use xen_abi::hvm::{HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN};

use crate::hypercall;

/// Returns a device page with the console, if there is one. Network interfaces are announced in
/// XenStore, which this runtime does not read.
pub(crate) fn device_page() -> DevicePage {
    let mut page = DevicePage::new(0, [0; 16]);
    let param = |index| hypercall::hvm_param(index).unwrap_or_default();
    let (gfn, port) = (param(HVM_PARAM_CONSOLE_PFN), param(HVM_PARAM_CONSOLE_EVTCHN));
    if gfn != 0
        && let Ok(port) = u32::try_from(port)
    {
        // xenconsoled maps the page by this grant.
        let rings = [Ring { grant: GNTTAB_RESERVED_CONSOLE, gfn }];
        let state = DeviceState::Connected;
        let backend = Backend { index: 0, instance: 0, domid: 0, state, port, rings };
        // A new page has room for one device.
        let _ = page.add(Device::Console(Console { backend }));
    }
    page
}
