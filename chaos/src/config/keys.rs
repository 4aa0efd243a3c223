//! What is known of a key.

use std::fmt;

use WhyNot::{Arm, DeviceModel, NotYet, Pv, XenStore};

/// A known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigKey {
    /// How it is written.
    pub name: &'static str,
    /// Whether it has an effect.
    pub support: KeySupport,
}

/// Whether a key has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySupport {
    /// As in xl.
    Supported,
    /// A key that xl does not know and ignores.
    Own,
    /// A list of devices that are not supported yet. An empty list is accepted.
    DeviceList,
    /// Known to xl, refused here.
    NotSupported(WhyNot),
}

/// Why a key of xl is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// It may be one day.
    NotYet,
    /// It is about devices that an emulator gives to HVM guests.
    DeviceModel,
    /// It is about PV guests.
    Pv,
    /// It is about Arm machines.
    Arm,
    /// It is about the guest's part of XenStore.
    XenStore,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotYet => "xl knows it, chaos does not yet",
            DeviceModel => "it is about emulated hardware, which a PVH guest does not have",
            Pv => "it is about PV guests, and chaos creates PVH guests",
            Arm => "it is about Arm, and chaos creates guests for x86",
            XenStore => "chaos sets no quotas in XenStore",
        })
    }
}
