// SPDX-License-Identifier: GPL-3.0-or-later
//! What a device is served with in one turn.

use std::time::Instant;

use super::{DomId, Host, LocalPort};

/// The device whose turn it is, and what it may use.
#[derive(Debug)]
pub struct Cx<'a, H: Host> {
    /// dom0's side of Xen.
    pub host: &'a mut H,
    /// The ring pages of the device's domain.
    pub memory: &'a H::Memory,
    /// The device's domain.
    pub domid: DomId,
    /// dom0's end of the device's event channel.
    pub port: LocalPort,
    /// When the turn began.
    pub now: Instant,
    /// Whether other domains were served lately, so that this one gets a small batch.
    pub shared: bool,
}

impl<H: Host> Cx<'_, H> {
    /// Sends the guest an event for this device.
    pub fn notify(&mut self) {
        self.host.notify(self.port);
    }
}
