// SPDX-License-Identifier: GPL-3.0-or-later
//! What is known about a key.

use std::fmt;

use WhyNot::{Arm, Bootloader, DeviceModel, NotYet, Pv, XenStore};

/// A known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigKey {
    /// Its name.
    pub name: &'static str,
    /// How it is supported.
    pub support: KeySupport,
}

/// How a key is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySupport {
    /// It has the meaning that it has in xl.
    Supported,
    /// It is a key of chaos, which xl ignores.
    Own,
    /// It is a list of devices that are not supported yet. An empty list is accepted.
    DeviceList,
    /// It is a key of xl that chaos refuses.
    NotSupported(WhyNot),
}

/// Why a key of xl is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// It is not implemented yet.
    NotYet,
    /// It configures hardware that a device model emulates for HVM guests.
    DeviceModel,
    /// It starts a program in dom0 that finds the kernel on the guest's disk.
    Bootloader,
    /// It applies to PV guests only.
    Pv,
    /// It applies to Arm machines only.
    Arm,
    /// It sets limits of xenstored for the guest.
    XenStore,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotYet => "chaos does not implement this key of xl yet",
            DeviceModel => "it configures emulated hardware, which a PVH guest does not have",
            Bootloader => {
                "chaos does not look for a kernel on the guest's disk; name one with kernel=, such as \
                 GRUB's PVH image, which does (grub-i386-xen_pvh.bin of Debian's grub-xen-bin)"
            }
            Pv => "it applies to PV guests, and chaos creates PVH guests",
            Arm => "it applies to Arm, and chaos creates x86 guests",
            XenStore => "chaos does not set quotas or features of XenStore",
        })
    }
}
