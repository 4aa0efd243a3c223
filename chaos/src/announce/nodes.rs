// SPDX-License-Identifier: GPL-3.0-or-later
//! The properties of a guest that are announced to it and to its backends.

use noxs_control::VifIdentity;

/// The properties of a guest that are announced in addition to those of its shell.
#[derive(Clone, Copy, Debug)]
pub struct GuestNodes<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it serves devices to other domains, with tools that keep nodes of their own.
    pub is_driver_domain: bool,
    /// The identities of its vifs.
    pub vifs: &'a [VifIdentity],
    /// Its disks.
    pub disks: &'a [DiskNodes<'a>],
    /// The vifs that have scripts.
    pub scripts: &'a [ScriptNodes<'a>],
}

/// What a vif's script reads.
#[derive(Clone, Copy, Debug)]
pub struct ScriptNodes<'a> {
    /// The number of the vif.
    pub vif: u32,
    /// The path of the script.
    pub script: &'a str,
    /// `bridge=`.
    pub bridge: &'a str,
    /// `ip=`, if there is one.
    pub ip: Option<&'a str>,
    /// `vifname=`, the name for the interface, if there is one.
    pub name: Option<&'a str>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
}

/// What the nodes of a disk contain.
#[derive(Clone, Copy, Debug)]
pub struct DiskNodes<'a> {
    /// Its number in the guest.
    pub id: u32,
    /// Its name in the guest, such as `xvda`.
    pub vdev: &'a str,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Major and minor number of the block device.
    pub device: (u64, u64),
    /// Path of the block device.
    pub path: &'a str,
}
