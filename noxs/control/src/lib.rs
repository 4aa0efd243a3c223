// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages between a toolstack and noxsd, and the device records that outlive both.
//!
//! Messages travel over a `SOCK_SEQPACKET` Unix socket at [`SOCKET`], one message per packet. The
//! first byte of a packet is [`PROTOCOL`], the rest is the bincode encoding of a [`Request`] or a
//! [`Reply`]. Each request gets one reply, in order. noxsd disconnects a client that sends a
//! malformed packet.
//!
//! A restarted noxsd learns the devices of running guests from the domains' [records](record),
//! which have a version of their own: a new [`PROTOCOL`] does not change them.

mod address;
mod devices;
pub mod record;
mod status;

use std::ops::RangeInclusive;

use bincode::{Decode, Encode};
use daemon::encoding::{self, DecodeError};
use noxs::VifFeatures;

pub use self::address::{
    AddressInUse, AddressOwner, VifAddress, can_be_given_ipv6, is_unicast_ipv6,
};

pub use self::devices::{
    Attach, ConsoleDevice, DeviceNumber, DiskIdentity, DiskImage, DomainId, Rate, VbdDevice,
    VifDevice, VifIdentity,
};
pub use self::status::{
    ConsoleStatus, Counted, Counters, DeviceCounters, DeviceStatus, DomainStatus, VbdStatus,
    VifStatus,
};

/// Version of the messages: the first byte of each packet. The records have
/// [their own version](record::RECORD_VERSION).
pub const PROTOCOL: u8 = 9 + cfg!(feature = "newer-protocol") as u8;

/// Valid MTUs of a vif, in bytes: from what each IPv4 interface must carry (RFC 791) to that of jumbo
/// frames.
pub const MTU: RangeInclusive<u16> = 68..=9000;

/// Smallest MTU of a vif with an IPv6 address, in bytes (RFC 8200).
pub const MIN_MTU_IPV6: u16 = 1280;

/// Largest packet that either side sends, in bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// Most files that come with one request: a bridge's tap, or one for each device, which is a
/// console's log or the file behind a disk.
pub const MAX_FILES: usize = noxs::MAX_DEVICES;

/// Most segments of an indirect request to a disk that noxsd serves. The device page has the number
/// for the guest.
pub const INDIRECT_SEGMENTS: u16 = 64;

/// What a guest may send to a noxsd that knows this [`PROTOCOL`]: the features of its vifs in the
/// device page.
pub const VIF_FEATURES: VifFeatures = VifFeatures::ALL;

/// Path of noxsd's socket.
pub const SOCKET: &str = "/run/chaos/noxsd.sock";

/// Folder of all domains' records: each domain has a folder in it, named by its domid.
pub const RECORDS: &str = "/run/chaos/domains";

/// Name of the file in a domain's folder that holds its [`record`].
pub const RECORD_FILE: &str = "devices";

/// Name of the file in a domain's folder that holds the toolstack's own record of the guest. A
/// toolstack that sends identities with [`Request::Attach`] writes it once noxsd has accepted them.
pub const GUEST_RECORD_FILE: &str = "record";

/// A [`GUEST_RECORD_FILE`] of at most this many bytes does not contain a record yet. The kernel
/// extends a file only after it has copied the bytes, so this holds even while a record is written
/// over the placeholder.
pub const MAX_UNWRITTEN: usize = 1;

/// Name of the file in a domain's folder that holds its console's output.
pub const CONSOLE_LOG: &str = "console.log";

/// A toolstack's request to noxsd.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Maps the rings and binds the ports of a domain that does not run yet. If the domain has a
    /// console, its log comes with the message as a file descriptor, open for reading and
    /// appending. The files behind its disks follow, in their order, if the request says what they
    /// are ([`VbdDevice::image`]). A domain that is attached under the same domid with another handle is detached
    /// first, because Xen has reused the domid.
    Attach(Attach),
    /// Sets the identities of an attached domain's vifs and what is behind its disks, once, and
    /// starts to serve them. A toolstack that knows both when it attaches the domain sets them in
    /// [`VifDevice::identity`] and [`VbdDevice::image`] instead; this request is for domains that
    /// were prepared. The guest may run already: noxsd then serves what the guest has put into its
    /// rings so far.
    Configure {
        /// The domain.
        id: DomainId,
        /// One for each vif of the domain, in the order of [`Attach::vifs`].
        vifs: Vec<VifIdentity>,
        /// One for each disk, in the order of [`Attach::vbds`]. Their files come with the message.
        disks: Vec<DiskImage>,
    },
    /// Unmaps the rings and releases the ports of a domain. The reply comes when that is done.
    Detach(DomainId),
    /// Adds a switch for a bridge. The tap that connects it to the bridge comes as a file
    /// descriptor.
    AddSwitch {
        /// Name of the bridge, as in a vif's `bridge=`.
        bridge: String,
    },
    /// Turns this connection into one to the domain's console: after [`Reply::Console`], packets
    /// from noxsd hold output and packets to noxsd hold input, without further framing.
    Console {
        /// The domain.
        id: DomainId,
        /// What the connection is used for.
        usage: ConsoleUse,
    },
    /// Asks for the states of the domains that have lost a device, as many as fit in a packet.
    Status,
    /// Asks for the vifs that have dropped frames, in the order of their domids, as many as fit in
    /// a reply.
    Dropped {
        /// Domid to start from: 0, or `next` of the last [`Reply::Dropped`].
        from: u16,
    },
    /// Turns this connection into a watch for domains that shut down: after [`Reply::Done`], noxsd
    /// sends a packet of one byte for each `VIRQ_DOM_EXC`. Only one process can bind that
    /// interrupt, and Xen does not report which domain raised it.
    Watch,
    /// Adds vifs and disks to a domain that may be running, with their identities and images, and
    /// serves them at once. The files behind the disks come with the message. A device of the same
    /// kind and number that the domain has already is detached first: the toolstack was killed while
    /// it added that one. A domain that is not attached is attached with these devices alone.
    AttachDevices(Attach),
    /// Unmaps the rings of a device of a domain and forgets the device. Its port is released if no
    /// other device uses it.
    DetachDevice {
        /// The domain.
        id: DomainId,
        /// The device.
        device: DeviceNumber,
    },
    /// Asks how much has passed the vifs and disks of all domains, in the order of their domids, as
    /// many as fit in a reply.
    Counters {
        /// Domid to start from: 0, or `next` of the last [`Reply::Counters`].
        from: u16,
    },
    /// Turns this connection into a watch for devices: after [`Reply::Done`], noxsd sends a packet of
    /// one byte when a guest has lost a device. [`Request::Status`] then says which.
    WatchDevices,
}

/// What a connection to a console is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ConsoleUse {
    /// A terminal: the client types if it is the first one, or once those before it have left.
    /// First it gets what was printed since the last terminal has left, as far as the log has it.
    Terminal,
    /// Only output, and first all of the log.
    Log,
}

/// Whether a client of a console types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ConsoleRole {
    /// Its input goes to the guest.
    Writer,
    /// Its input is dropped. If it becomes the writer later, noxsd says so in its output.
    Reader,
}

/// noxsd's reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// The request is done.
    Done,
    /// The request was refused and has changed nothing.
    Refused(Refusal),
    /// The answer to [`Request::Console`].
    Console(ConsoleRole),
    /// The answer to [`Request::Status`].
    Status(Vec<DomainStatus>),
    /// The answer to [`Request::Dropped`].
    Dropped {
        /// Vifs that have dropped frames, at most [`MAX_DROPPED`].
        vifs: Vec<VifDrops>,
        /// Domid to ask from for the vifs that did not fit; `None` if these are the last.
        next: Option<u16>,
    },
    /// The answer to [`Request::Counters`].
    Counters {
        /// Vifs and disks: as many as [`COUNTERS_SIZE`] allows.
        counters: Counters,
        /// Domid to ask from for the domains that did not fit; `None` if these are the last.
        next: Option<u16>,
    },
}

/// Most bytes that the devices in one [`Reply::Counters`] take in memory, so that the reply fits in a
/// packet and passes the decoder's limit. That is about 1000 vifs.
pub const COUNTERS_SIZE: usize = 63 * 1024;

/// Most vifs in one [`Reply::Dropped`], so that the reply fits in a packet and passes the decoder's
/// limit.
pub const MAX_DROPPED: usize = 1024;

/// Frames that a vif has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VifDrops {
    /// The vif's domain.
    pub id: DomainId,
    /// Number of the interface in its domain.
    pub index: u16,
    /// Number of frames: see [`VifStatus::dropped_frames`].
    pub frames: u64,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    /// There is no switch for this bridge; the toolstack can add one.
    #[error("noxsd has no switch for bridge {0}")]
    NoSwitch(String),
    /// The domain is not attached, or it does not have such a device.
    #[error("noxsd does not serve this domain, or the domain has no such device")]
    NoDevice,
    /// The console has as many clients as it may have.
    #[error("too many clients are connected to the console; close one")]
    ConsoleBusy,
    /// Another vif on this switch, or dom0, has an address of a vif.
    #[error("{0}")]
    AddressInUse(AddressInUse),
    /// The file behind a disk is locked: another guest or program uses it.
    #[error("{0}")]
    DiskInUse(DiskInUse),
    /// A system call or hypercall failed.
    #[error("noxsd cannot {what}: {errno}")]
    System {
        /// What was tried.
        what: String,
        /// The system's answer.
        errno: String,
    },
    /// The request contradicts itself or what is attached, a value is out of range, or a file
    /// descriptor is missing or of the wrong kind.
    #[error("noxsd refused the request: {0}")]
    Invalid(String),
}

/// The file behind a disk is in use.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("disk {path} is in use by {}", user(*.domid))]
pub struct DiskInUse {
    /// Its path, as in the request.
    pub path: String,
    /// The domain that has it; `None` if it is not a domain that noxsd serves.
    pub domid: Option<u16>,
}

fn user(domid: Option<u16>) -> String {
    domid.map_or_else(|| "another program".to_owned(), |domid| format!("domain {domid}"))
}

/// Encodes a message as a packet. Returns `None` if it is longer than [`MAX_PACKET`].
#[must_use]
pub fn encode<T: Encode>(message: &T) -> Option<Vec<u8>> {
    encoding::encode::<MAX_PACKET>(PROTOCOL, message)
}

/// Decodes a packet as a message. The packet must contain nothing else.
///
/// # Errors
/// The packet has another protocol version, or its bytes are not a message of this type.
pub fn decode<T: Decode<()>>(packet: &[u8]) -> Result<T, DecodeError> {
    encoding::decode::<T, MAX_PACKET>(PROTOCOL, packet)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use noxs::{Discard, Geometry, MacAddr};
    use proptest::prelude::*;

    use super::*;

    fn attach() -> Attach {
        Attach {
            id: DomainId { domid: 3, handle: [7; 16] },
            console: Some(ConsoleDevice { port: 1, ring: 8 }),
            vifs: vec![VifDevice {
                index: 0,
                port: 2,
                tx_ring: 9,
                rx_ring: 10,
                bridge: "xenbr0".into(),
                identity: Some(identity()),
            }],
            vbds: vec![VbdDevice { index: 0, port: 2, ring: 11, image: Some(image()) }],
        }
    }

    fn image() -> DiskImage {
        DiskImage {
            path: "/srv/a.img".into(),
            identity: DiskIdentity::File { device: 2049, inode: 17 },
            geometry: Geometry {
                sectors: 2048,
                sector_size: 512,
                physical_sector_size: 4096,
                read_only: false,
            },
            discard: Some(Discard { granularity: 4096, alignment: 0, secure: false }),
        }
    }

    fn identity() -> VifIdentity {
        VifIdentity {
            mac: MacAddr([0, 0x16, 0x3e, 0, 0, 1]),
            ipv4: Some(Ipv4Addr::new(10, 0, 0, 2)),
            ipv6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
            mtu: 1500,
            rate: Some(Rate { bytes: 1000, interval_us: 50_000 }),
        }
    }

    #[test]
    fn an_encoded_message_is_decoded_as_it_was() {
        let mut prepared = attach();
        prepared.vifs[0].identity = None;
        prepared.vbds[0].image = None;
        for request in [
            Request::Attach(attach()),
            Request::Attach(prepared),
            Request::Configure { id: attach().id, vifs: vec![identity()], disks: vec![image()] },
            Request::AttachDevices(Attach { console: None, ..attach() }),
            Request::DetachDevice { id: attach().id, device: DeviceNumber::Vbd(3) },
        ] {
            assert_eq!(decode(&encode(&request).unwrap()), Ok(request));
        }
    }

    #[test]
    fn other_versions_cut_and_longer_packets_are_refused() {
        let mut packet = encode(&Request::Attach(attach())).unwrap();
        assert_eq!(decode::<Request>(&[]), Err(DecodeError::Malformed));
        assert_eq!(decode::<Request>(&packet[..packet.len() - 1]), Err(DecodeError::Malformed));
        packet.push(0);
        assert_eq!(decode::<Request>(&packet), Err(DecodeError::Malformed));
        packet[0] = PROTOCOL + 1;
        assert_eq!(
            decode::<Request>(&packet),
            Err(DecodeError::Version { found: PROTOCOL + 1, known: PROTOCOL })
        );
    }

    #[test]
    fn a_message_that_does_not_fit_in_a_packet_is_not_encoded() {
        assert_eq!(encode(&Request::AddSwitch { bridge: "x".repeat(MAX_PACKET) }), None);
    }

    #[test]
    fn the_largest_list_of_drops_fits_in_a_packet() {
        let id = DomainId { domid: 0x7fef, handle: [0xff; 16] };
        let vifs = vec![VifDrops { id, index: u16::MAX, frames: u64::MAX }; MAX_DROPPED];
        let reply = Reply::Dropped { vifs, next: Some(u16::MAX) };
        let packet = encode(&reply).unwrap();
        assert!(packet.len() <= MAX_PACKET, "{}", packet.len());
        assert_eq!(decode(&packet), Ok(reply));
    }

    #[test]
    fn the_largest_counters_fit_in_a_packet() {
        let all = u64::MAX;
        let vbd = VbdStatus {
            read_bytes: all,
            read_requests: all,
            written_bytes: all,
            write_requests: all,
            flush_requests: all,
            discard_requests: all,
            failed_requests: all,
        };
        let vif = VifStatus {
            from_guest_bytes: all,
            from_guest_frames: all,
            to_guest_bytes: all,
            to_guest_frames: all,
            dropped_frames: all,
        };
        fn most<T: Copy>(counters: T) -> Vec<Counted<T>> {
            let id = DomainId { domid: 0x7fef, handle: [0xff; 16] };
            let device = Counted { id, index: u16::MAX, counters };
            vec![device; COUNTERS_SIZE / size_of::<Counted<T>>()]
        }
        for counters in [
            Counters { vifs: most(vif), vbds: Vec::new() },
            Counters { vifs: Vec::new(), vbds: most(vbd) },
        ] {
            assert!(counters.size() <= COUNTERS_SIZE);
            let reply = Reply::Counters { counters, next: Some(u16::MAX) };
            let packet = encode(&reply).unwrap();
            assert!(packet.len() <= MAX_PACKET, "{}", packet.len());
            assert_eq!(decode(&packet), Ok(reply));
        }
    }

    proptest! {
        #[test]
        fn no_packet_causes_a_panic(packet in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Request>(&packet);
            let _ = decode::<Reply>(&packet);
            let _ = decode::<Attach>(&packet);
        }
    }
}
