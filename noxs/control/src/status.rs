// SPDX-License-Identifier: MIT OR Apache-2.0
//! What noxsd reports of a domain's devices.

use bincode::de::read::Reader;
use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::DomainId;

/// The state of a domain's devices.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DomainStatus {
    /// The domain.
    pub id: DomainId,
    /// The state of each device.
    pub devices: Vec<DeviceStatus>,
}

/// How much has passed vifs and disks. Two flat lists, because a list in each domain would be allocated
/// and freed a thousand times for a thousand guests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counters {
    /// The vifs, in the order of their domids.
    pub vifs: Vec<Counted<VifStatus>>,
    /// The disks, in the order of their domids.
    pub vbds: Vec<Counted<VbdStatus>>,
}

impl Counters {
    /// Returns how many bytes the devices take in memory.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.vifs.len() * size_of::<Counted<VifStatus>>()
            + self.vbds.len() * size_of::<Counted<VbdStatus>>()
    }
}

/// A vif or disk, and how much has passed it. All of its numbers are encoded in their full width: among a
/// thousand guests that is read and written several times as fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<T> {
    /// The domain.
    pub id: DomainId,
    /// Its number among the domain's devices of its kind.
    pub index: u16,
    /// How much has passed it.
    pub counters: T,
}

/// The state of a device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceStatus {
    /// `console`, `vif0`, `vbd0`, ...
    pub name: String,
    /// What cost the guest the device; `None` if the device works.
    pub broken: Option<String>,
    /// How much has passed the device.
    pub counters: DeviceCounters,
}

/// How much has passed a device since it was attached, by kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DeviceCounters {
    /// A console.
    Console(ConsoleStatus),
    /// A network interface.
    Vif(VifStatus),
    /// A disk.
    Vbd(VbdStatus),
}

/// How much has passed a console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ConsoleStatus {
    /// Bytes that the guest printed.
    pub from_guest_bytes: u64,
    /// Bytes of input that the guest was sent.
    pub to_guest_bytes: u64,
}

/// How much has passed a network interface.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct VifStatus {
    /// Bytes from the guest.
    pub from_guest_bytes: u64,
    /// Frames from the guest.
    pub from_guest_frames: u64,
    /// Bytes to the guest.
    pub to_guest_bytes: u64,
    /// Frames to the guest.
    pub to_guest_frames: u64,
    /// Frames that were dropped: malformed, from a wrong source, over a limit on broadcasts, or for
    /// a guest that had posted no page for them.
    pub dropped_frames: u64,
}

/// How much has passed a disk.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct VbdStatus {
    /// Bytes that the guest has read.
    pub read_bytes: u64,
    /// Requests that have read.
    pub read_requests: u64,
    /// Bytes that the guest has written.
    pub written_bytes: u64,
    /// Requests that have written, with barriers.
    pub write_requests: u64,
    /// Flushes.
    pub flush_requests: u64,
    /// Discards.
    pub discard_requests: u64,
    /// Requests that failed: malformed, outside of the disk, not supported, or with an error of the
    /// storage.
    pub failed_requests: u64,
}

/// How a [`Counted`] is encoded. Both ends run on one machine, so the order of bytes is the processor's.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
struct Wire<T> {
    domid: u16,
    handle: [u8; 16],
    index: u16,
    counters: T,
}

impl<T: Copy + IntoBytes + Immutable> Encode for Counted<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Self { id: DomainId { domid, handle }, index, counters } = *self;
        encoder.writer().write(Wire { domid, handle, index, counters }.as_bytes())
    }
}

impl<Context, T: FromBytes + IntoBytes> Decode<Context> for Counted<T> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        decoder.claim_bytes_read(size_of::<Wire<T>>())?;
        let mut wire = Wire::<T>::new_zeroed();
        decoder.reader().read(wire.as_mut_bytes())?;
        let Wire { domid, handle, index, counters } = wire;
        Ok(Self { id: DomainId { domid, handle }, index, counters })
    }
}

impl<'a, Context, T: FromBytes + IntoBytes> BorrowDecode<'a, Context> for Counted<T> {
    fn borrow_decode<D: BorrowDecoder<'a, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
