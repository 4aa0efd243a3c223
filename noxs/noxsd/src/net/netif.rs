//! The two rings of a network interface (`xen/include/public/io/netif.h`).

use crate::host::GrantRef;
use crate::host::ring::Protocol;

/// Entries of each ring: the largest power of two that fits in a page behind the header.
pub(crate) const SLOTS: u32 = 256;

/// `NETIF_RSP_OKAY`.
pub const RSP_OKAY: i16 = 0;

/// `NETIF_RSP_ERROR`.
pub const RSP_ERROR: i16 = -1;

/// `NETTXF_csum_blank`, `NETTXF_more_data` and `NETTXF_extra_info`: the checksum is missing, the
/// frame goes on in the next request, a request of another kind follows. noxsd offers none of them.
pub const REFUSED_FLAGS: u16 = 1 | 4 | 8;

/// The ring a guest sends frames on (`struct netif_tx_request`, `netif_tx_response`).
#[derive(Debug)]
pub enum Tx {}

/// A frame that the guest wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxRequest {
    /// Grant reference of the page with the frame.
    pub gref: GrantRef,
    /// Where the frame begins in the page.
    pub offset: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// Comes back in the response.
    pub id: u16,
    /// Bytes of the frame.
    pub size: u16,
}

/// What became of a [`TxRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxResponse {
    /// From the request.
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}

impl Protocol for Tx {
    const NAME: &'static str = "transmit";
    const SLOTS: u32 = SLOTS;
    const ENTRY_WORDS: usize = 3;
    type RequestWords = [u32; 3];
    type ResponseWords = [u32; 1];
    type Request = TxRequest;
    type Response = TxResponse;

    fn request([gref, second, third]: [u32; 3]) -> TxRequest {
        let (offset, flags) = halves(second);
        let (id, size) = halves(third);
        TxRequest { gref: GrantRef(gref), offset, flags, id, size }
    }

    fn response(response: &TxResponse) -> [u32; 1] {
        [word(response.id, response.status.cast_unsigned())]
    }
}

/// The ring a guest receives frames on (`struct netif_rx_request`, `netif_rx_response`).
#[derive(Debug)]
pub enum Rx {}

/// A page that the guest wants a frame in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxRequest {
    /// Comes back in the response.
    pub id: u16,
    /// Grant reference of the page.
    pub gref: GrantRef,
}

/// A frame that was put into the page of an [`RxRequest`], at its beginning and without flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxResponse {
    /// From the request.
    pub id: u16,
    /// Bytes of the frame, or `NETIF_RSP_*`.
    pub status: i16,
}

impl Protocol for Rx {
    const NAME: &'static str = "receive";
    const SLOTS: u32 = SLOTS;
    const ENTRY_WORDS: usize = 2;
    type RequestWords = [u32; 2];
    type ResponseWords = [u32; 2];
    type Request = RxRequest;
    type Response = RxResponse;

    fn request([first, gref]: [u32; 2]) -> RxRequest {
        RxRequest { id: halves(first).0, gref: GrantRef(gref) }
    }

    fn response(response: &RxResponse) -> [u32; 2] {
        [word(response.id, 0), word(0, response.status.cast_unsigned())]
    }
}

/// Returns the low and the high half of a word.
fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

fn word(low: u16, high: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

#[cfg(test)]
pub(crate) mod frontend {
    //! The guest's end of a ring, for tests.

    use super::word;
    use crate::host::fake::FakeMemory;
    use crate::host::memory::SharedMemory;
    use crate::host::ring::header;

    /// Writes a transmit request into the next slot and moves the index.
    pub(crate) fn send(page: &FakeMemory, gref: u32, offset: u16, flags: u16, id: u16, size: u16) {
        let prod = page.load(header::REQ_PROD);
        let at = header::ENTRIES + (prod as usize % 256) * 12;
        page.store(at, gref);
        page.store(at + 4, word(offset, flags));
        page.store(at + 8, word(id, size));
        page.store(header::REQ_PROD, prod.wrapping_add(1));
    }

    /// Posts a receive request.
    pub(crate) fn post(page: &FakeMemory, id: u16, gref: u32) {
        let prod = page.load(header::REQ_PROD);
        let at = header::ENTRIES + (prod as usize % 256) * 8;
        page.store(at, word(id, 0));
        page.store(at + 4, gref);
        page.store(header::REQ_PROD, prod.wrapping_add(1));
    }

    /// Sets the request index to anything.
    pub(crate) fn set_producer(page: &FakeMemory, index: u32) {
        page.store(header::REQ_PROD, index);
    }

    /// Returns how many requests were sent or posted so far.
    pub(crate) fn producer(page: &FakeMemory) -> u32 {
        page.load(header::REQ_PROD)
    }

    /// Returns whether the backend asked for an event with one of the requests since `old`.
    pub(crate) fn wants_event(page: &FakeMemory, old: u32) -> bool {
        let new = producer(page);
        new.wrapping_sub(page.load(header::REQ_EVENT)) < new.wrapping_sub(old)
    }

    /// Returns how many responses were pushed so far.
    pub(crate) fn responses(page: &FakeMemory) -> u32 {
        page.load(header::RSP_PROD)
    }

    /// Returns identifier and status of a transmit response.
    pub(crate) fn tx_response(page: &FakeMemory, index: u32) -> (u16, i16) {
        let (id, status) = super::halves(page.load(header::ENTRIES + (index as usize % 256) * 12));
        (id, status.cast_signed())
    }

    /// Returns identifier and status of a receive response.
    pub(crate) fn rx_response(page: &FakeMemory, index: u32) -> (u16, i16) {
        let at = header::ENTRIES + (index as usize % 256) * 8;
        let (id, _) = super::halves(page.load(at));
        let (_, status) = super::halves(page.load(at + 4));
        (id, status.cast_signed())
    }
}

#[cfg(test)]
#[path = "netif_tests.rs"]
mod tests;
