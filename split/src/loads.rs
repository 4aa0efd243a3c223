// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernels that wait to be read, and whose turn it is.

use std::collections::{HashMap, HashSet, VecDeque};

/// The kernels that several threads read. Each user has one at a time, so that a user whose kernels
/// take long takes one thread from the others; and who has waited longest since the last one comes
/// first, however many kernels others have.
#[derive(Debug)]
pub(crate) struct Loads<L> {
    waiting: VecDeque<(u32, L)>,
    reading: HashSet<u32>,
    /// When the last kernel of each user was read, on `clock`.
    last: HashMap<u32, u64>,
    clock: u64,
}

impl<L> Default for Loads<L> {
    fn default() -> Self {
        let (waiting, reading, last) = (VecDeque::new(), HashSet::new(), HashMap::new());
        Self { waiting, reading, last, clock: 0 }
    }
}

impl<L> Loads<L> {
    /// Adds a kernel of a user.
    pub(crate) fn add(&mut self, uid: u32, load: L) {
        self.waiting.push_back((uid, load));
    }

    /// Returns the next kernel to read, and its user. `None` if no user who has one waiting can have
    /// it read now. Call [`end`](Self::end) afterwards.
    pub(crate) fn next(&mut self) -> Option<(u32, L)> {
        let waiting = self.waiting.iter().enumerate();
        let (index, _) = waiting
            .filter(|(_, (uid, _))| !self.reading.contains(uid))
            // Of several that have waited as long, the first.
            .min_by_key(|(_, (uid, _))| self.last.get(uid))?;
        let (uid, load) = self.waiting.remove(index)?;
        self.reading.insert(uid);
        Some((uid, load))
    }

    /// Notes that the kernel of a user was read.
    pub(crate) fn end(&mut self, uid: u32) {
        self.clock += 1;
        self.reading.remove(&uid);
        self.last.insert(uid, self.clock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_one_kernel_read_at_a_time_and_who_waited_longest_is_next() {
        let mut loads = Loads::default();
        for (uid, name) in [(7, "7a"), (7, "7b"), (8, "8a"), (7, "7c"), (9, "9a")] {
            loads.add(uid, name);
        }
        assert_eq!(loads.next(), Some((7, "7a")));
        assert_eq!(loads.next(), Some((8, "8a")), "7 has one already");
        loads.end(7);
        assert_eq!(loads.next(), Some((9, "9a")), "before the next of 7");
        assert_eq!(loads.next(), Some((7, "7b")), "no other user can have one");
        loads.end(8);
        loads.end(7);
        loads.add(8, "8b");
        assert_eq!(loads.next(), Some((8, "8b")), "before 7, whose last one ended later");
        assert_eq!(loads.next(), Some((7, "7c")));
        assert_eq!(loads.next(), None);
    }
}
