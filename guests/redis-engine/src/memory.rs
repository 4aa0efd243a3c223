//! How much memory is left.

/// Tells how much memory is left.
pub trait Memory {
    /// Bytes in use.
    fn used(&self) -> usize;

    /// Bytes there are in all.
    fn total(&self) -> usize;

    /// Whether one piece of `bytes` can be had now.
    fn can_allocate(&self, bytes: usize) -> bool;
}

/// Kept free for what is allocated in small pieces without asking: tree nodes, single values,
/// the reply that says that memory is short.
pub(crate) const RESERVE: usize = 96 * 1024;

/// Whether `bytes` can be had and the reserve stays whole.
pub(crate) fn fits(memory: &dyn Memory, bytes: usize) -> bool {
    let left = memory.total().saturating_sub(memory.used());
    left >= bytes.saturating_add(RESERVE) && memory.can_allocate(bytes)
}
