// SPDX-License-Identifier: GPL-3.0-or-later
//! Executes requests.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use noxs_control::{
    Attach, ConsoleRole, DeviceStatus, DomainId, DomainStatus, Refusal, Reply, Request,
};

use crate::console::{ClientId, Clients, ConsoleLog};
use crate::domains::{AttachFiles, AttachedAs, DiskFile, Domains};
use crate::host::{Host, LocalPort};
use crate::net::tap;

/// Token of the first tap. The others follow in the order of their switches.
pub const FIRST_TAP: usize = 16;

/// Most bytes of a list of broken domains, encoded and in memory, so that it fits in a packet and
/// passes the decoder's limit.
const STATUS_SIZE: usize = 32 * 1024;

/// The answer to a request, and what its connection is used for afterwards.
#[derive(Debug)]
pub enum Answer {
    /// A reply. The connection is used for further requests.
    Reply(Reply),
    /// The connection becomes one to the domain's console.
    Console {
        /// The domain.
        id: DomainId,
        /// Whether the client types.
        role: ConsoleRole,
        /// What it gets that was printed before.
        history: Vec<u8>,
    },
    /// The connection becomes a watch for domains that shut down.
    Watch,
    /// The connection becomes a watch for devices that guests lose.
    WatchDevices,
}

/// The client that sent a request, and the files that came with it.
#[derive(Debug)]
pub struct From {
    /// The client.
    pub client: ClientId,
    /// The files.
    pub files: Vec<OwnedFd>,
}

/// What requests need beside the domains.
#[derive(Debug)]
pub struct Session<'a> {
    /// The poll's registry, for taps.
    pub registry: &'a Registry,
    /// The local port of the interrupt for domains that shut down, while it is bound for watchers.
    pub domain_exception: Option<LocalPort>,
}

impl Session<'_> {
    /// Executes a request, which has at most [`MAX_FILES`](noxs_control::MAX_FILES) files.
    pub fn answer<H: Host>(
        &mut self,
        request: Request,
        from: From,
        domains: &mut Domains<H>,
        clients: &mut impl Clients,
        now: Instant,
    ) -> Answer {
        let mut files = from.files.into_iter();
        let result = match request {
            Request::Attach(request) => attach(&request, files, domains, clients, now),
            Request::Configure { id, vifs, disks } => {
                domains.configure(id, &vifs, (&disks, disk_files(files)), now, clients)
            }
            Request::Detach(id) => domains.detach(id, clients),
            Request::AttachDevices(request) => {
                domains.attach_devices(&request, disk_files(files), now, clients)
            }
            Request::DetachDevice { id, device } => domains.detach_device(id, device, clients),
            Request::AddSwitch { bridge } => match files.next() {
                Some(file) => self.add_switch(&bridge, file, domains, now),
                None => Err(Refusal::Invalid(
                    "a switch needs a tap: no file came with the request".into(),
                )),
            },
            Request::Console { id, usage } => match domains.open_console(id, from.client, usage) {
                Ok((role, history)) => return Answer::Console { id, role, history },
                Err(refusal) => Err(refusal),
            },
            Request::Status => return Answer::Reply(Reply::Status(broken(domains))),
            Request::Dropped { from } => {
                let (vifs, next) = domains.dropped(from);
                return Answer::Reply(Reply::Dropped { vifs, next });
            }
            Request::Counters { from } => {
                let (counters, next) = domains.counters(from);
                return Answer::Reply(Reply::Counters { counters, next });
            }
            Request::WatchDevices => return Answer::WatchDevices,
            Request::Watch => match self.watch(domains) {
                Ok(()) => return Answer::Watch,
                Err(refusal) => Err(refusal),
            },
        };
        Answer::Reply(result.map_or_else(Reply::Refused, |()| Reply::Done))
    }

    /// Adds a switch for a bridge and polls its tap.
    ///
    /// # Errors
    /// The bridge has a switch already, or the file is not a tap.
    pub fn add_switch<H: Host>(
        &self,
        bridge: &str,
        file: OwnedFd,
        domains: &mut Domains<H>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let system = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| Refusal::System { what, errno: error.to_string() }
        };
        let name = tap::check(file.as_fd()).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let fd = file.as_raw_fd();
        let bridge_id = domains.add_switch(bridge, File::from(file), now)?;
        // If this fails, the switch stays without frames from its tap, which is harmless.
        self.registry
            .register(&mut SourceFd(&fd), Token(FIRST_TAP + bridge_id.0), Interest::READABLE)
            .map_err(system("wait for the tap"))?;
        tracing::info!("switch for bridge {bridge}, through tap {name}");
        Ok(())
    }

    fn watch<H: Host>(&mut self, domains: &mut Domains<H>) -> Result<(), Refusal> {
        if self.domain_exception.is_none() {
            let port = domains.host.bind_domain_exception().map_err(|error| Refusal::System {
                what: "watch for domains that shut down".into(),
                errno: error.to_string(),
            })?;
            self.domain_exception = Some(port);
        }
        Ok(())
    }
}

fn attach<H: Host>(
    request: &Attach,
    mut files: std::vec::IntoIter<OwnedFd>,
    domains: &mut Domains<H>,
    clients: &mut impl Clients,
    now: Instant,
) -> Result<(), Refusal> {
    let has_disks = request.vbds.iter().any(|vbd| vbd.image.is_some());
    // A file that is not expected is refused as a log.
    let log = if request.console.is_some() || !has_disks { files.next() } else { None };
    let log = log
        .map(ConsoleLog::new)
        .transpose()
        .map_err(|error| Refusal::Invalid(error.to_string()))?;
    let files = AttachFiles { log, disks: disk_files(files) };
    domains.attach(request, files, AttachedAs::New, now, clients)
}

fn disk_files(files: impl Iterator<Item = OwnedFd>) -> Vec<DiskFile> {
    files.map(|file| DiskFile::Open(File::from(file).into())).collect()
}

/// Returns the states of the domains that have lost a device, as many as fit in a reply.
fn broken<H: Host>(domains: &Domains<H>) -> Vec<DomainStatus> {
    let mut size = 0;
    let fits = |status: &DomainStatus| {
        let text: usize = status
            .devices
            .iter()
            .map(|device| device.name.len() + device.broken.as_ref().map_or(0, String::len))
            .sum();
        let fixed = size_of::<DomainStatus>();
        size += fixed + status.devices.len() * size_of::<DeviceStatus>() + text;
        size <= STATUS_SIZE
    };
    domains.broken().take_while(fits).collect()
}
