// SPDX-License-Identifier: GPL-3.0-or-later
//! A network interface of a guest.

use noxs::{Ipv4Config, Ipv6Config, MacAddr};
use noxs_control::Rate;
pub use noxs_control::{MIN_MTU_IPV6, MTU};

use super::vif_script::VifScript;

/// Bridge of a vif without `bridge=`.
pub const DEFAULT_BRIDGE: &str = "xenbr0";

/// MTU of a vif without `mtu=`, in bytes.
pub const DEFAULT_MTU: u16 = 1500;

/// Longest name of a network interface in Linux, in bytes (`IFNAMSIZ` without the zero byte).
const MAX_INTERFACE_NAME: usize = 15;

/// A network interface of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VifConfig {
    /// Its MAC address; if `None`, chaos chooses one.
    pub mac: Option<MacAddr>,
    /// The bridge whose switch it is connected to.
    pub bridge: String,
    /// The guest's IPv4 address. With an address of any family, the guest may send from its addresses
    /// only.
    pub ip: Option<Ipv4Config>,
    /// The guest's IPv6 address.
    pub ip6: Option<Ipv6Config>,
    /// The name by which users know the vif, if they have given it one.
    pub name: Option<String>,
    /// Size of the largest IP packet, in bytes.
    pub mtu: u16,
    /// Limit on what the guest sends, if any.
    pub rate: Option<Rate>,
    /// The script that connects its interface to the network, if chaos does not do that itself. Then
    /// the bridge is for the script, and may be another text than the name of one.
    pub script: Option<Box<VifScript>>,
}

impl Default for VifConfig {
    fn default() -> Self {
        Self {
            mac: None,
            bridge: DEFAULT_BRIDGE.to_owned(),
            ip: None,
            ip6: None,
            name: None,
            mtu: DEFAULT_MTU,
            rate: None,
            script: None,
        }
    }
}

/// Checks that an interface may have this address.
///
/// # Errors
/// The reason, if it is a multicast address or all zeroes.
pub fn check_mac(mac: MacAddr) -> Result<(), &'static str> {
    if mac.is_multicast() {
        return Err("must not be a multicast address: its first byte must be even");
    }
    if mac.0 == [0; 6] {
        return Err("must not be all zeroes");
    }
    Ok(())
}

/// Returns the name of a vif in messages: `vif0`, and the name that its user has given it.
#[must_use]
pub fn vif_label(number: usize, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("vif{number} ({name})"),
        None => format!("vif{number}"),
    }
}

/// Returns whether the text can be the name of a vif: that of a network interface, and no template
/// of one (`%`), as which Linux would take it when it is renamed.
#[must_use]
pub fn is_vif_name(text: &str) -> bool {
    is_interface_name(text) && !text.contains('%')
}

/// Returns whether the text is a valid name of a network interface in Linux (`dev_valid_name`).
#[must_use]
pub fn is_interface_name(text: &str) -> bool {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    !text.is_empty()
        && text.len() <= MAX_INTERFACE_NAME
        && !matches!(text, "." | "..")
        && !text.contains(bad)
}
