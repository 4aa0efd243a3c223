// SPDX-License-Identifier: GPL-3.0-or-later
//! The requests of one frame in a guest's transmit ring (`public/io/netif.h`).
//!
//! The first request has the length of the whole frame. With `NETTXF_extra_info`, extra infos take
//! the next slots. With `NETTXF_more_data`, the frame continues in the slots after these. A front
//! end publishes all slots of a frame at once. One that does not, or whose slots cannot be told
//! apart, loses its device: it is unknown where its next frame begins. A frame that is wrong in
//! another way is answered with an error.

use std::ops::Range;

use xen_abi::io::netif::{
    ExtraInfo, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, SLOTS_OF_FRAME, TxRequest,
    XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_EXTRA_TYPE_MAX,
    XEN_NETIF_EXTRA_TYPE_NONE,
};
use xen_ring::{BackRing, NetTx, SharedPage};

use super::NetFault;
use super::frame::HEADER;
use crate::host::PAGE_SIZE;

/// Most extra infos of one frame: one of each kind.
const MAX_EXTRAS: usize = XEN_NETIF_EXTRA_TYPE_MAX as usize - 1;

/// The requests of a frame. Each of them, and each extra info, gets a response.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The requests in the list of the turn's requests. The size of each is that of its part.
    pub(super) requests: Range<usize>,
    /// How many extra infos there are.
    pub(super) extras: usize,
    /// How the frame is to be segmented.
    pub(super) segmentation: Option<ExtraInfo>,
    /// Length of the frame; `None` if it is invalid.
    pub(super) length: Option<u16>,
}

impl Chain {
    /// Returns how many slots of the ring the frame takes.
    pub(super) fn slots(&self) -> u32 {
        // At most those of a ring.
        u32::try_from(self.requests.len() + self.extras).unwrap_or(u32::MAX)
    }
}

/// Takes the requests of the next frame, and appends them to `requests`. `first` is the copy of the
/// first one, and `waiting` says how many there are, with it.
///
/// # Errors
/// The guest did not publish all slots of the frame, or there are more than a frame can have.
pub(super) fn take(
    ring: &mut BackRing<NetTx>,
    memory: &impl SharedPage,
    first: TxRequest,
    waiting: u32,
    requests: &mut Vec<TxRequest>,
) -> Result<Chain, NetFault> {
    let begin = requests.len();
    let mut left = waiting.saturating_sub(1);
    ring.consume();
    requests.push(first);
    // Check and use each copy: the guest may change the slot at any time.
    let mut next = |ring: &mut BackRing<NetTx>| {
        left = left.checked_sub(1).ok_or(NetFault::UnfinishedFrame)?;
        let request = ring.peek(memory);
        ring.consume();
        Ok::<_, NetFault>(request)
    };
    let mut segmentation = None;
    let (mut extras, mut more) = (0, first.flags & NETTXF_EXTRA_INFO != 0);
    let mut valid = true;
    while more {
        let extra = ExtraInfo::from(next(ring)?);
        extras += 1;
        let is_known =
            extra.kind != XEN_NETIF_EXTRA_TYPE_NONE && extra.kind < XEN_NETIF_EXTRA_TYPE_MAX;
        if !is_known || extras > MAX_EXTRAS {
            return Err(NetFault::ExtraInfo { kind: extra.kind });
        }
        match extra.kind {
            XEN_NETIF_EXTRA_TYPE_GSO if segmentation.is_none() => segmentation = Some(extra),
            _ => valid = false,
        }
        more = extra.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0;
    }
    more = first.flags & NETTXF_MORE_DATA != 0;
    let mut rest = first.size;
    while more {
        if requests.len() - begin == SLOTS_OF_FRAME {
            return Err(NetFault::TooManySlots);
        }
        let request = next(ring)?;
        requests.push(request);
        more = request.flags & NETTXF_MORE_DATA != 0;
        match rest.checked_sub(request.size) {
            Some(less) => rest = less,
            None => valid = false,
        }
    }
    // The first part has what the others do not have.
    requests[begin].size = rest;
    valid &= usize::from(rest) >= HEADER && requests[begin..].iter().all(is_in_page);
    let length = valid.then_some(first.size);
    Ok(Chain { requests: begin..requests.len(), extras, segmentation, length })
}

/// Returns whether a part of a frame has bytes, all of them in one page.
fn is_in_page(part: &TxRequest) -> bool {
    part.size > 0 && usize::from(part.offset) + usize::from(part.size) <= PAGE_SIZE
}
