// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory that incomplete requests hold: of each connection, and of all.
//!
//! A peer that announces a long argument gets the memory for it before it sends the argument. So a
//! few peers could take all memory and send nothing.

use alloc::rc::Rc;
use core::cell::Cell;

use crate::memory::{Memory, free};

/// What the incomplete requests of all connections hold, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Requests(Rc<Cell<usize>>);

impl Requests {
    /// Returns the share of a new connection, which holds nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share { all: Rc::clone(&self.0), own: 0 }
    }

    /// Returns whether incomplete requests hold more memory than is free beside them: more than
    /// half of what would be free without them.
    pub(crate) fn exceed(&self, memory: &dyn Memory) -> bool {
        let all = self.0.get();
        all > 0 && all > free(memory)
    }
}

/// What one connection's incomplete request holds. Subtracted from the sum when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    all: Rc<Cell<usize>>,
    own: usize,
}

impl Share {
    /// Returns the bytes that the connection's incomplete request holds.
    pub(crate) fn bytes(&self) -> usize {
        self.own
    }

    /// Changes the bytes that the connection's incomplete request holds.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes != self.own {
            self.all.set(self.all.get() - self.own + bytes);
            self.own = bytes;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of which this many bytes are free.
    struct Free(usize);

    impl Memory for Free {
        fn used(&self) -> usize {
            0
        }

        fn total(&self) -> usize {
            self.0
        }

        fn can_allocate(&self, _bytes: usize) -> bool {
            true
        }
    }

    #[test]
    fn the_sum_follows_each_connection_and_its_end() {
        let requests = Requests::default();
        assert!(!requests.exceed(&Free(0)));
        let (mut one, mut other) = (requests.share(), requests.share());
        one.set(30);
        other.set(20);
        assert!(requests.exceed(&Free(49)) && !requests.exceed(&Free(50)));
        one.set(10);
        assert!(requests.exceed(&Free(29)) && !requests.exceed(&Free(30)));
        drop(other);
        assert!(requests.exceed(&Free(9)) && !requests.exceed(&Free(10)));
        drop(one);
        assert!(!requests.exceed(&Free(0)));
    }
}
