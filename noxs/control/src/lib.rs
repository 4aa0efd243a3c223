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
pub mod record;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use bincode::{Decode, Encode};
use daemon::encoding::{self, DecodeError};
use noxs::{Discard, Geometry, MacAddr, VifFeatures};

pub use self::address::{
    AddressInUse, AddressOwner, VifAddress, can_be_given_ipv6, is_unicast_ipv6,
};

/// Version of the messages: the first byte of each packet. The records have
/// [their own version](record::RECORD_VERSION).
pub const PROTOCOL: u8 = 7 + cfg!(feature = "newer-protocol") as u8;

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
}

/// A device that can be added to a running domain, and its number among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DeviceNumber {
    /// A network interface.
    Vif(u16),
    /// A disk.
    Vbd(u16),
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

/// Identifies a domain even if Xen reuses its domid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct DomainId {
    /// Xen's number of the domain.
    pub domid: u16,
    /// The domain's handle (UUID).
    pub handle: [u8; 16],
}

/// The devices of a domain, as their back end needs to know them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attach {
    /// The domain.
    pub id: DomainId,
    /// The console, if the domain has one.
    pub console: Option<ConsoleDevice>,
    /// The network interfaces.
    pub vifs: Vec<VifDevice>,
    /// The disks.
    pub vbds: Vec<VbdDevice>,
}

impl Attach {
    /// Removes a device. Returns its place among those of its kind, if it was there.
    pub fn remove(&mut self, device: DeviceNumber) -> Option<usize> {
        match device {
            DeviceNumber::Vif(number) => {
                let place = self.vifs.iter().position(|vif| vif.index == number)?;
                self.vifs.remove(place);
                Some(place)
            }
            DeviceNumber::Vbd(number) => {
                let place = self.vbds.iter().position(|vbd| vbd.index == number)?;
                self.vbds.remove(place);
                Some(place)
            }
        }
    }

    /// Returns whether no device is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.console.is_none() && self.vifs.is_empty() && self.vbds.is_empty()
    }

    /// Sets what is behind the disks, in their order.
    pub fn set_images(&mut self, images: &[DiskImage]) {
        for (vbd, image) in self.vbds.iter_mut().zip(images) {
            vbd.image = Some(image.clone());
        }
    }
}

/// A console to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConsoleDevice {
    /// The guest's end of the event channel.
    pub port: u32,
    /// Grant reference of the ring page.
    pub ring: u32,
}

/// A network interface to attach.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VifDevice {
    /// Number of the interface in its domain.
    pub index: u16,
    /// The guest's end of the event channel.
    pub port: u32,
    /// Grant reference of the ring that the guest sends on.
    pub tx_ring: u32,
    /// Grant reference of the ring that the guest receives on.
    pub rx_ring: u32,
    /// Name of the bridge whose switch the interface is on.
    pub bridge: String,
    /// Addresses and limits, if they are known: set for all vifs of a domain or for none. Without
    /// them the rings are mapped and the port is bound, but the interface is on no switch and no
    /// frame moves until [`Request::Configure`] sets them.
    pub identity: Option<VifIdentity>,
}

/// The addresses and limits of a network interface, which the guest's owner chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VifIdentity {
    /// The only source MAC address the guest may use.
    pub mac: MacAddr,
    /// The only source IPv4 address the guest may use, if it was given an address of any family.
    pub ipv4: Option<Ipv4Addr>,
    /// The only source IPv6 address that the guest may use beside the link-local one that is derived
    /// from its MAC address, if it was given an address of any family.
    pub ipv6: Option<Ipv6Addr>,
    /// Size of the largest IP packet, in bytes.
    pub mtu: u16,
    /// How much the guest may send; `None` if that is not limited.
    pub rate: Option<Rate>,
}

/// A disk to attach.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VbdDevice {
    /// Number of the disk in its domain.
    pub index: u16,
    /// The guest's end of the event channel.
    pub port: u32,
    /// Grant reference of the ring page.
    pub ring: u32,
    /// What is behind the disk, if it is known: set for all disks of a domain or for none. Without it
    /// the ring is mapped and the port is bound, but no request is taken until
    /// [`Request::Configure`] sets it.
    pub image: Option<DiskImage>,
}

/// The file or block device behind a disk. It comes as a file descriptor, open for reading, and for
/// writing unless the disk is read-only. noxsd locks it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DiskImage {
    /// Its path, by which a restarted noxsd opens it again, and which messages name.
    pub path: String,
    /// What it is: a restarted noxsd refuses another file at the path.
    pub identity: DiskIdentity,
    /// Its size, as in the device page.
    pub geometry: Geometry,
    /// What the guest may discard, as in the device page.
    pub discard: Option<Discard>,
}

/// Recognizes a file or block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum DiskIdentity {
    /// A regular file.
    File {
        /// Number of its file system (`st_dev`).
        device: u64,
        /// Its number there (`st_ino`).
        inode: u64,
    },
    /// A block device.
    BlockDevice {
        /// Its number (`st_rdev`).
        number: u64,
    },
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vif(number) => write!(f, "vif{number}"),
            Self::Vbd(number) => write!(f, "vbd{number}"),
        }
    }
}

impl From<disk::Identity> for DiskIdentity {
    fn from(identity: disk::Identity) -> Self {
        match identity {
            disk::Identity::File { device, inode } => Self::File { device, inode },
            disk::Identity::BlockDevice { number } => Self::BlockDevice { number },
        }
    }
}

/// A limit on what a guest sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rate {
    /// Bytes that may be sent in each interval.
    pub bytes: u64,
    /// Length of the interval in microseconds.
    pub interval_us: u64,
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
}

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

/// The state of a domain's devices.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DomainStatus {
    /// The domain.
    pub id: DomainId,
    /// The state of each device.
    pub devices: Vec<DeviceStatus>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
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
        packet[0] = 9;
        assert_eq!(
            decode::<Request>(&packet),
            Err(DecodeError::Version { found: 9, known: PROTOCOL })
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

    proptest! {
        #[test]
        fn no_packet_causes_a_panic(packet in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Request>(&packet);
            let _ = decode::<Reply>(&packet);
            let _ = decode::<Attach>(&packet);
        }
    }
}
