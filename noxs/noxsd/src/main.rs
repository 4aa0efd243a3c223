//! `noxsd`: see the library's text, and `noxsd --help`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use noxsd::domains::{Domains, GuestState};
use noxsd::event_loop::EventLoop;
use noxsd::host::dom0::XenHost;
use noxsd::listener::{ListenError, Lock};
use noxsd::privileges::{self, Account, PrivilegeError};
use noxsd::records;
use noxsd::seccomp::{self, SeccompError};

/// The console and network of noxs guests, and the switch between them.
///
/// Runs in the foreground, logs to standard error and gives up root once its devices are open.
/// The socket is there when it is ready; under systemd it also says so (Type=notify). It may be
/// killed at any time: started again, it finds its guests in the records and goes on.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  noxsd --bridge xenbr0                  serve, with a switch that reaches bridge xenbr0
  noxsd --bridge xenbr0 --bridge xenbr1  two switches
  noxsd --log debug                      say more; also off, error, warn, info, trace

Exit status: 1 if it cannot start or go on, 2 if the options are wrong."
)]
struct Options {
    /// Where to listen.
    #[arg(long, value_name = "PATH", default_value = noxs_control::SOCKET)]
    socket: PathBuf,

    /// Where toolstacks keep the domains' records.
    #[arg(long, value_name = "FOLDER", default_value = noxs_control::RECORDS)]
    records: PathBuf,

    /// Make a switch for this Linux bridge (may be repeated). Toolstacks can add more later.
    #[arg(long = "bridge", value_name = "NAME")]
    bridges: Vec<String>,

    /// Become this user. "root" stays root, but without capabilities.
    #[arg(long, value_name = "NAME", default_value = "noxsd")]
    user: String,

    /// Let this group connect, beside root. Without it: group chaos, if there is one.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,

    /// What to log: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing::level_filters::LevelFilter,
}

/// Why noxsd does not start or does not go on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error(transparent)]
    Xen(#[from] xen::Error),
    #[error("cannot make a tap for bridge {bridge}: {why}")]
    Tap { bridge: String, why: String },
    #[error("cannot wait for events")]
    Loop(#[source] io::Error),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
}

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_max_level(options.log)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(false)
        // Somebody who stops reading the log is no reason to end: that would be a panic.
        .log_internal_errors(false)
        .init();
    match run(&options) {
        Ok(never) => match never {},
        Err(failure) => {
            let mut text = failure.to_string();
            let mut source = std::error::Error::source(&failure);
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            tracing::error!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<std::convert::Infallible, Failure> {
    privileges::require_root()?;
    let account = Account::find(&options.user)?;
    let group = match &options.group {
        Some(name) => Some(
            privileges::find_group(name)?.ok_or_else(|| PrivilegeError::NoGroup(name.clone()))?,
        ),
        None => privileges::find_group("chaos")?,
    };
    let lock = Lock::take(&options.socket)?;
    privileges::raise_file_limit();

    // All that needs root.
    let host = XenHost::open()?;
    let recorded = records::read(&options.records);
    let mut bridges = options.bridges.clone();
    bridges
        .extend(recorded.iter().flat_map(|r| r.attach.vifs.iter().map(|vif| vif.bridge.clone())));
    let mut taps = Vec::new();
    for (number, bridge) in bridges.iter().enumerate() {
        if bridges[..number].contains(bridge) {
            continue;
        }
        match tap::open_on_bridge(bridge) {
            Ok(tap) => taps.push((bridge, tap)),
            Err(error) if number < options.bridges.len() => {
                return Err(Failure::Tap { bridge: bridge.clone(), why: tap_hint(&error) });
            }
            // Guests on it are left out below, by name.
            Err(error) => tracing::warn!("no tap for bridge {bridge}: {}", tap_hint(&error)),
        }
    }
    let listener = lock.listen(&options.socket, group)?;
    let now = Instant::now();
    let mut event_loop =
        EventLoop::new(Domains::new(host, now), listener).map_err(Failure::Loop)?;
    let filter = seccomp::filter()?;

    // Clients can connect: they are heard as soon as the loop runs. Whoever started noxsd may hear
    // only root.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("cannot say that noxsd is ready: {error}");
    }
    privileges::give_up(account)?;
    seccomp::install(&filter)?;

    // From here on guests' memory is looked at.
    let (backend, server, session) = event_loop.parts();
    for (bridge, tap) in taps {
        session
            .add_switch(bridge, tap, backend, now)
            .map_err(|why| Failure::Tap { bridge: bridge.clone(), why: why.to_string() })?;
    }
    for record in recorded {
        let domid = record.attach.id.domid;
        match backend.attach(&record.attach, record.log, GuestState::Running, now, server) {
            Ok(()) => tracing::info!("serving domain {domid} again"),
            Err(refusal) => tracing::warn!("domain {domid} is left out: {refusal}"),
        }
    }
    tracing::info!("ready on {}", options.socket.display());
    event_loop.run().map_err(Failure::Loop)
}

/// An error of opening a tap, with what can be done about the usual ones.
fn tap_hint(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::ENODEV) => " (there is no such interface; ip link add NAME type bridge)",
        Some(libc::EOPNOTSUPP) => " (the interface is no bridge)",
        Some(libc::ENOENT | libc::ENXIO) => " (load the kernel module: modprobe tun)",
        _ => "",
    };
    format!("{error}{hint}")
}
