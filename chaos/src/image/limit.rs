// SPDX-License-Identifier: GPL-3.0-or-later
//! How large a kernel may be.

use xen::units::KiB;

use super::error::{ImageError, MAX_SIZE};

/// Bytes of a kernel that are never loaded, such as sections with debug information. A packed
/// kernel contains them, so it may unpack to this much more than the guest's memory.
const NOT_LOADED: u64 = 64 << 20;

/// The most bytes that are kept of a kernel, and the most that it may unpack to. Without a limit, a
/// file of 1 MiB could fill 1 GiB of the process that unpacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeLimit(u64);

impl SizeLimit {
    /// [`MAX_SIZE`], the limit of kernels for guests of any memory.
    pub const MOST: Self = Self(MAX_SIZE);

    /// Returns the limit for a guest: its memory and 64 MiB for what is not loaded, at most
    /// [`MAX_SIZE`].
    #[must_use]
    pub fn of_guest(memory: KiB) -> Self {
        Self(memory.to_bytes().0.saturating_add(NOT_LOADED).min(MAX_SIZE))
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Returns `size` if it is within the limit. `what` names it in the message.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`], or [`ImageError::TooLargeForGuest`] if only the guest's memory is
    /// too small.
    pub(super) fn check(self, what: &'static str, size: u64) -> Result<u64, ImageError> {
        match size {
            size if size <= self.0 => Ok(size),
            _ if self == Self::MOST => Err(ImageError::TooLarge { what }),
            _ => Err(ImageError::TooLargeForGuest { what, limit: self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_grows_with_the_guest_and_ends_at_the_most() {
        assert_eq!(SizeLimit::of_guest(KiB(8 << 10)).bytes(), 72 << 20);
        assert_eq!(SizeLimit::of_guest(KiB(16 << 30)), SizeLimit::MOST);
        assert_eq!(SizeLimit::of_guest(KiB(u64::MAX)), SizeLimit::MOST);
        let small = SizeLimit::of_guest(KiB(8 << 10));
        assert!(small.check("the file", 72 << 20).is_ok());
        let refused = small.check("the file", (72 << 20) + 1).unwrap_err();
        assert!(matches!(refused, ImageError::TooLargeForGuest { .. }));
    }
}
