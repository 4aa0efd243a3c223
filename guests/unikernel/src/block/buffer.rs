// SPDX-License-Identifier: MIT OR Apache-2.0
//! Granted pages for what is read and written, and how the backend finds them.

use alloc::vec::Vec;

use xen_abi::io::blkif::{BLKIF_MAX_SEGMENTS_PER_REQUEST, Segment};
use zerocopy::IntoBytes;

use super::request::{DIRECT_PAGES, SECTOR, SECTORS_PER_PAGE};
use crate::grant::{Access, GrantRef, GrantTable};
use crate::granted::GrantedPages;
use crate::layout::PAGE_SIZE;

/// The most pages of a buffer: the segments of one request that fit into one page.
const MOST_PAGES: usize = PAGE_SIZE / size_of::<Segment>();

/// Memory for the data of one request at a time. The backend can access it at any time, so the guest
/// copies into it and out of it.
#[derive(Debug)]
pub struct Buffer {
    pub(super) data: GrantedPages,
    /// For a buffer that is too large for a direct request: the page that lists its segments, and
    /// how many of its entries are as in the list of a whole buffer. It is written once; a request
    /// of another length changes one entry.
    list: Option<GrantedPages>,
    /// The page of the list whose entry does not cover it completely.
    partial: Option<usize>,
}

/// How a request names the pages of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segments {
    /// In the request itself.
    Direct { count: u8, segments: [Segment; BLKIF_MAX_SEGMENTS_PER_REQUEST] },
    /// In a page of its own.
    Indirect { count: u16, list: GrantRef },
}

impl Buffer {
    /// Allocates and grants `count` buffers of `pages` pages, in one piece because each allocation
    /// of whole pages wastes a part of one. Returns `None` for no buffers, for 0 or more than 512
    /// pages, or if pages or grant entries do not suffice.
    pub(super) fn several(
        count: usize,
        pages: usize,
        domid: u16,
        table: &mut GrantTable,
    ) -> Option<Vec<Self>> {
        if count == 0 || pages == 0 || pages > MOST_PAGES {
            return None;
        }
        let all = count.checked_mul(pages)?;
        let data = GrantedPages::new(all, Access::ReadWrite, domid, table)?;
        let mut lists = None;
        if pages > DIRECT_PAGES {
            lists = Some(GrantedPages::new(count, Access::ReadOnly, domid, table)?.split(1));
        }
        let mut buffers = Vec::new();
        buffers.try_reserve_exact(count).ok()?;
        for data in data.split(pages) {
            let list = lists.as_mut().and_then(Iterator::next);
            let mut buffer = Self { data, list, partial: None };
            for page in 0..pages {
                buffer.set_entry(page, SECTORS_PER_PAGE)?;
            }
            buffers.push(buffer);
        }
        Some(buffers)
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.count() * PAGE_SIZE
    }

    /// Copies bytes out of the buffer.
    ///
    /// # Panics
    /// If the buffer does not contain all of them.
    pub fn get(&self, offset: usize, to: &mut [u8]) {
        let copied = self.data.copy_out(offset, to);
        assert!(copied.is_some(), "{} bytes at {offset} of a buffer", to.len());
    }

    /// Copies bytes into the buffer.
    ///
    /// # Panics
    /// If the buffer does not have room for all of them.
    pub fn put(&mut self, offset: usize, from: &[u8]) {
        let copied = self.data.copy_in(offset, from);
        assert!(copied.is_some(), "{} bytes at {offset} of a buffer", from.len());
    }

    /// Returns the segment of the first `sectors` sectors of a page.
    fn segment(&self, page: usize, sectors: u8) -> Segment {
        let gref = self.data.grant(page).map_or(0, |grant| grant.0);
        Segment { gref, first_sect: 0, last_sect: sectors - 1, pad: [0; 2] }
    }

    /// Writes the list's entry of a page.
    fn set_entry(&mut self, page: usize, sectors: u8) -> Option<()> {
        let segment = self.segment(page, sectors);
        match &mut self.list {
            Some(list) => list.copy_in(page * size_of::<Segment>(), segment.as_bytes()),
            None => Some(()),
        }
    }

    /// Returns how a request names the first `length` bytes, a multiple of 512, at least 512 and at
    /// most the buffer's size.
    pub(super) fn segments(&mut self, length: usize) -> Segments {
        let pages = length.div_ceil(PAGE_SIZE);
        let last = pages - 1;
        // At most 8.
        let sectors = u8::try_from((length - last * PAGE_SIZE) / SECTOR).unwrap_or(0);
        if let Some(list) = self.list.as_ref().and_then(|list| list.grant(0))
            && pages > DIRECT_PAGES
        {
            // The entries exist: a buffer has no more pages than its list.
            if let Some(page) = self.partial.take() {
                self.set_entry(page, SECTORS_PER_PAGE);
            }
            if sectors < SECTORS_PER_PAGE {
                self.set_entry(last, sectors);
                self.partial = Some(last);
            }
            // At most 512.
            return Segments::Indirect { count: u16::try_from(pages).unwrap_or(0), list };
        }
        let mut segments = [Segment::default(); BLKIF_MAX_SEGMENTS_PER_REQUEST];
        for (page, segment) in segments.iter_mut().enumerate().take(pages) {
            *segment = self.segment(page, if page == last { sectors } else { SECTORS_PER_PAGE });
        }
        // At most 11.
        Segments::Direct { count: u8::try_from(pages).unwrap_or(0), segments }
    }
}
