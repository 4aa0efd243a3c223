//! Brings `noxsd` up: opens what needs root, gives root up, and serves.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use daemon::listener::{self, ListenError};
use daemon::lock::{Lock, LockError};
use daemon::system::{self, GroupError};
use noxs_control::Request;

use super::event_loop::EventLoop;
use super::privileges::{self, Account, PrivilegeError};
use super::seccomp::{self, SeccompError};
use crate::control::records::{self, Recorded};
use crate::domains::{Domains, GuestState};
use crate::host::dom0::XenHost;

/// File descriptors that a process may have by the kernel's default setting (`fs.nr_open`): each
/// console has one.
const MANY_FILES: u64 = 1 << 20;

/// How `noxsd` is to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long, value_name = "PATH", default_value = noxs_control::SOCKET)]
    socket: PathBuf,

    /// Where toolstacks keep the domains' records.
    #[arg(long, value_name = "FOLDER", default_value = noxs_control::RECORDS)]
    records: PathBuf,

    /// Create a switch for this Linux bridge (may be repeated). Toolstacks can add more later.
    #[arg(long = "bridge", value_name = "NAME")]
    bridges: Vec<String>,

    /// Become this user. "root" stays root, but without capabilities.
    #[arg(long, value_name = "NAME", default_value = "noxsd")]
    user: String,

    /// Let this group connect, beside root. Without it: group chaos, if there is one.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

/// Why `noxsd` does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another one runs, or the lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket cannot be created.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no such group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Root cannot be given up.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// Xen's devices cannot be opened.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// A bridge cannot be reached.
    #[error("cannot create a tap for bridge {bridge}: {why}")]
    Tap {
        /// The bridge.
        bridge: String,
        /// Why, and what to do.
        why: String,
    },
    /// The kernel cannot wait.
    #[error("cannot wait for events")]
    Loop(#[source] io::Error),
    /// The filter of system calls cannot be used.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
}

/// Starts and serves without end.
///
/// # Errors
/// It cannot start, or cannot wait for events any more.
pub fn run(options: &Options) -> Result<Infallible, StartError> {
    privileges::require_root()?;
    let account = Account::find(&options.user)?;
    let group = system::group(options.group.as_deref())?;
    let probe = noxs_control::encode(&Request::Status(None));
    let _lock = Lock::take("noxsd", &options.socket, &probe)?;
    system::raise_file_limit(Some(MANY_FILES));

    // All that needs root.
    let host = XenHost::open()?;
    let recorded = records::read(&options.records);
    let taps = open_taps(&options.bridges, &recorded)?;
    let listener = listener::listen(&options.socket, group)?;
    let now = Instant::now();
    let mut event_loop =
        EventLoop::new(Domains::new(host, now), listener).map_err(StartError::Loop)?;
    let filter = seccomp::filter()?;

    // Clients can connect: they are served as soon as the loop runs. The service manager may accept
    // notifications from root only.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("cannot notify the service manager that noxsd is ready: {error}");
    }
    privileges::give_up(account)?;
    seccomp::install(&filter)?;

    // From here on guests' memory is looked at.
    let (domains, server, session) = event_loop.parts();
    for (bridge, tap) in taps {
        session
            .add_switch(&bridge, tap, domains, now)
            .map_err(|why| StartError::Tap { bridge: bridge.clone(), why: why.to_string() })?;
    }
    for record in recorded {
        let domid = record.attach.id.domid;
        match domains.attach(&record.attach, record.log, GuestState::Running, now, server) {
            Ok(()) => tracing::info!("serving domain {domid} again"),
            Err(refusal) => tracing::warn!("domain {domid} is left out: {refusal}"),
        }
    }
    tracing::info!("ready on {}", options.socket.display());
    event_loop.run().map_err(StartError::Loop)
}

/// Opens a tap for each bridge, once: those that were asked for, which must exist, and those of the
/// domains that an earlier `noxsd` served.
fn open_taps(
    wanted: &[String],
    recorded: &[Recorded],
) -> Result<Vec<(String, OwnedFd)>, StartError> {
    let used = recorded.iter().flat_map(|record| record.attach.vifs.iter().map(|vif| &vif.bridge));
    let bridges: Vec<&String> = wanted.iter().chain(used).collect();
    let mut taps = Vec::new();
    for (number, bridge) in bridges.iter().enumerate() {
        if bridges[..number].contains(bridge) {
            continue;
        }
        match tap::open_on_bridge(bridge) {
            Ok(tap) => taps.push(((*bridge).clone(), tap)),
            Err(error) if number < wanted.len() => {
                return Err(StartError::Tap { bridge: (*bridge).clone(), why: tap_hint(&error) });
            }
            // Guests on it are left out later, by name.
            Err(error) => tracing::warn!("no tap for bridge {bridge}: {}", tap_hint(&error)),
        }
    }
    Ok(taps)
}

/// Returns the text of an error of opening a tap, with the remedy for the usual ones.
fn tap_hint(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::ENODEV) => " (there is no such interface; ip link add NAME type bridge)",
        Some(libc::EOPNOTSUPP) => " (the interface is not a bridge)",
        Some(libc::ENOENT | libc::ENXIO) => " (load the kernel module: modprobe tun)",
        _ => "",
    };
    format!("{error}{hint}")
}
