// SPDX-License-Identifier: GPL-3.0-or-later
//! A table indexed by numbers that Xen assigns in ascending order: domids and event channel ports.

/// A table indexed by small numbers.
///
/// Address space for all numbers is reserved at once, and memory is used up to the largest number
/// so far, page by page. So the table never moves when it grows, and the ten-thousandth entry costs
/// as much as the first.
#[derive(Debug)]
pub struct IdTable<T>(Vec<Option<T>>);

impl<T: Copy> IdTable<T> {
    /// Creates an empty table for numbers below `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Vec::with_capacity(limit))
    }

    /// Returns the value of a number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<T> {
        *self.0.get(number as usize)?
    }

    /// Sets the value of a number.
    pub fn insert(&mut self, number: u32, value: T) {
        let index = number as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(value);
    }

    /// Removes a number and returns its value.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        self.0.get_mut(number as usize)?.take()
    }

    /// Returns all numbers in the table, in time proportional to the largest.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.entries_from(0).map(|(number, _)| number)
    }

    /// Returns the numbers from `first` on with their values, in time proportional to the largest.
    pub fn entries_from(&self, first: u32) -> impl Iterator<Item = (u32, T)> {
        let entries = (first..).zip(self.0.iter().skip(first as usize));
        entries.filter_map(|(number, value)| Some((number, (*value)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_until_it_is_removed() {
        let mut table = IdTable::new(4);
        for number in [3, 0, 9] {
            assert_eq!(table.get(number), None);
            table.insert(number, number * 2);
        }
        assert_eq!(table.numbers().collect::<Vec<_>>(), [0, 3, 9]);
        assert_eq!(table.entries_from(1).collect::<Vec<_>>(), [(3, 6), (9, 18)]);
        assert_eq!(table.entries_from(10).count(), 0);
        assert_eq!(table.get(9), Some(18));
        assert_eq!(table.remove(9), Some(18));
        assert_eq!(table.remove(9), None);
        assert_eq!(table.remove(u32::MAX), None);
        assert_eq!(table.get(9), None);
        assert_eq!(table.get(0), Some(0));
    }
}
