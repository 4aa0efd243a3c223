// SPDX-License-Identifier: GPL-3.0-or-later
//! Discovery through XenStore: nodes in the tree of the host's xenstored, for hosts and guests that
//! need them (`docs/xenstore.md`).
//!
//! All nodes of a guest are written in one transaction, whose requests are sent in one batch.
//! dom0's kernel watches the nodes and creates its ends of the devices; [`crate::backends`] waits
//! for that.

pub(crate) mod barrier;
mod control;
mod names;
mod publish;
mod tree;
mod tuning;

use super::nodes::GuestNodes;
use super::way::Announce;
use crate::clients::xenstored::{Connection, Link, StoreError};
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;

pub use control::{Control, EndWatch, terminal};
pub(crate) use names::{Described, described};
pub use tree::{ShellNodes, XenStorePaths};
pub(crate) use tuning::{MEMORY_LIMIT, MEMORY_LIMIT_BEFORE, MEMORY_TARGET};

/// XenStore, as a way of discovery.
#[derive(Clone, Copy)]
pub(super) struct XenStore;

impl Announce for XenStore {
    fn publish(
        self,
        xenstored: &Link,
        shell: &impl BuiltShell,
        guest: Option<&GuestNodes<'_>>,
    ) -> Result<bool, StoreError> {
        let Some(rings) = shell.xenstore_rings() else { return Ok(false) };
        let flavour = shell.flavour();
        let nodes = ShellNodes {
            memory: flavour.memory,
            max_memory: flavour.max_memory_pages().to_kib(),
            vcpus: flavour.vcpus,
            max_vcpus: flavour.max_vcpus(),
            vifs: flavour.vifs,
            rings,
        };
        let paths = XenStorePaths { domid: shell.domid(), handle: shell.handle() };
        xenstored.call(|connection| paths.announce(connection, &nodes, guest))?;
        Ok(true)
    }

    fn identify(
        self,
        xenstored: &Link,
        id: DomainIdentity,
        guest: &GuestNodes<'_>,
    ) -> Result<(), StoreError> {
        let paths = XenStorePaths::from(id);
        xenstored.call(|connection| paths.identify(connection, guest))
    }

    fn must_be_paused(self) -> bool {
        // A running driver would write to its nodes, and so create them again.
        true
    }

    fn withdraw(self, id: DomainIdentity) -> Result<(), StoreError> {
        let paths = XenStorePaths::from(id);
        match paths.is_announced() {
            Ok(true) => paths.withdraw(),
            Ok(false) | Err(StoreError::NotRunning { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn withdraw_devices(self, id: DomainIdentity) -> Result<(), StoreError> {
        XenStorePaths::from(id).withdraw_devices()
    }

    fn rename(self, id: DomainIdentity, name: &str) -> Result<(), StoreError> {
        XenStorePaths::from(id).rename(name)
    }
}

impl XenStorePaths {
    /// Returns whether the domain that is announced under this number is this one.
    fn is_announced(self) -> Result<bool, StoreError> {
        let vm = Connection::open()?.read(&self.vm_node())?;
        Ok(vm.is_some_and(|vm| self.is_vm(&vm)))
    }
}
