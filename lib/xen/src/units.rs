// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types that keep Xen's numbers apart: domains, cpupools, frames, ports, grants and sizes.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
pub use xen_abi::PAGE_SIZE;
use xen_abi::{DOMID_ANY, DOMID_FIRST_RESERVED, DOMID_INVALID, DOMID_SELF};

/// A domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(pub u16);

impl DomId {
    /// The control domain.
    pub const DOM0: Self = Self(0);

    /// The first number that no domain can have (`DOMID_FIRST_RESERVED` in Xen's `xen.h`). A create
    /// that asks for it, or for a higher one, lets Xen choose the number.
    pub const FIRST_RESERVED: Self = Self(DOMID_FIRST_RESERVED);

    /// No domain in particular, since Xen 4.22 (`DOMID_ANY`): a create lets Xen choose the number.
    pub const ANY: Self = Self(DOMID_ANY);

    /// No domain (`DOMID_INVALID`).
    pub const INVALID: Self = Self(DOMID_INVALID);

    /// The domain that makes the hypercall (`DOMID_SELF`).
    pub const SELF: Self = Self(DOMID_SELF);

    /// Returns whether this can be the number of a guest.
    #[must_use]
    pub const fn is_guest(self) -> bool {
        self.0 > Self::DOM0.0 && self.0 < Self::FIRST_RESERVED.0
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A cpupool's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpupoolId(pub u32);

impl CpupoolId {
    /// The pool that Xen creates when it starts. dom0 is in it, and stays there.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for CpupoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A frame in a guest's own address space, in units of 4 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Gfn(pub u64);

impl Gfn {
    /// Returns the frame that is `pages` higher; `None` if the number overflows.
    #[must_use]
    pub const fn checked_add(self, pages: Pages) -> Option<Self> {
        match self.0.checked_add(pages.0) {
            Some(frame) => Some(Self(frame)),
            None => None,
        }
    }

    /// Returns the physical address of the frame's first byte; `None` if it does not fit in 64
    /// bits.
    #[must_use]
    pub const fn address(self) -> Option<u64> {
        self.0.checked_mul(PAGE_SIZE as u64)
    }
}

impl fmt::Display for Gfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// An index into a domain's grant table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRef(pub u32);

impl fmt::Display for GrantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One end of an event channel. Xen never assigns 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of pages of 4 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pages(pub u64);

impl Pages {
    /// Returns the sum; `None` if it does not fit in 64 bits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(pages) => Some(Self(pages)),
            None => None,
        }
    }

    /// Returns the difference; `None` if `other` is larger.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(pages) => Some(Self(pages)),
            None => None,
        }
    }

    /// Converts to KiB; saturates, which no real size reaches.
    #[must_use]
    pub const fn to_kib(self) -> KiB {
        KiB(self.0.saturating_mul(4))
    }

    /// Converts to bytes; saturates, which no real size reaches.
    #[must_use]
    pub const fn to_bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(PAGE_SIZE as u64))
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages", self.0)
    }
}

/// A number of KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KiB(pub u64);

impl KiB {
    /// Converts to bytes; saturates, which no real size reaches.
    #[must_use]
    pub const fn to_bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(1024))
    }

    /// Converts to pages; `None` if the size is not a multiple of a page.
    #[must_use]
    pub const fn to_pages(self) -> Option<Pages> {
        if self.0.is_multiple_of(4) { Some(Pages(self.0 / 4)) } else { None }
    }
}

impl fmt::Display for KiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.0)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// The 16 bytes that Xen stores for a domain without interpreting them, shown as a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DomainHandle(pub [u8; 16]);

impl fmt::Display for DomainHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Each create writes one. Writing digit by digit through the formatter takes ten times as
        // long.
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// A text is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a UUID such as 01234567-89ab-cdef-0123-456789abcdef")]
pub struct NotAUuid;

/// Parses a UUID, in lower or upper case.
impl FromStr for DomainHandle {
    type Err = NotAUuid;

    fn from_str(text: &str) -> Result<Self, NotAUuid> {
        let dashes = [8, 13, 18, 23];
        let has_dashes = text.len() == 36 && dashes.iter().all(|at| text.as_bytes()[*at] == b'-');
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let is_hexadecimal = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !has_dashes || !is_hexadecimal {
            return Err(NotAUuid);
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_| NotAUuid)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_parsed_and_nothing_else() {
        let text = "01234567-89ab-cdef-0123-456789abcdef";
        let handle: DomainHandle = text.parse().unwrap();
        assert_eq!(handle.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(handle));
        for wrong in [
            "",
            "0123456789abcdef0123456789abcdef",
            "01234567-89ab-cdef-0123-456789abcde",
            "01234567-89ab-cdef-0123-456789abcdeg",
            "0123456-789ab-cdef-0123-456789abcdef",
            "+1234567-89ab-cdef-0123-456789abcdef",
            "{1234567-89ab-cdef-0123-456789abcde}",
            "01234567-89ab-cdef-0123-4567-9abcdef",
            "\u{e4}1234567-89ab-cdef-0123-456789abcde",
        ] {
            assert_eq!(wrong.parse::<DomainHandle>(), Err(NotAUuid), "{wrong}");
        }
    }

    #[test]
    fn a_handle_is_shown_as_a_uuid() {
        let handle = DomainHandle(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes());
        assert_eq!(handle.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    }

    #[test]
    fn dom0_and_reserved_numbers_are_not_guests() {
        assert!(!DomId(0).is_guest());
        assert!(DomId(1).is_guest());
        assert!(!DomId(0x7ff0).is_guest());
    }

    #[test]
    fn sizes_convert_exactly() {
        assert_eq!(Pages(3).to_kib(), KiB(12));
        assert_eq!(Pages(3).to_bytes(), Bytes(12288));
        assert_eq!(KiB(12).to_pages(), Some(Pages(3)));
        assert_eq!(KiB(13).to_pages(), None);
    }

    #[test]
    fn arithmetic_does_not_wrap() {
        assert_eq!(Gfn(1).checked_add(Pages(2)), Some(Gfn(3)));
        assert_eq!(Gfn(u64::MAX).checked_add(Pages(1)), None);
        assert_eq!(Gfn(0xfc000).address(), Some(0xfc00_0000));
        assert_eq!(Gfn(1 << 52).address(), None);
        assert_eq!(Pages(1).checked_sub(Pages(2)), None);
        assert_eq!(Pages(u64::MAX).checked_add(Pages(1)), None);
    }
}
