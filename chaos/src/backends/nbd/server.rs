// SPDX-License-Identifier: GPL-3.0-or-later
//! Starts qemu-nbd (qemu-nbd(8)) for one image.
//!
//! It gets its only client with its listening socket, connected before it starts, and exits when the kernel,
//! which takes over the connection, disconnects. The socket has no name any more by then, so no other process
//! can connect. Until this process has [kept](Server::keep) it, a shell waits beside it, and kills it if this
//! process drops it or is killed: by itself, qemu-nbd waits for a client that negotiates.
//!
//! It belongs to the guest, not to the process that starts it: it has a session of its own, where systemd runs
//! a scope of its own, so that no unit's limits hold for it and no unit's or session's end kills it, and the
//! usual score for the OOM killer.

use std::env;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};

use rustix::process::configure_io_flusher_behavior;

use super::process::Process;
use crate::config::DiskConfig;
use crate::random;

/// The program, and Debian's package of it.
const PROGRAM: &str = "qemu-nbd";
pub(super) const PACKAGE: &str = "qemu-utils";

/// Where the socket has a name for a moment: only root can create files there.
const FOLDER: &str = "/run/chaos";

/// Most bytes of what qemu-nbd says that an error quotes.
const MOST_WORDS: u64 = 1000;

/// Runs the arguments in the background and exits, so that the processes are children of init: chaosd does not
/// have to wait for their end. The second one waits for a line on descriptor 4, which is the standard output
/// and a socket, and ends the first one if there is none. Descriptor 3 is the socket for clients.
const IN_BACKGROUND: &str = r#"exec 3<&0 4<&1
"$@" </dev/null &
{ read -r line <&4 || kill "$!"; } </dev/null >/dev/null 2>&1 3<&- &"#;

/// Prints the number of its process, which becomes qemu-nbd, and passes it the socket in the way of systemd
/// (sd_listen_fds(3)), which needs the number. systemd-run(1) does not change that, nor the descriptors.
const WITH_SOCKET: &str = r#"echo $$; export LISTEN_FDS=1 LISTEN_PID=$$
echo 0 >/proc/self/oom_score_adj
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    set -- systemd-run --quiet --scope --collect --slice=chaos.slice --description='Disk image of a guest' -- "$@"
fi
exec "$@" >/dev/null 4<&-"#;

/// How the name of a socket begins.
const SOCKET: &str = "nbd-";

/// A qemu-nbd that was started and may not have opened the image yet.
#[derive(Debug)]
pub(super) struct Server {
    /// The connection to it.
    pub(super) client: UnixStream,
    /// Its process.
    pub(super) process: Process,
    words: UnixStream,
    waiter: UnixStream,
}

/// Returns where the program is, if it is installed.
pub(super) fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    env::split_paths(&path).map(|folder| folder.join(PROGRAM)).find(|path| path.is_file())
}

/// Returns the arguments for an image. Its format is always named, and the cache is that of xl's QEMU: data
/// goes through dom0's page cache, and a flush reaches the storage.
fn arguments(disk: &DiskConfig) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--format".into(), disk.format.driver().into()];
    arguments.extend(["--cache=writeback", "--aio=threads", "--discard=unmap"].map(OsString::from));
    if disk.read_only {
        arguments.push("--read-only".into());
    }
    arguments.extend(["--".into(), disk.target.clone().into_os_string()]);
    arguments
}

impl Server {
    /// Starts one. `timeout` is for each wait for it.
    pub(super) fn start(program: &Path, disk: &DiskConfig, timeout: Duration) -> io::Result<Self> {
        let (listener, client) = connected_pair()?;
        let (words, stderr) = UnixStream::pair()?;
        let (waiter, stdout) = UnixStream::pair()?;
        for stream in [&client, &words, &waiter] {
            stream.set_read_timeout(Some(timeout))?;
        }
        // What this process has inherited, such as the lock of a script, must not live as long as the guest.
        daemon::packet::close_on_exec();
        // The kernel caches what the guest writes until qemu-nbd has written it, so qemu-nbd must not wait for
        // that: not when it allocates memory, nor because much is cached. Programs inherit this.
        let _ = configure_io_flusher_behavior(true);
        let shell = Command::new("/bin/sh")
            .args(["-c", IN_BACKGROUND, "sh", "setsid", "/bin/sh", "-c", WITH_SOCKET, "sh"])
            .arg(program)
            .args(arguments(disk))
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .stdin(Stdio::from(listener))
            .stdout(Stdio::from(OwnedFd::from(stdout)))
            .stderr(Stdio::from(OwnedFd::from(stderr)))
            .spawn();
        // It fails only if this process may not do so.
        let _ = configure_io_flusher_behavior(false);
        shell?.wait()?;
        let mut line = String::new();
        BufReader::new(&waiter).read_line(&mut line)?;
        let Ok(number) = line.trim().parse() else {
            return Err(io::Error::other(quote(&words, timeout)));
        };
        // If it has exited already, no client is served, and it has said why.
        let process = Process::running(number).unwrap_or(Process::exited(number));
        Ok(Self { client, process, words, waiter })
    }

    /// Returns the connection for the kernel, which must wait for the server without a limit: with one, it
    /// gives up a device that is not used for so long.
    pub(super) fn without_timeout(&self) -> io::Result<BorrowedFd<'_>> {
        self.client.set_read_timeout(None)?;
        Ok(self.client.as_fd())
    }

    /// Leaves it running, because the kernel has its connection.
    pub(super) fn keep(self) -> io::Result<()> {
        (&self.waiter).write_all(b"\n")
    }

    /// Returns what it has said before it has exited.
    pub(super) fn last_words(&self, timeout: Duration) -> String {
        quote(&self.words, timeout)
    }
}

/// Reads what a program has said, up to its end.
fn quote(words: &UnixStream, timeout: Duration) -> String {
    let (mut bytes, deadline) = (Vec::new(), Instant::now() + timeout);
    let mut words = words.take(MOST_WORDS);
    let mut buffer = [0; 256];
    while Instant::now() < deadline
        && let Ok(length @ 1..) = words.read(&mut buffer)
    {
        bytes.extend(&buffer[..length]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.is_empty() {
        true => "qemu-nbd has exited without a word".to_owned(),
        false => lines.join("; "),
    }
}

/// Returns a listening socket that has one connection, and the other end of this. Both have no name.
fn connected_pair() -> io::Result<(OwnedFd, UnixStream)> {
    let mut random = [0; 8];
    random::fill(&mut random)?;
    let process = Process::running(process::id()).ok_or(io::ErrorKind::NotFound)?;
    let name = format!("{SOCKET}{process}-{:016x}", u64::from_ne_bytes(random));
    connected_pair_at(&Path::new(FOLDER).join(name))
}

/// Removes the names of sockets that processes have left which were killed.
pub(super) fn remove_sockets() {
    remove_sockets_in(Path::new(FOLDER));
}

fn remove_sockets_in(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let creator = name.to_str().and_then(|name| name.strip_prefix(SOCKET)?.split_once('-'));
        let creator = creator.and_then(|(creator, _)| creator.parse::<Process>().ok());
        if creator.is_some_and(|creator| !creator.runs()) {
            // If this fails, another command has removed it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn connected_pair_at(path: &Path) -> io::Result<(OwnedFd, UnixStream)> {
    let open = || socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let (listener, client) = (open()?, open()?);
    let address = UnixAddr::new(path)?;
    bind(listener.as_raw_fd(), &address)?;
    // Only the owner may connect, before anyone can.
    let connected = fs::set_permissions(path, Permissions::from_mode(0o600)).and_then(|()| {
        listen(&listener, Backlog::new(1)?)?;
        Ok(connect(client.as_raw_fd(), &address)?)
    });
    fs::remove_file(path)?;
    connected?;
    Ok((listener, client.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DiskFormat;

    fn disk(format: DiskFormat, read_only: bool) -> DiskConfig {
        let disk = DiskConfig::named("/srv/-a b.img".into(), "xvda".into(), read_only).unwrap();
        DiskConfig { format, ..disk }
    }

    #[test]
    fn the_format_is_always_named() {
        let arguments = |format, read_only| {
            let arguments = arguments(&disk(format, read_only));
            arguments.iter().map(|text| text.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let common = ["--cache=writeback", "--aio=threads", "--discard=unmap"];
        let writable = [&["--format", "qcow2"][..], &common, &["--", "/srv/-a b.img"]].concat();
        assert_eq!(arguments(DiskFormat::Qcow2, false), writable);
        let read_only =
            [&["--format", "vpc"][..], &common, &["--read-only", "--", "/srv/-a b.img"]].concat();
        assert_eq!(arguments(DiskFormat::Vhd, true), read_only);
    }

    /// The words of a program, and whether it gets the format, reach this process; it has its own session,
    /// no files but the socket, and this process is not its parent.
    #[test]
    fn a_program_gets_the_connection_and_its_last_words_are_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let text = "#!/bin/sh\nset -- \"$2\" $(ls -I 10 -I 255 /proc/$$/fd)\nread -r _ _ _ parent _ session _ </proc/$$/stat\n\
                    [ $session = $$ ] && [ $LISTEN_PID = $$ ] && [ $LISTEN_FDS = 1 ] && \
                    echo \"format $1\" >&2\nprintf '%s ' $* >&2\necho >&2\nexit 1\n";
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("socket");
        let (listener, client) = connected_pair_at(&path).unwrap();
        assert!(!path.exists());
        drop((listener, client));
        let timeout = Duration::from_secs(60);
        if !Path::new(FOLDER).is_dir() {
            return;
        }
        let server = Server::start(&program, &disk(DiskFormat::Qcow2, false), timeout).unwrap();
        let mut client = &server.client;
        // The program never accepts the connection.
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        let words = server.last_words(timeout);
        assert!(words.starts_with("format qcow2; qcow2 0 1 2 3"), "{words}");
        assert!(client.write(&[0]).is_err());
        assert!(server.process.wait(Instant::now() + timeout));
        assert_eq!(server.client.read_timeout().unwrap(), Some(timeout));
        server.without_timeout().unwrap();
        assert_eq!(server.client.read_timeout().unwrap(), None);
    }

    #[test]
    fn what_is_quoted_is_bounded_and_one_line() {
        let (mut program, words) = UnixStream::pair().unwrap();
        program.write_all(b"first\n\n  second\n").unwrap();
        program.write_all(&[b'x'; 5000]).unwrap();
        let text = quote(&words, Duration::from_secs(60));
        assert!(text.starts_with("first; second; xxx") && text.len() <= 1000, "{}", text.len());
        let (program, words) = UnixStream::pair().unwrap();
        drop(program);
        assert!(quote(&words, Duration::from_secs(60)).contains("without a word"));
    }
}
