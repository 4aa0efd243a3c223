//! Starting a daemon that tells when it is ready, as systemd would.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Sent by ourselves when the daemon ends before it is ready.
const ENDED: &[u8] = b"ended";

/// Starts `program` and returns when it has said that it is ready; it goes on running. Its
/// standard error is ours.
pub(crate) fn start(
    seconds: &OsStr,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<(), String> {
    let name = program.display();
    let deadline = seconds.to_str().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let deadline =
        deadline.ok_or_else(|| format!("{}: no number of seconds", seconds.display()))?;

    let path = format!("/run/bed/notify-{}", process::id());
    let socket = UnixDatagram::bind(&path).map_err(|error| format!("{path}: {error}"))?;
    // A daemon may have given up root before it is ready.
    fs::set_permissions(&path, Permissions::from_mode(0o777))
        .map_err(|error| format!("{path}: {error}"))?;
    let result = wait(&socket, &path, deadline, program, arguments);
    let removed = fs::remove_file(&path).map_err(|error| format!("{path}: {error}"));
    result.map_err(|error| format!("{name} did not get ready: {error}")).and(removed)
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
        // A signal for the command's process group is not for the daemon.
        .process_group(0)
        .spawn()?;
    let ended = UnixDatagram::unbound()?;
    ended.connect(path)?;
    thread::spawn(move || {
        let status = child.wait();
        // If nobody listens any more, the daemon had been ready.
        let _ = ended.send(ENDED);
        status
    });

    let start = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        // A zero time-out would mean none.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let message = match socket.recv(&mut buffer) {
            Ok(n) => &buffer[..n],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    format!("no word after {deadline:?}"),
                ));
            }
            Err(error) => return Err(error),
        };
        if message == ENDED {
            return Err(io::Error::other("it has ended"));
        }
        if message.split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}
