// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts a daemon and waits until it reports that it is ready, as systemd does.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The message that this program sends itself when the daemon exits.
const ENDED: &[u8] = b"ended";

/// Starts `program` and returns when it has reported that it is ready. It continues to run, and
/// inherits standard error.
pub(crate) fn start(
    seconds: &OsStr,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<(), String> {
    let name = program.display();
    let deadline = seconds.to_str().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let deadline =
        deadline.ok_or_else(|| format!("{}: must be a number of seconds", seconds.display()))?;

    let path = format!("/run/bed/notify-{}", process::id());
    let socket = UnixDatagram::bind(&path).map_err(|error| format!("{path}: {error}"))?;
    // A daemon may have dropped root before it is ready.
    fs::set_permissions(&path, Permissions::from_mode(0o777))
        .map_err(|error| format!("{path}: {error}"))?;
    let result = wait(&socket, &path, deadline, program, arguments);
    let removed = fs::remove_file(&path).map_err(|error| format!("{path}: {error}"));
    result.map_err(|error| format!("{name} is not ready: {error}")).and(removed)
}

fn wait(
    socket: &UnixDatagram,
    path: &str,
    deadline: Duration,
    program: &OsStr,
    arguments: &[OsString],
) -> io::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("NOTIFY_SOCKET", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // The daemon must not receive signals for the command's process group.
        .process_group(0)
        .spawn()?;
    let ended = UnixDatagram::unbound()?;
    ended.connect(path)?;
    thread::spawn(move || {
        let status = child.wait();
        // Fails if the socket is gone, because the daemon was ready before it exited.
        let _ = ended.send(ENDED);
        status
    });

    let start = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        // A timeout of zero is not allowed.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let message = match socket.recv(&mut buffer) {
            Ok(n) => &buffer[..n],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    format!("it has not reported within {deadline:?}"),
                ));
            }
            Err(error) => return Err(error),
        };
        if message == ENDED {
            return Err(io::Error::other("it has exited"));
        }
        if message.split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}
