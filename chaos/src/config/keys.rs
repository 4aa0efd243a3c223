// SPDX-License-Identifier: GPL-3.0-or-later
//! What is known about a key.

use std::fmt;

use WhyNot::{
    Arm, CpuFeature, Device, Firmware, GrantVersion, HostAccess, Label, Numa, Passthrough, Shadow,
    XenStore,
};

use super::number::parse_number;
use super::value::{Atom, Kind, Value};

/// A known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigKey {
    /// Its name.
    pub name: &'static str,
    /// How it is supported.
    pub support: KeySupport,
}

/// How a key is supported, and what xl does with it for PVH guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySupport {
    /// It has the meaning that it has in xl.
    Supported,
    /// It is a key of chaos, which xl ignores.
    Own,
    /// xl ignores it for PVH guests, or it belongs to a key that chaos refuses. chaos ignores it,
    /// too, and one warning names all such keys of a config.
    Ignored,
    /// It has an effect in xl, and each guest of chaos has what any of its values asks for.
    Granted,
    /// It has an effect in xl. chaos accepts these values, which ask for what each of its guests
    /// has, and refuses others.
    Limited(Accepted, WhyNot),
}

/// Values of a key that chaos accepts. The table of keys has this instead of the values, so that it is
/// small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Those that ask for nothing.
    Nothing,
    /// Those that ask for a host's CPU as it is.
    Host,
    /// 1.
    One,
}

impl Accepted {
    /// Returns the values.
    fn values(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &["", "0", "none", "disabled"],
            Self::Host => &["", "host"],
            Self::One => &["1"],
        }
    }

    /// Returns whether it contains a value. Numbers may be written in any base. A list without members
    /// asks for nothing, and so does one whose members are empty.
    pub(super) fn contains(self, value: &Value) -> bool {
        match &value.kind {
            Kind::Atom(Atom { text, .. }) => {
                let number = parse_number(text).map(|number| number.to_string());
                let text = number.as_ref().unwrap_or(text);
                self.values().iter().any(|accepted| accepted == text)
            }
            Kind::List(values) => {
                let is_empty = |value: &Value| match &value.kind {
                    Kind::Atom(Atom { text, .. }) => text.is_empty(),
                    Kind::List(_) => false,
                };
                values.iter().all(is_empty)
            }
        }
    }
}

/// Why a key of xl is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// It is a device of a kind that is not served.
    Device,
    /// It is a device of the host, which libxl refuses for PVH guests, too.
    Passthrough,
    /// It gives access to the hardware of the host.
    HostAccess,
    /// It is another way to name the kernel.
    Firmware,
    /// It changes what the processor can do.
    CpuFeature,
    /// It asks for shadow page tables.
    Shadow,
    /// It is a label of XSM.
    Label,
    /// It sets several NUMA nodes.
    Numa,
    /// It allows another version of grant tables.
    GrantVersion,
    /// It applies to Arm machines only, and xl refuses it on others.
    Arm,
    /// It sets limits of xenstored for the guest.
    XenStore,
}

/// The reason, and what to do.
impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device => "chaos serves only consoles, vifs and disks; remove the line",
            Passthrough => {
                "chaos assigns no device of the host to a guest, which xl does for PV and HVM guests only; \
                 remove the line"
            }
            HostAccess => {
                "chaos gives guests no I/O ports, interrupts or I/O memory of the host; remove the \
                 line"
            }
            Firmware => {
                "it names a kernel in Xen's folder of firmware; name that file with kernel= instead"
            }
            CpuFeature => "a guest of chaos has Xen's default CPU features; remove the line",
            Shadow => {
                "a guest of chaos needs hardware-assisted paging; write hap = 1, or remove the line"
            }
            Label => "chaos does not label guests for XSM; remove the line",
            Numa => "a guest of chaos has one NUMA node; remove the line",
            GrantVersion => {
                "a guest of chaos has version 1 of grant tables; write 1, or remove the line"
            }
            Arm => "it applies to Arm, and chaos creates x86 guests; remove the line",
            XenStore => "chaos does not set quotas or features of XenStore; remove the line",
        })
    }
}
