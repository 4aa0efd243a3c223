// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rings of bytes: the console's and XenStore's.
//!
//! Producer and consumer always send an event after they have moved their index, so these rings
//! have no index that requests an event.

use core::marker::PhantomData;

use xen_abi::io::{console, xs_wire};

use crate::page::SharedPage;

/// Where in its page a ring of bytes lies. All offsets are in bytes.
pub trait ByteStream {
    /// The stream's name in messages, as in "the ... index".
    const NAME: &'static str;
    /// Offset of the bytes.
    const DATA: usize;
    /// Number of bytes; a power of two.
    const SIZE: usize;
    /// Offset of the consumer's index.
    const CONS: usize;
    /// Offset of the producer's index.
    const PROD: usize;
}

macro_rules! stream {
    ($(#[$doc:meta])* $name:ident, $label:literal, $data:expr, $size:expr, $cons:expr, $prod:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl ByteStream for $name {
            const NAME: &'static str = $label;
            const DATA: usize = $data;
            const SIZE: usize = $size;
            const CONS: usize = $cons;
            const PROD: usize = $prod;
        }

        const _: () = assert!($size.is_power_of_two());
    };
}

stream!(
    /// What a guest prints.
    ConsoleOutput, "console's output",
    console::OUT, console::OUT_SIZE, console::OUT_CONS, console::OUT_PROD
);
stream!(
    /// What is typed at a guest's console.
    ConsoleInput, "console's input",
    console::IN, console::IN_SIZE, console::IN_CONS, console::IN_PROD
);
stream!(
    /// A guest's messages to XenStore.
    XenStoreRequests, "XenStore's request",
    xs_wire::REQ, xs_wire::XENSTORE_RING_SIZE, xs_wire::REQ_CONS, xs_wire::REQ_PROD
);
stream!(
    /// XenStore's messages to a guest.
    XenStoreResponses, "XenStore's response",
    xs_wire::RSP, xs_wire::XENSTORE_RING_SIZE, xs_wire::RSP_CONS, xs_wire::RSP_PROD
);

/// The other end wrote an index that no correct one can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {stream} index {found} is impossible: it is {distance} bytes from {own}")]
pub struct BrokenStream {
    /// Which stream ([`ByteStream::NAME`]).
    pub stream: &'static str,
    /// The other end's index.
    pub found: u32,
    /// This end's index.
    pub own: u32,
    /// From the consumer's to the producer's index.
    pub distance: u32,
}

/// Returns the number of bytes between the two indices. `found` is the other end's index, `own`
/// this end's, for the error.
fn used<S: ByteStream>(
    producer: u32,
    consumer: u32,
    (found, own): (u32, u32),
) -> Result<usize, BrokenStream> {
    let distance = producer.wrapping_sub(consumer);
    if distance as usize > S::SIZE {
        return Err(BrokenStream { stream: S::NAME, found, own, distance });
    }
    Ok(distance as usize)
}

/// Splits a run of bytes that begins at an index where the ring ends. Returns the offset of the
/// first part and its length; the second part begins at [`ByteStream::DATA`].
fn split<S: ByteStream>(index: u32, length: usize) -> (usize, usize) {
    let start = index as usize & (S::SIZE - 1);
    (S::DATA + start, length.min(S::SIZE - start))
}

/// Returns an index advanced by `bytes`, which is at most the ring's size.
#[expect(clippy::cast_possible_truncation, reason = "a ring is smaller than its page")]
const fn advanced(index: u32, bytes: usize) -> u32 {
    index.wrapping_add(bytes as u32)
}

/// The end of a stream that writes.
///
/// The memory is passed to each call and must be the same each time.
#[derive(Debug)]
pub struct Producer<S> {
    base: usize,
    prod: u32,
    stream: PhantomData<S>,
}

impl<S: ByteStream> Producer<S> {
    /// Continues the stream at its current index. `base` is the offset of its page in the memory.
    pub fn attach(memory: &impl SharedPage, base: usize) -> Self {
        Self { base, prod: memory.load(base + S::PROD), stream: PhantomData }
    }

    /// Returns how many bytes can be written now.
    ///
    /// # Errors
    /// The other end's index is impossible.
    pub fn room(&self, memory: &impl SharedPage) -> Result<usize, BrokenStream> {
        // Acquire: the other end has read the bytes before its index by the time they are
        // overwritten.
        let consumed = memory.load(self.base + S::CONS);
        used::<S>(self.prod, consumed, (consumed, self.prod)).map(|used| S::SIZE - used)
    }

    /// Writes as many bytes as there is room for and publishes them. Returns how many; unless it is
    /// 0, notify the other end.
    ///
    /// # Errors
    /// The other end's index is impossible; nothing is written.
    pub fn put(&mut self, memory: &impl SharedPage, bytes: &[u8]) -> Result<usize, BrokenStream> {
        let count = bytes.len().min(self.room(memory)?);
        if count > 0 {
            let (at, first) = split::<S>(self.prod, count);
            let (head, tail) = bytes[..count].split_at(first);
            memory.write(self.base + at, head);
            memory.write(self.base + S::DATA, tail);
            self.prod = advanced(self.prod, count);
            // Release: the other end sees the bytes when it sees the index.
            memory.store(self.base + S::PROD, self.prod);
        }
        Ok(count)
    }
}

/// The end of a stream that reads.
///
/// The memory is passed to each call and must be the same each time.
#[derive(Debug)]
pub struct Consumer<S> {
    base: usize,
    cons: u32,
    /// Bytes that [`available`](Self::available) has counted and that are not taken yet.
    counted: usize,
    stream: PhantomData<S>,
}

impl<S: ByteStream> Consumer<S> {
    /// Continues the stream at its current index. `base` is the offset of its page in the memory.
    pub fn attach(memory: &impl SharedPage, base: usize) -> Self {
        Self { base, cons: memory.load(base + S::CONS), counted: 0, stream: PhantomData }
    }

    /// Loads the other end's index and returns how many bytes can be taken, at most
    /// [`ByteStream::SIZE`].
    ///
    /// # Errors
    /// The other end's index is impossible.
    pub fn available(&mut self, memory: &impl SharedPage) -> Result<usize, BrokenStream> {
        // Acquire: the bytes are read after the index that covers them.
        let found = memory.load(self.base + S::PROD);
        self.counted = used::<S>(found, self.cons, (found, self.cons))?;
        Ok(self.counted)
    }

    /// Fills `bytes` from the stream and returns their room to the other end; notify it.
    ///
    /// # Panics
    /// [`available`](Self::available) has not counted so many bytes: a bug of the caller.
    pub fn take(&mut self, memory: &impl SharedPage, bytes: &mut [u8]) {
        let count = bytes.len();
        assert!(count <= self.counted, "{count} bytes of {} are taken", self.counted);
        let (at, first) = split::<S>(self.cons, count);
        let (head, tail) = bytes.split_at_mut(first);
        memory.read(self.base + at, head);
        memory.read(self.base + S::DATA, tail);
        self.cons = advanced(self.cons, count);
        self.counted -= count;
        // Release: the bytes are read before the other end sees that it may overwrite them.
        memory.store(self.base + S::CONS, self.cons);
    }
}
