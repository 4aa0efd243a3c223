// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks that the bridge of a vif carries its packets.
//!
//! Only a vif with a larger MTU than the usual one is checked: reading the bridge's takes time in each
//! create.

use std::fs;
use std::path::Path;

use super::error::DevicesError;
use crate::config::{DEFAULT_MTU, VifConfig};

/// The interfaces of dom0.
const INTERFACES: &str = "/sys/class/net";

/// Checks that no vif has a larger MTU than its bridge, or the tap through which noxsd reaches it.
///
/// # Errors
/// [`DevicesError::Mtu`].
pub(crate) fn check(vifs: &[VifConfig]) -> Result<(), DevicesError> {
    vifs.iter().try_for_each(|vif| match vif.mtu {
        ..=DEFAULT_MTU => Ok(()),
        // Its bridge may be none of Linux.
        _ if vif.script.is_some() => Ok(()),
        _ => check_vif(Path::new(INTERFACES), vif),
    })
}

#[cold]
fn check_vif(interfaces: &Path, vif: &VifConfig) -> Result<(), DevicesError> {
    // A bridge that does not exist is reported when the vif is connected to it.
    let ports = fs::read_dir(interfaces.join(&vif.bridge).join("brif")).into_iter().flatten();
    let ports = ports.filter_map(|port| port.ok()?.file_name().into_string().ok());
    let taps = ports.filter(|port| port.starts_with(tap::NAME_PREFIX));
    for interface in [vif.bridge.clone()].into_iter().chain(taps) {
        let text = fs::read_to_string(interfaces.join(&interface).join("mtu"));
        let most = text.ok().and_then(|text| text.trim().parse().ok());
        if let Some(most) = most.filter(|most: &u32| u32::from(vif.mtu) > *most) {
            let (mtu, bridge) = (vif.mtu, vif.bridge.clone());
            return Err(DevicesError::Mtu { mtu, bridge, interface, most });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_mtu_than_that_of_the_bridge_or_its_tap_is_refused_with_the_remedy() {
        let interfaces = tempfile::tempdir().unwrap();
        let set = |interface: &str, mtu: u32| {
            let folder = interfaces.path().join(interface);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("mtu"), format!("{mtu}\n")).unwrap();
        };
        let vif = VifConfig { mtu: 9000, bridge: "br0".to_owned(), ..VifConfig::default() };
        let found = || check_vif(interfaces.path(), &vif).map_err(|error| error.to_string());
        assert_eq!(found(), Ok(()), "there is no bridge");
        set("br0", 9000);
        for (port, mtu) in [("br0/brif/eth0", 1500), ("br0/brif/noxs3", 1500)] {
            set(port, mtu);
        }
        set("noxs3", 1500);
        let refused = "mtu = 9000: must be at most 1500, the MTU of noxs3, by which guests reach \
                       bridge br0; raise it: ip link set noxs3 mtu 9000";
        assert_eq!(found(), Err(refused.to_owned()));
        set("noxs3", 9000);
        assert_eq!(found(), Ok(()));
        set("br0", 8999);
        let refused = "mtu = 9000: must be at most 8999, the MTU of br0, by which guests reach bridge \
                       br0; raise it: ip link set br0 mtu 9000";
        assert_eq!(found(), Err(refused.to_owned()));
    }
}
