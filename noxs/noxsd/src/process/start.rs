// SPDX-License-Identifier: GPL-3.0-or-later
//! Starts noxsd: opens everything that needs root, gives up root, and serves.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use daemon::listener::{self, ListenError};
use daemon::lock::{Lock, LockError};
use daemon::system;
use noxs_control::{Refusal, Request};

use super::address_watch::AddressWatch;
use super::crashes::{CrashFileError, Crashes};
use super::disks;
use super::event_loop::EventLoop;
use super::privileges::{self, Account, PrivilegeError};
use super::seccomp::{self, SeccompError};
use super::taps::{self, OpenTapError};
use crate::control::records;
use crate::domains::{AttachFiles, CRASHED, Domains};
use crate::host::dom0::{OpenHostError, XenHost};
use crate::host::serving;

/// The kernel's default limit on the file descriptors of a process (`fs.nr_open`). Each console
/// needs one.
const MANY_FILES: u64 = 1 << 20;

/// The options of noxsd.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Listen on this Unix socket.
    #[arg(long, value_name = "PATH", default_value = noxs_control::SOCKET)]
    socket: PathBuf,

    /// Read the domains' records, which toolstacks write, from this folder.
    #[arg(long, value_name = "FOLDER", default_value = noxs_control::RECORDS)]
    records: PathBuf,

    /// Create a switch for this Linux bridge. May be repeated; toolstacks can add switches later.
    #[arg(long = "bridge", value_name = "NAME")]
    bridges: Vec<String>,

    /// Run as this user once the devices are open. "root" stays root, but without capabilities.
    #[arg(long, value_name = "NAME", default_value = "noxsd")]
    user: String,
}

/// Why noxsd cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another noxsd runs, or the lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket cannot be created.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Root cannot be given up.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// Xen's devices cannot be opened, or no thread can be started.
    #[error(transparent)]
    Host(#[from] OpenHostError),
    /// A bridge cannot be reached.
    #[error(transparent)]
    Tap(#[from] OpenTapError),
    /// A bridge's switch cannot be created.
    #[error("cannot create a switch for bridge {bridge}")]
    Switch {
        /// Name of the bridge.
        bridge: String,
        /// What failed.
        #[source]
        refusal: Refusal,
    },
    /// It cannot be remembered which domain crashed noxsd.
    #[error(transparent)]
    Crashes(#[from] CrashFileError),
    /// The kernel does not report dom0's addresses.
    #[error("cannot learn dom0's addresses from the kernel (rtnetlink)")]
    Addresses(#[source] io::Error),
    /// The poll failed.
    #[error("cannot wait for events")]
    Loop(#[source] io::Error),
    /// The filter of system calls cannot be used.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
}

/// Starts and serves without end.
///
/// # Errors
/// noxsd cannot start, or cannot wait for events.
pub fn run(options: &Options) -> Result<Infallible, StartError> {
    privileges::require_root()?;
    let account = Account::find(&options.user)?;
    let Some(probe) = noxs_control::encode(&Request::Status) else {
        unreachable!("a request without arguments fits in a packet")
    };
    let _lock = Lock::take("noxsd", &options.socket, &probe)?;
    system::raise_file_limit(Some(MANY_FILES));

    // Everything that needs root.
    let host = XenHost::open()?;
    // Listen before the records are read: a toolstack that removes a domain meanwhile waits for its
    // answer, and does not learn that no noxsd serves the domain. Only root has a use for the socket: a
    // client can have any granted page mapped.
    let listener = listener::listen(&options.socket, None)?;
    let recorded = records::read(&options.records);
    let handles: Vec<_> = recorded.iter().map(|record| record.attach.id.handle).collect();
    let crashes = Crashes::open(&options.socket, &handles)?;
    let writes_files = disks::writes_files(&recorded);
    let files = disks::open(&recorded);
    let (left_out, recorded): (Vec<_>, Vec<_>) = recorded
        .into_iter()
        .zip(files)
        .partition(|(record, _)| crashes.leave_out(record.attach.id.handle));
    crashes.record_panics();
    let taps = taps::open(&options.bridges, recorded.iter().map(|(record, _)| record))?;
    let now = Instant::now();
    let mut domains = Domains::new(host, now);
    let mut addresses = AddressWatch::open().map_err(StartError::Addresses)?;
    addresses.refresh(&mut domains).map_err(StartError::Addresses)?;
    let mut event_loop = EventLoop::new(domains, listener, addresses).map_err(StartError::Loop)?;
    let filter = seccomp::filter()?;

    // Clients can connect now and are served once the loop runs. Notify the service manager before
    // root is given up, because it may accept notifications from root only.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("cannot notify the service manager that noxsd is ready: {error}");
    }
    if !writes_files {
        privileges::limit_file_size()?;
    }
    privileges::give_up(account)?;
    seccomp::install(&filter)?;

    // From here on noxsd reads guests' memory.
    let (domains, server, session) = event_loop.parts();
    for (bridge, tap) in taps {
        session
            .add_switch(&bridge, tap, domains, now)
            .map_err(|refusal| StartError::Switch { bridge: bridge.clone(), refusal })?;
    }
    for (record, disks) in left_out {
        let domid = record.attach.id.domid;
        tracing::warn!("domain {domid} is not served: noxsd crashed twice while it served it");
        domains.leave_out(&record.attach, CRASHED, disks);
    }
    for (record, disks) in recorded {
        let domid = record.attach.id.domid;
        serving::begin(record.attach.id.handle);
        let files = AttachFiles { log: record.log, disks };
        match domains.attach_recorded(&record.attach, files, now, server) {
            Ok(()) => tracing::info!("serving domain {domid} again"),
            Err(refusal) => tracing::warn!("domain {domid} is not served: {refusal}"),
        }
    }
    serving::end();
    tracing::info!("ready on {}", options.socket.display());
    event_loop.run().map_err(StartError::Loop)
}
