// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of physical CPUs.

use std::collections::{BTreeSet, btree_set};
use std::fmt;

/// Bits in an element of Xen's bitmaps.
const BITS: u32 = u8::BITS;

/// A set of physical CPUs. Xen numbers them from 0.
///
/// It may contain numbers that no CPU of the machine has: Xen ignores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuMap(BTreeSet<u32>);

impl CpuMap {
    /// Returns the empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Adds a CPU. Returns whether it was not in the set.
    pub fn insert(&mut self, cpu: u32) -> bool {
        self.0.insert(cpu)
    }

    /// Removes a CPU. Returns whether it was in the set.
    pub fn remove(&mut self, cpu: u32) -> bool {
        self.0.remove(&cpu)
    }

    /// Returns whether the CPU is in the set.
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// Returns the number of CPUs in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set has no CPUs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// Returns the CPUs that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Returns a bitmap of this length for Xen. Leaves out CPUs that do not fit.
    pub(crate) fn to_bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for cpu in self.iter() {
            let byte = usize::try_from(cpu / BITS).ok().and_then(|index| bytes.get_mut(index));
            // The set is sorted, so no later CPU fits either.
            let Some(byte) = byte else { break };
            *byte |= 1 << (cpu % BITS);
        }
        bytes
    }

    /// Returns the set of a bitmap from Xen.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let bits = bytes.iter().flat_map(|byte| (0..BITS).map(move |bit| byte >> bit & 1 == 1));
        (0..).zip(bits).filter_map(|(cpu, set)| set.then_some(cpu)).collect()
    }
}

impl FromIterator<u32> for CpuMap {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl IntoIterator for CpuMap {
    type Item = u32;
    type IntoIter = btree_set::IntoIter<u32>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Writes ranges, such as `0-3,6`; nothing for the empty set.
impl fmt::Display for CpuMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(cpus: &[u32]) -> CpuMap {
        cpus.iter().copied().collect()
    }

    #[test]
    fn a_bitmap_has_the_lowest_cpu_in_the_lowest_bit_of_the_first_byte() {
        let cpus = map(&[0, 7, 8, 17]);
        assert_eq!(cpus.to_bytes(3), [0b1000_0001, 0b0000_0001, 0b0000_0010]);
        assert_eq!(CpuMap::from_bytes(&cpus.to_bytes(3)), cpus);
        assert_eq!(CpuMap::from_bytes(&cpus.to_bytes(2048)), cpus);
    }

    #[test]
    fn cpus_that_do_not_fit_are_left_out() {
        let cpus = map(&[6, 8, 4095, u32::MAX]);
        assert_eq!(cpus.to_bytes(1), [0b0100_0000]);
        assert_eq!(cpus.to_bytes(0), [0; 0]);
        assert_eq!(CpuMap::from_bytes(&cpus.to_bytes(512)), map(&[6, 8, 4095]));
        assert_eq!(CpuMap::from_bytes(&[]), CpuMap::new());
    }

    #[test]
    fn the_set_is_shown_as_ranges() {
        assert_eq!(map(&[0, 1, 2, 3, 6, 8, 9]).to_string(), "0-3,6,8-9");
        assert_eq!(map(&[5]).to_string(), "5");
        assert_eq!(map(&[u32::MAX - 1, u32::MAX]).to_string(), "4294967294-4294967295");
        assert_eq!(CpuMap::new().to_string(), "");
    }

    #[test]
    fn cpus_are_added_and_removed() {
        let mut cpus = CpuMap::new();
        assert!(cpus.is_empty());
        assert!(cpus.insert(3) && !cpus.insert(3) && cpus.contains(3));
        assert_eq!(cpus.len(), 1);
        assert_eq!(map(&[1, 2, 3]).intersection(&cpus), cpus);
        assert!(cpus.remove(3) && !cpus.remove(3) && cpus.is_empty());
    }
}
