// SPDX-License-Identifier: GPL-3.0-or-later
//! Bridges beside `xenbr0`.

use std::fs;
use std::path::Path;

use crate::run::run;

/// Creates a bridge with an address of dom0's, unless an earlier test has. It stays, because noxsd
/// keeps its tap on it.
///
/// # Panics
/// It cannot be created.
#[track_caller]
pub fn bridge(name: &str, address: &str, mtu: Option<&str>) {
    if Path::new("/sys/class/net").join(name).exists() {
        return;
    }
    run("ip", &["link", "add", name, "type", "bridge"]).ok();
    // dom0's own multicasts, when the bridge comes up, could come before a guest listens.
    let ipv6 = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    fs::write(ipv6, "1").expect("IPv6 can be off");
    if let Some(mtu) = mtu {
        run("ip", &["link", "set", name, "mtu", mtu]).ok();
    }
    run("ip", &["addr", "add", address, "dev", name]).ok();
    run("ip", &["link", "set", name, "up"]).ok();
}
