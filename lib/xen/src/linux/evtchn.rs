// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xen/evtchn.h` of Linux.

use super::ioc;

/// `struct ioctl_evtchn_bind_virq`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BindVirq {
    pub virq: u32,
}

/// `struct ioctl_evtchn_bind_interdomain`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BindInterdomain {
    pub remote_domain: u32,
    pub remote_port: u32,
}

/// `struct ioctl_evtchn_unbind` and `struct ioctl_evtchn_notify`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalPort {
    pub port: u32,
}

pub const IOCTL_EVTCHN_BIND_VIRQ: u64 = ioc(b'E', 0, size_of::<BindVirq>());
pub const IOCTL_EVTCHN_BIND_INTERDOMAIN: u64 = ioc(b'E', 1, size_of::<BindInterdomain>());
pub const IOCTL_EVTCHN_UNBIND: u64 = ioc(b'E', 3, size_of::<LocalPort>());
pub const IOCTL_EVTCHN_NOTIFY: u64 = ioc(b'E', 4, size_of::<LocalPort>());
pub const IOCTL_EVTCHN_RESET: u64 = ioc(b'E', 5, 0);

const _: () = assert!(IOCTL_EVTCHN_BIND_VIRQ == 0x4_4500);
const _: () = assert!(IOCTL_EVTCHN_BIND_INTERDOMAIN == 0x8_4501);
const _: () = assert!(IOCTL_EVTCHN_UNBIND == 0x4_4503);
const _: () = assert!(IOCTL_EVTCHN_NOTIFY == 0x4_4504);
const _: () = assert!(IOCTL_EVTCHN_RESET == 0x4505);
