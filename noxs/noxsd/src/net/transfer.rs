// SPDX-License-Identifier: GPL-3.0-or-later
//! The frames of one turn, and memory that every turn reuses.

use std::collections::VecDeque;
use std::ops::Range;

use tap::VNET_HEADER;
use xen_abi::io::netif::{ExtraInfo, RxResponse, TxRequest};

use super::NetFault;
use super::offload::{Checksum, Offload, Segmentation, VnetHeader};
use super::segments;
use super::sender::SentFrame;
use super::switch::{BridgePortId, End, Route, Switch};
use super::waiting::Store;
use crate::host::PAGE_SIZE;
use crate::host::buffers::{Buffers, GrantCopy};
use crate::turns::TurnId;

/// Most frames of one turn.
pub const BATCH: usize = 64;

/// Most frames that a guest sends in one turn while others are served, too: their frames wait for
/// so many at most.
pub const SHARED_BATCH: usize = 8;

/// Length of the longest frame in bytes.
pub const LONGEST: usize = u16::MAX as usize;

/// Pages for the frames of one turn, behind one for the header of the first: a batch of frames of
/// one page or less, or four of the longest.
pub const PAGES: usize = BATCH + LONGEST_PAGES;

/// Most pages of frames that a guest sends in one turn while others are served, too: a frame of any
/// length, or a batch of short ones.
pub const SHARED_PAGES: usize = LONGEST_PAGES;

const LONGEST_PAGES: usize = LONGEST.div_ceil(PAGE_SIZE);

/// Pages for the segments of long frames. Segments that do not fit are delivered after the others.
const SEGMENT_PAGES: usize = BATCH;

/// Room for one segment, whose frame is not longer than the largest MTU of a vif allows.
pub(super) const SEGMENT_ROOM: usize = 4 * PAGE_SIZE;

const _: () = assert!(SHARED_BATCH <= SHARED_PAGES);

/// A frame in the buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct BufferedFrame {
    /// Where it begins. The bytes before it are free for a [`VnetHeader`].
    at: usize,
    length: u16,
    pub(super) offload: Offload,
}

impl BufferedFrame {
    /// Returns its length in bytes.
    pub(super) fn length(&self) -> usize {
        self.length.into()
    }

    /// Returns where it lies in the buffers.
    pub(super) fn range(&self) -> Range<usize> {
        self.at..self.at + self.length()
    }

    /// Returns the parts of the frame that fit in a page each.
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, u16)> + use<> {
        let Range { start, end } = self.range();
        (start..end).step_by(PAGE_SIZE).map(move |at| {
            // At most a page.
            let length = u16::try_from((end - at).min(PAGE_SIZE)).unwrap_or_default();
            (at, length)
        })
    }
}

/// Returns how many pages a frame of this length takes.
pub(super) fn pages(length: usize) -> usize {
    length.div_ceil(PAGE_SIZE)
}

/// The buffers, and how much of them is used. Each frame begins with a page.
#[derive(Debug)]
pub(super) struct FrameBuffers {
    pub(super) memory: Buffers,
    /// Where the next frame begins.
    next: usize,
    /// Where the next segment of a long frame begins.
    next_segment: usize,
}

/// The end of the memory for frames, behind which that for segments lies.
const END: usize = (1 + PAGES) * PAGE_SIZE;

impl FrameBuffers {
    fn new() -> Self {
        let memory = Buffers::new(1 + PAGES + SEGMENT_PAGES);
        Self { memory, next: PAGE_SIZE, next_segment: END }
    }

    /// Frees all buffers.
    pub(super) fn clear(&mut self) {
        self.next = PAGE_SIZE;
    }

    /// Returns how many pages are used.
    pub(super) fn used(&self) -> usize {
        self.next / PAGE_SIZE - 1
    }

    /// Returns where a frame of that length would begin; `None` if it does not fit.
    pub(super) fn room(&self, length: usize) -> Option<usize> {
        (self.next + length <= END).then_some(self.next)
    }

    /// Takes the buffer of a frame that begins where [`room`](Self::room) says.
    pub(super) fn take(&mut self, length: u16, offload: Offload) -> BufferedFrame {
        let frame = BufferedFrame { at: self.next, length, offload };
        // Leave room for the header of the next one.
        self.next = (frame.range().end + VNET_HEADER).next_multiple_of(PAGE_SIZE);
        frame
    }

    /// Copies a frame into a buffer. Returns `None` if there is no room.
    pub(super) fn put(&mut self, bytes: &[u8], offload: Offload) -> Option<BufferedFrame> {
        let at = self.room(bytes.len())?;
        let length = u16::try_from(bytes.len()).ok()?;
        self.memory.get_mut(at..at + bytes.len()).copy_from_slice(bytes);
        Some(self.take(length, offload))
    }

    /// Returns the bytes of a frame.
    pub(super) fn bytes(&self, frame: &BufferedFrame) -> &[u8] {
        self.memory.get(frame.range())
    }

    /// Returns the bytes of a frame.
    pub(super) fn bytes_mut(&mut self, frame: &BufferedFrame) -> &mut [u8] {
        self.memory.get_mut(frame.range())
    }

    /// Returns the bytes of a frame with its header for the tap. Returns `None` if the frame lacks a
    /// checksum and has no place for one.
    pub(super) fn with_header(&mut self, frame: &BufferedFrame) -> Option<&[u8]> {
        let header = VnetHeader::of(self.bytes(frame), frame.offload)?;
        let begin = frame.at - VNET_HEADER;
        self.memory.get_mut(begin..frame.at).copy_from_slice(&header.encode());
        Some(self.memory.get(begin..frame.range().end))
    }

    /// Frees the buffers of segments.
    pub(super) fn clear_segments(&mut self) {
        self.next_segment = END;
    }

    /// Returns a buffer for the next frame of a tap with its header; `None` if there is no room for
    /// the longest one.
    pub(super) fn room_to_read(&mut self) -> Option<&mut [u8]> {
        // A byte more, so that a frame that is too long is recognized.
        let at = self.room(LONGEST + 1)?;
        Some(self.memory.get_mut(at - VNET_HEADER..at + LONGEST + 1))
    }

    /// Returns the frame that was read as `length` bytes with its header into the buffer of
    /// [`room_to_read`](Self::room_to_read), and what is left to do to it. Returns `None` if it is
    /// not one that the kernel may pass on.
    pub(super) fn was_read(&mut self, length: usize) -> Option<(&[u8], Offload)> {
        let (at, length) = (self.next, length.checked_sub(VNET_HEADER)?);
        (length <= LONGEST).then_some(())?;
        let (header, frame) =
            self.memory.get_mut(at - VNET_HEADER..at + length).split_first_chunk_mut()?;
        let offload = VnetHeader::decode(*header).offload(frame)?;
        Some((frame, offload))
    }

    /// Computes the checksum of a frame if it is blank. Returns `false` if the frame cannot be
    /// flooded, because it is to be segmented.
    pub(super) fn complete_to_flood(&mut self, frame: &mut BufferedFrame) -> bool {
        let can_flood = frame.offload.segmentation.is_none();
        if can_flood {
            frame.offload.complete(self.memory.get_mut(frame.range()));
        }
        can_flood
    }

    /// Writes a segment of a frame into a buffer. Returns `None` if there is no room, and
    /// `Some(None)` if the frame is malformed.
    #[allow(clippy::option_option, reason = "no room differs from a frame that is malformed")]
    pub(super) fn segment(
        &mut self,
        frame: &BufferedFrame,
        segmentation: Segmentation,
        number: usize,
    ) -> Option<Option<BufferedFrame>> {
        let at = self.next_segment;
        let (frames, rest) = self.memory.bytes_mut().split_at_mut(END);
        let to = rest.get_mut(at - END..).filter(|to| to.len() >= SEGMENT_ROOM)?;
        let length = segments::write(&frames[frame.range()], segmentation, number, to);
        Some(length.and_then(|length| {
            self.next_segment = (at + length).next_multiple_of(PAGE_SIZE);
            let offload = Offload { checksum: Checksum::Valid, segmentation: None };
            Some(BufferedFrame { at, length: u16::try_from(length).ok()?, offload })
        }))
    }
}

/// A frame on its way to a guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) to: BridgePortId,
    pub(super) frame: BufferedFrame,
    /// Whether the frame may wait for a page. Flooded frames do not wait, because many guests never
    /// look at them.
    pub(super) may_wait: bool,
}

/// A response for a receiver, in the order of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) to: BridgePortId,
    pub(super) part: AnswerPart,
}

/// What a response says.
#[derive(Clone, Copy, Debug)]
pub(super) enum AnswerPart {
    /// A page of a frame. Copied by the next copy; the status is set when it is done.
    Data {
        /// The response.
        response: RxResponse,
        /// The length of the whole frame, in the response of its first page.
        frame: Option<usize>,
    },
    /// How the frame is to be segmented.
    Extra(ExtraInfo),
}

/// The frames of one turn.
#[derive(Debug)]
pub struct Transfer {
    pub(super) buffers: FrameBuffers,
    /// The requests of the frames that are being fetched.
    pub(super) requests: Vec<TxRequest>,
    /// The frames that are being fetched.
    pub(super) sent: Vec<SentFrame>,
    pub(super) copies: Vec<GrantCopy>,
    pub(super) deliveries: Vec<Delivery>,
    /// The responses for receivers. Each page of a frame has its copy, in the same order.
    pub(super) answers: Vec<Answer>,
    /// Receivers whose rings have new responses.
    pub(super) touched: Vec<BridgePortId>,
    /// Frames whose receivers have posted no page.
    pub(super) late: Vec<Delivery>,
    /// What the waiting frames of all bridges share.
    pub(super) store: Store,
    /// Pages of frames that were copied from and to guests, and read from and written to taps, since
    /// the beginning of a turn.
    pub(super) work: usize,
    /// Receivers for which frames have begun to wait, and bridges whose floods continue.
    pub(super) woken: Vec<TurnId>,
    /// Receivers that broke their rings.
    pub(super) faults: VecDeque<(TurnId, NetFault)>,
    /// Whether the turn ends before all frames were taken.
    pub(super) full: bool,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            buffers: FrameBuffers::new(),
            requests: Vec::new(),
            sent: Vec::new(),
            copies: Vec::new(),
            deliveries: Vec::new(),
            answers: Vec::new(),
            touched: Vec::new(),
            late: Vec::new(),
            store: Store::default(),
            work: 0,
            woken: Vec::new(),
            faults: VecDeque::new(),
            full: false,
        }
    }
}

/// Appends the deliveries of a frame to the guests that it goes to.
pub(super) fn address(
    switch: &Switch,
    route: Route,
    from: End,
    frame: BufferedFrame,
    deliveries: &mut Vec<Delivery>,
) {
    if let Route::One(End::Port(to)) = route {
        deliveries.push(Delivery { to, frame, may_wait: true });
    }
    for to in switch.targets(route) {
        if End::Port(*to) != from {
            deliveries.push(Delivery { to: *to, frame, may_wait: false });
        }
    }
}
