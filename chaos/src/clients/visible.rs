// SPDX-License-Identifier: GPL-3.0-or-later
//! Text of daemons, made visible where it is decoded, so that code that prints or logs it later need
//! not know its origin. A daemon that was taken over cannot send commands to a terminal.

use std::borrow::Cow;

use noxs_control::{DomainStatus, Refusal};

use super::chaosd::protocol;
use crate::escape;

/// Values with text that is made visible.
pub(super) trait Visible {
    /// Replaces all invisible characters.
    fn make_visible(&mut self);
}

impl Visible for String {
    fn make_visible(&mut self) {
        if let Cow::Owned(escaped) = escape::lines(self) {
            *self = escaped;
        }
    }
}

impl Visible for Refusal {
    fn make_visible(&mut self) {
        match self {
            Self::NoSwitch(text) | Self::Invalid(text) => text.make_visible(),
            Self::System { what, errno } => {
                what.make_visible();
                errno.make_visible();
            }
            Self::DiskInUse(in_use) => in_use.path.make_visible(),
            Self::NoDevice | Self::ConsoleBusy | Self::AddressInUse(_) => {}
        }
    }
}

impl Visible for DomainStatus {
    fn make_visible(&mut self) {
        for device in &mut self.devices {
            device.name.make_visible();
            if let Some(reason) = &mut device.broken {
                reason.make_visible();
            }
        }
    }
}

impl Visible for protocol::Reply {
    fn make_visible(&mut self) {
        match self {
            Self::Created(created) => {
                created.handle.make_visible();
                created.stages.iter_mut().for_each(|(name, _)| name.make_visible());
            }
            Self::Pool { flavours, .. } => {
                for flavour in flavours {
                    flavour.name.make_visible();
                    flavour.bridges.iter_mut().for_each(Visible::make_visible);
                    if let Some(kernel) = &mut flavour.kernel {
                        kernel.make_visible();
                    }
                }
            }
            Self::Refused(refusal) => refusal.message.make_visible(),
            Self::Done => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use noxs_control::{DeviceCounters, DeviceStatus, DiskInUse, DomainId, VifStatus};

    use super::*;
    use crate::clients::chaosd::protocol::{Created, Origin};
    use crate::failure::FailureClass;

    const HOSTILE: &str = "\x1b[2J\u{202e}";
    const SHOWN: &str = "\\x1b[2J\\u{202e}";

    #[test]
    fn refusals_of_noxsd_are_visible() {
        let refusals = [
            Refusal::NoSwitch(HOSTILE.into()),
            Refusal::Invalid(HOSTILE.into()),
            Refusal::System { what: HOSTILE.into(), errno: HOSTILE.into() },
            Refusal::DiskInUse(DiskInUse { path: HOSTILE.into(), domid: None }),
        ];
        for mut refusal in refusals {
            refusal.make_visible();
            let text = refusal.to_string();
            assert!(text.contains(SHOWN) && !text.contains(escape::is_invisible), "{text:?}");
        }
    }

    #[test]
    fn reasons_of_broken_devices_are_visible() {
        let device = DeviceStatus {
            name: HOSTILE.into(),
            broken: Some(HOSTILE.into()),
            counters: DeviceCounters::Vif(VifStatus::default()),
        };
        let id = DomainId { domid: 1, handle: [0; 16] };
        let mut status = DomainStatus { id, devices: vec![device] };
        status.make_visible();
        let device = &status.devices[0];
        assert_eq!((device.name.as_str(), device.broken.as_deref()), (SHOWN, Some(SHOWN)));
    }

    #[test]
    fn replies_of_chaosd_are_visible_and_keep_their_lines() {
        let message = format!("a\n{HOSTILE}");
        let mut refused =
            protocol::Reply::Refused(protocol::Refusal { class: FailureClass::Failed, message });
        refused.make_visible();
        let protocol::Reply::Refused(refusal) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.message, format!("a\n{SHOWN}"));
        let mut created = protocol::Reply::Created(Created {
            domid: 1,
            handle: HOSTILE.into(),
            shell: Origin::Cold,
            is_kernels_store: false,
            stages: vec![(HOSTILE.into(), 1)],
        });
        created.make_visible();
        let protocol::Reply::Created(created) = created else { panic!("{created:?}") };
        assert_eq!((created.handle.as_str(), created.stages[0].0.as_str()), (SHOWN, SHOWN));
    }
}
