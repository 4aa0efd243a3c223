//! The list of connections.

use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use core::cell::RefCell;

use crate::session::About;

/// The connections, by ID. A closed connection is removed when the next one is added or when they
/// are counted.
#[derive(Debug, Default)]
pub(crate) struct Clients(BTreeMap<u64, Weak<RefCell<About>>>);

impl Clients {
    pub(crate) fn add(&mut self, id: u64, about: &Rc<RefCell<About>>) {
        self.forget_ended();
        self.0.insert(id, Rc::downgrade(about));
    }

    /// Returns the number of open connections.
    pub(crate) fn count(&mut self) -> usize {
        self.forget_ended();
        self.0.len()
    }

    /// Returns the open connections in the order of their IDs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Rc<RefCell<About>>> {
        self.0.values().filter_map(Weak::upgrade)
    }

    fn forget_ended(&mut self) {
        self.0.retain(|_, about| about.strong_count() > 0);
    }
}
