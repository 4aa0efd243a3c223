// SPDX-License-Identifier: GPL-3.0-or-later
//! A noxsd for unit tests. It answers over a real socket and logs the requests.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, accept, bind, listen,
    recv, send, shutdown, socket,
};
use nix::unistd::close;
use noxs_control::{
    AddressInUse, AddressOwner, ConsoleRole, Counters, DomainId, DomainStatus, MAX_DROPPED,
    MAX_PACKET, Refusal, Reply, Request, VifAddress, VifDrops, VifIdentity,
};

use crate::hypervisor::fake::Log;

/// How the fake noxsd answers.
#[derive(Clone, Debug)]
pub(super) enum Behaviour {
    /// It carries out every request.
    Obedient,
    /// It refuses requests of one kind.
    Refuses(&'static str, Refusal),
    /// It refuses vifs with one of these addresses.
    InUse(Vec<AddressInUse>),
    /// It refuses vifs with this address, until a domain is detached.
    InUseUntilDetached(AddressInUse),
    /// It refuses the first MAC address of each request.
    RefusesEachMac,
    /// It always has more vifs that have dropped frames.
    DropsForEver,
    /// It reports these states of domains.
    Reports(Vec<DomainStatus>),
    /// It reports these counters.
    Counts(Counters),
    /// It closes the connection on requests of one kind, as if it were killed.
    Dies(&'static str),
}

/// The daemon. Dropping it stops it.
pub(super) struct FakeNoxsd {
    listener: Arc<OwnedFd>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl FakeNoxsd {
    pub(super) fn start(path: &Path, log: &Log) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        listen(&listener, Backlog::new(8).unwrap()).unwrap();
        let listener = Arc::new(listener);
        let behaviour = Arc::new(Mutex::new(Behaviour::Obedient));
        let (socket, behave, log) =
            (Arc::clone(&listener), Arc::clone(&behaviour), Arc::clone(log));
        thread::spawn(move || {
            while let Ok(client) = accept(socket.as_raw_fd()) {
                let (behave, log) = (Arc::clone(&behave), Arc::clone(&log));
                thread::spawn(move || {
                    serve(client, &behave, &log);
                    close(client).unwrap();
                });
            }
        });
        Self { listener, behaviour }
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }
}

impl Drop for FakeNoxsd {
    fn drop(&mut self) {
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

fn serve(client: RawFd, behaviour: &Mutex<Behaviour>, log: &Log) {
    let mut packet = vec![0; MAX_PACKET];
    while let Ok(length @ 1..) = recv(client, &mut packet, MsgFlags::empty()) {
        let request: Request = noxs_control::decode(&packet[..length]).unwrap();
        let identities = identities_in(&request);
        let (kind, reply) = match request {
            Request::Attach(_) => ("attach", Reply::Done),
            Request::Configure { .. } => ("configure", Reply::Done),
            Request::Detach(_) => ("detach", Reply::Done),
            Request::AddSwitch { .. } => ("add_switch", Reply::Done),
            Request::Console { .. } => ("console", Reply::Console(ConsoleRole::Writer)),
            Request::Status => ("status", Reply::Status(Vec::new())),
            Request::Dropped { .. } => ("dropped", Reply::Dropped { vifs: Vec::new(), next: None }),
            Request::Counters { .. } => {
                ("counters", Reply::Counters { counters: Counters::default(), next: None })
            }
            Request::Watch => ("watch", Reply::Done),
            Request::WatchDevices => ("watch_devices", Reply::Done),
            Request::AttachDevices(_) => ("attach_devices", Reply::Done),
            Request::DetachDevice { .. } => ("detach_device", Reply::Done),
        };
        let current = behaviour.lock().unwrap().clone();
        let reply = match current {
            Behaviour::Refuses(refused, refusal) if refused == kind => Reply::Refused(refusal),
            Behaviour::InUse(addresses) => match addresses.into_iter().find(|in_use| {
                identities.iter().any(|identity| has_address(identity, in_use.address))
            }) {
                Some(in_use) => Reply::Refused(Refusal::AddressInUse(in_use)),
                None => reply,
            },
            Behaviour::InUseUntilDetached(_) if kind == "detach" => {
                *behaviour.lock().unwrap() = Behaviour::Obedient;
                reply
            }
            Behaviour::InUseUntilDetached(in_use)
                if identities.iter().any(|identity| has_address(identity, in_use.address)) =>
            {
                Reply::Refused(Refusal::AddressInUse(in_use))
            }
            Behaviour::RefusesEachMac if let Some(identity) = identities.first() => {
                let (address, owner) = (VifAddress::Mac(identity.mac), AddressOwner::Domain(900));
                Reply::Refused(Refusal::AddressInUse(AddressInUse { address, owner }))
            }
            Behaviour::DropsForEver if let Request::Dropped { from } = request => {
                let drops =
                    VifDrops { id: DomainId { domid: 1, handle: [0; 16] }, index: 0, frames: 1 };
                Reply::Dropped { vifs: vec![drops; MAX_DROPPED], next: from.checked_add(1) }
            }
            Behaviour::Counts(counters) if kind == "counters" => {
                Reply::Counters { counters, next: None }
            }
            Behaviour::Reports(states) if kind == "status" => Reply::Status(states),
            Behaviour::Dies(last) if last == kind => return,
            _ => reply,
        };
        if !matches!(kind, "status" | "dropped" | "counters") {
            log.lock().unwrap().push(format!("noxsd: {kind}"));
        }
        let reply = noxs_control::encode(&reply).unwrap();
        if send(client, &reply, MsgFlags::MSG_NOSIGNAL).is_err() {
            return;
        }
    }
}

fn identities_in(request: &Request) -> Vec<VifIdentity> {
    match request {
        Request::Attach(attach) | Request::AttachDevices(attach) => {
            attach.vifs.iter().filter_map(|vif| vif.identity).collect()
        }
        Request::Configure { vifs, .. } => vifs.clone(),
        _ => Vec::new(),
    }
}

fn has_address(identity: &VifIdentity, address: VifAddress) -> bool {
    match address {
        VifAddress::Mac(mac) => identity.mac == mac,
        VifAddress::Ipv4(ipv4) => identity.ipv4 == Some(ipv4),
        VifAddress::Ipv6(ipv6) => identity.ipv6 == Some(ipv6),
    }
}
