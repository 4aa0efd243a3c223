//! The messages between a toolstack and `noxsd`, and the records of devices that outlive both.
//!
//! Messages travel over a `SOCK_SEQPACKET` Unix socket at [`SOCKET`], one message a packet. The
//! first byte of a packet is [`PROTOCOL`], the rest is the bincode encoding of a [`Request`] or a
//! [`Reply`]. Each request gets one reply, in order. A malformed packet costs its sender the
//! connection.
//!
//! What a restarted `noxsd` needs to serve a running guest again is in the domain's [`record`],
//! which has a version of its own: a new [`PROTOCOL`] does not touch it.

pub mod record;

use std::net::Ipv4Addr;

use bincode::{Decode, Encode};
use daemon::encoding::DecodeError;
use noxs::MacAddr;

pub use daemon::encoding;

/// First byte of each packet; changes when the messages do. The records have
/// [their own](record::RECORD_VERSION).
pub const PROTOCOL: u8 = 3 + cfg!(feature = "newer-protocol") as u8;

/// Largest packet either side sends, in bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// Most files that one request brings: the console's log, or a bridge's tap. A device kind whose
/// guest hands over files of its own raises it.
pub const MAX_FILES: usize = 1;

/// Where `noxsd` listens.
pub const SOCKET: &str = "/run/chaos/noxsd.sock";

/// Folder of the domains' records; each has a folder named by its domid.
pub const RECORDS: &str = "/run/chaos/domains";

/// Name of the file in a domain's folder that holds its [`record`].
pub const RECORD_FILE: &str = "devices";

/// Name of the file in a domain's folder that holds what its console printed.
pub const CONSOLE_LOG: &str = "console.log";

/// What a toolstack asks of `noxsd`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Map the rings and bind the ports of a domain that does not run yet. If the domain has a
    /// console, its log file comes with the message as a file descriptor, opened for reading and
    /// appending. A domain that is attached under the same domid with another handle is detached
    /// first: Xen has reused the number.
    Attach(Attach),
    /// Tell who the vifs of an attached domain are, and start to serve them. A toolstack that knows
    /// it when it attaches says so in [`VifDevice::identity`]; one that prepares domains ahead of
    /// the request for them says it here, once. The guest may run already: what it has put into its
    /// rings meanwhile is served now.
    Configure {
        /// Whose vifs.
        id: DomainId,
        /// One for each vif of the domain, in the order of [`Attach::vifs`].
        vifs: Vec<VifIdentity>,
    },
    /// Let go of everything of a domain. Answered when it is done.
    Detach(DomainId),
    /// Add a switch for a bridge. The tap that leads to dom0 comes as a file descriptor.
    AddSwitch {
        /// Name of the bridge, as in the vif's `bridge=`.
        bridge: String,
    },
    /// Turn this connection into the domain's console: after [`Reply::Done`], packets from
    /// `noxsd` are output and packets to it are input, without further framing.
    Console(DomainId),
    /// Tell how the devices of a domain are; without one, how those of each domain are that has a
    /// broken device, as many as fit in a packet.
    Status(Option<DomainId>),
    /// Tell which vifs have dropped frames and how many, in the order of the domids and from this
    /// one on, as many as one reply holds.
    Dropped {
        /// The first domid: 0, or what [`Reply::Dropped`] said comes next.
        from: u16,
    },
    /// Turn this connection into a watch for domains that end: after [`Reply::Done`], a packet of
    /// one byte follows each `VIRQ_DOM_EXC`. Xen has one binder for that interrupt and does not
    /// say which domain it is about.
    Watch,
}

/// A domain, safe against reuse of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct DomainId {
    /// Xen's number for it.
    pub domid: u16,
    /// Its handle (UUID).
    pub handle: [u8; 16],
}

/// The devices of a domain, from the backend's point of view.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attach {
    /// Whose they are.
    pub id: DomainId,
    /// The console, if it has one.
    pub console: Option<ConsoleDevice>,
    /// The network interfaces.
    pub vifs: Vec<VifDevice>,
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
    /// Grant reference of the ring the guest sends on.
    pub tx_ring: u32,
    /// Grant reference of the ring the guest receives on.
    pub rx_ring: u32,
    /// Which switch the interface is on.
    pub bridge: String,
    /// Who it is, if that is known: for all vifs of a domain or for none. Without it the rings are
    /// mapped and the port is bound, but the switch does not know the interface and no frame moves
    /// until [`Request::Configure`] tells.
    pub identity: Option<VifIdentity>,
}

/// What a network interface is to its network, as far as the guest's owner decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VifIdentity {
    /// The only source MAC address the guest may use.
    pub mac: MacAddr,
    /// The only source IPv4 address the guest may use, if it was given one.
    pub ipv4: Option<Ipv4Addr>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// How much the guest may send, if that is limited.
    pub rate: Option<Rate>,
}

/// A limit on what a guest sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rate {
    /// Bytes that may be sent in each interval.
    pub bytes: u64,
    /// Length of the interval in microseconds.
    pub interval_us: u64,
}

/// What `noxsd` answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// It is done.
    Done,
    /// It was not done, and nothing of it is left behind.
    Refused(Refusal),
    /// The answer to [`Request::Status`].
    Status(Vec<DomainStatus>),
    /// The answer to [`Request::Dropped`].
    Dropped {
        /// Vifs that have dropped frames, at most [`MAX_DROPPED`].
        vifs: Vec<VifDrops>,
        /// The domid to ask from for those that did not fit; none if these are the last.
        next: Option<u16>,
    },
}

/// Most vifs in one [`Reply::Dropped`]: with them, the reply fits in a packet and passes the
/// decoder's limit.
pub const MAX_DROPPED: usize = 1024;

/// What a vif has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VifDrops {
    /// Whose it is.
    pub id: DomainId,
    /// Number of the interface in its domain.
    pub index: u16,
    /// How many frames: see [`VifStatus::dropped_frames`].
    pub frames: u64,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    /// No switch has this name; the toolstack may add it.
    #[error("noxsd has no switch for bridge {0}")]
    NoSwitch(String),
    /// No such domain is attached, or it has no such device.
    #[error("noxsd serves no such device of this domain")]
    NoDevice,
    /// The console is in use by another client.
    #[error("the console is in use by another client")]
    ConsoleBusy,
    /// The MAC address is in use on this switch.
    #[error("MAC address {0} is in use on this switch")]
    MacInUse(MacAddr),
    /// A device cannot be connected: a system call or hypercall failed.
    #[error("noxsd cannot {what}: {errno}")]
    System {
        /// What was tried.
        what: String,
        /// The error number's meaning.
        errno: String,
    },
    /// The request contradicts itself, or a file descriptor is missing or of the wrong kind.
    #[error("noxsd refuses the request: {0}")]
    Invalid(String),
}

/// The state of a domain's devices.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DomainStatus {
    /// Which domain.
    pub id: DomainId,
    /// One for each device.
    pub devices: Vec<DeviceStatus>,
}

/// The state of a device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceStatus {
    /// `console`, `vif0`, ...
    pub name: String,
    /// What the guest did that cost it the device, if it has lost it.
    pub broken: Option<String>,
    /// What has passed, by kind of device.
    pub counters: DeviceCounters,
}

/// What has passed a device since it was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DeviceCounters {
    /// A console.
    Console(ConsoleStatus),
    /// A network interface.
    Vif(VifStatus),
}

/// What has passed a console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ConsoleStatus {
    /// Bytes that the guest printed.
    pub from_guest_bytes: u64,
    /// Bytes that were typed.
    pub to_guest_bytes: u64,
}

/// What has passed a network interface.
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
    /// Frames that were dropped: from a wrong source, too many for all, malformed, or without a
    /// page of the guest's to put them in.
    pub dropped_frames: u64,
}

/// Encodes a message as a packet.
///
/// # Panics
/// Never for the messages of this module: encoding into memory does not fail.
pub fn encode<T: Encode>(message: &T) -> Vec<u8> {
    encoding::encode::<MAX_PACKET>(PROTOCOL, message).unwrap_or_default()
}

/// Decodes a packet as a message; the packet must contain nothing else.
///
/// # Errors
/// Another protocol version, or bytes that are no such message.
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
        }
    }

    fn identity() -> VifIdentity {
        VifIdentity {
            mac: MacAddr([0, 0x16, 0x3e, 0, 0, 1]),
            ipv4: Some(Ipv4Addr::new(10, 0, 0, 2)),
            mtu: 1500,
            rate: Some(Rate { bytes: 1000, interval_us: 50_000 }),
        }
    }

    #[test]
    fn a_message_survives_the_wire() {
        let mut prepared = attach();
        prepared.vifs[0].identity = None;
        for request in [
            Request::Attach(attach()),
            Request::Attach(prepared),
            Request::Configure { id: attach().id, vifs: vec![identity()] },
        ] {
            assert_eq!(decode(&encode(&request)), Ok(request));
        }
    }

    #[test]
    fn another_version_a_cut_and_an_extra_byte_are_refused() {
        let mut packet = encode(&Request::Attach(attach()));
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
    fn the_largest_list_of_drops_fits_in_a_packet() {
        let id = DomainId { domid: 0x7fef, handle: [0xff; 16] };
        let vifs = vec![VifDrops { id, index: u16::MAX, frames: u64::MAX }; MAX_DROPPED];
        let reply = Reply::Dropped { vifs, next: Some(u16::MAX) };
        let packet = encode(&reply);
        assert!(packet.len() <= MAX_PACKET, "{}", packet.len());
        assert_eq!(decode(&packet), Ok(reply));
    }

    proptest! {
        #[test]
        fn arbitrary_packets_never_panic(packet in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Request>(&packet);
            let _ = decode::<Reply>(&packet);
            let _ = decode::<Attach>(&packet);
        }
    }
}
