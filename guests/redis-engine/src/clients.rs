// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of connections.

use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use core::cell::RefCell;

use crate::client::ClientInfo;

/// The connections, by ID. A closed connection is removed when the next one is added or when they
/// are counted.
#[derive(Debug, Default)]
pub(crate) struct Clients(BTreeMap<u64, Weak<RefCell<ClientInfo>>>);

impl Clients {
    pub(crate) fn add(&mut self, id: u64, info: &Rc<RefCell<ClientInfo>>) {
        self.remove_closed();
        self.0.insert(id, Rc::downgrade(info));
    }

    /// Returns the number of open connections.
    pub(crate) fn count(&mut self) -> usize {
        self.remove_closed();
        self.0.len()
    }

    /// Returns the open connections, sorted by ID.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Rc<RefCell<ClientInfo>>> {
        self.0.values().filter_map(Weak::upgrade)
    }

    fn remove_closed(&mut self) {
        self.0.retain(|_, info| info.strong_count() > 0);
    }
}
