// SPDX-License-Identifier: GPL-3.0-or-later
//! A server in a thread, and clients of several users.
//!
//! `unsafe`: no crate offers the system call that changes the user of one thread.
#![allow(unsafe_code)]

use std::fs::{self, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chaos::clients::chaosd::client::Chaosd;
use chaos::clients::chaosd::members_socket;
use chaos::clients::chaosd::protocol::{Refusal, Reply, Request};
use chaos::failure::FailureClass;
use chaos::timings::Timings;
use chaosd::member_server::MemberServer;
use chaosd::server::{Answer, FIRST_CLIENT, Files, LISTENER, Peer, Serve, Server};
use chaosd::settings::MemberLimits;
use chaosd::uploads::UploadedFile;
use daemon::listener;
use mio::{Events, Poll, Token, Waker};
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tempfile::TempDir;

const WORKERS: Token = Token(1);

/// Counts requests, and replies to `Drain` with the number of files and the sender's process ID, or
/// with what was uploaded. A `Resize` waits at two gates.
struct Counting {
    served: Arc<AtomicUsize>,
    gate: Receiver<()>,
    /// Whether a request for [`LATER`] waits for its reply.
    later: Later,
    /// The files of the last `Drain`, until the next upload.
    uploaded: Vec<Arc<UploadedFile>>,
}

/// What has become of a request for [`LATER`].
#[derive(PartialEq)]
enum Later {
    None,
    Waits,
    IsReady,
}

/// A flavour whose `Resize` is answered after the next `Pool` of another client.
pub(crate) const LATER: &str = "later";

/// The number of the reply to it.
const NUMBER: u64 = 7;

impl Serve for Counting {
    fn serve(&mut self, peer: Peer, request: Request, files: Files, _: Timings) -> Answer {
        self.served.fetch_add(1, Ordering::Relaxed);
        Answer::Now(match request {
            Request::Pool { .. } => {
                if self.later == Later::Waits {
                    self.later = Later::IsReady;
                }
                pool_reply()
            }
            Request::Drain => {
                let message = match files {
                    Files::Passed(files) => {
                        format!("{} files from process {}", files.len(), peer.pid)
                    }
                    Files::Uploaded(files) => {
                        let lengths =
                            files.iter().map(|file| file.file().metadata().unwrap().len());
                        let lengths: Vec<_> = lengths.collect();
                        self.uploaded = files;
                        format!("user {} uploaded {lengths:?}", peer.uid)
                    }
                };
                Reply::Refused(Refusal { class: FailureClass::Failed, message })
            }
            Request::Resize { flavour, .. } if flavour == LATER => {
                self.later = Later::Waits;
                return Answer::Later(NUMBER);
            }
            Request::Resize { .. } => {
                self.gate.recv().unwrap();
                self.gate.recv().unwrap();
                Reply::Done
            }
            _ => Reply::Done,
        })
    }

    fn drop_uploads(&mut self) {
        self.uploaded.clear();
    }
}

pub(crate) const POOL: Request = Request::Pool { from: 0 };

pub(crate) fn pool_reply() -> Reply {
    Reply::Pool { flavours: Vec::new(), more: false }
}

/// A server in a thread of its own.
pub(crate) struct Bed {
    pub(crate) path: PathBuf,
    /// The file with the subordinate users, which does not exist at first.
    pub(crate) subordinate_users: PathBuf,
    gate: SyncSender<()>,
    served: Arc<AtomicUsize>,
    waker: Arc<Waker>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(MemberLimits::default())
    }

    pub(crate) fn with(limits: MemberLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("socket");
        let listener = listener::listen(&path, None).unwrap();
        let of_members = members_socket(&path);
        let members = listener::listen(&of_members, None).unwrap();
        fs::set_permissions(&of_members, Permissions::from_mode(0o666)).unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WORKERS).unwrap());
        let subordinate_users = folder.path().join("subuid");
        let members =
            MemberServer::start(members, Arc::clone(&waker), limits, &subordinate_users).unwrap();
        let stops = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stops);
        let (gate, waiting) = sync_channel(0);
        let counter = Arc::clone(&served);
        let thread = Some(thread::spawn(move || {
            let uploaded = Vec::new();
            let service = Counting { served: counter, gate: waiting, later: Later::None, uploaded };
            serve(poll, listener, members, service, &stopped);
        }));
        Self { path, subordinate_users, gate, served, waker, stops, thread, _folder: folder }
    }

    /// Lets the server pass a gate in a `Resize`, and returns when it has done so.
    pub(crate) fn open_gate(&self) {
        self.gate.send(()).unwrap();
    }

    /// Makes the server exit as soon as it has answered the current request.
    pub(crate) fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
        self.waker.wake().unwrap();
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Connects as the user of this thread.
    pub(crate) fn connect(&self) -> Chaosd {
        Chaosd::connect(&self.socket()).unwrap()
    }

    fn socket(&self) -> PathBuf {
        if is_member() { members_socket(&self.path) } else { self.path.clone() }
    }

    /// Connects as the user of this thread.
    pub(crate) fn raw(&self) -> OwnedFd {
        let client =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&client, ReceiveTimeout, &TimeVal::seconds(10)).unwrap();
        connect(client.as_raw_fd(), &UnixAddr::new(&self.socket()).unwrap()).unwrap();
        client
    }

    /// Asserts that another client is served.
    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        let reply = Chaosd::connect(&self.path).unwrap().ask(&POOL, &[]).unwrap();
        assert_eq!(reply, pool_reply());
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking(), "the server has panicked");
    }
}

/// The loop of `chaosd`, without the parts that need Xen.
fn serve(
    mut poll: Poll,
    listener: UnixListener,
    mut members: MemberServer,
    mut service: Counting,
    stops: &AtomicBool,
) {
    let registry = poll.registry().try_clone().unwrap();
    let mut server = Server::new(listener, registry).unwrap();
    let mut events = Events::with_capacity(8);
    loop {
        let timeout = (server.has_turns() || members.has_turns()).then_some(Duration::ZERO);
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => result.unwrap(),
        }
        for event in &events {
            match event.token() {
                WORKERS => {
                    if stops.load(Ordering::Relaxed) {
                        return finish(&mut poll, &mut members, &mut service);
                    }
                    members.collect();
                }
                LISTENER => server.accept(),
                token => {
                    assert!(token.0 >= FIRST_CLIENT);
                    server.readable(token);
                }
            }
        }
        server.turn(&mut service);
        members.turn(&mut service);
        if service.later == Later::IsReady {
            service.later = Later::None;
            if let Some(reply) = members.answer(NUMBER, Reply::Done) {
                server.answer(NUMBER, &reply);
            }
        }
    }
}

/// Answers what members have sent, for two seconds at most.
fn finish(poll: &mut Poll, members: &mut MemberServer, service: &mut Counting) {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut events = Events::with_capacity(8);
    members.stop();
    while !members.is_done() && Instant::now() < deadline {
        members.collect();
        if !members.turn(service) && !members.is_done() {
            poll.poll(&mut events, Some(deadline.saturating_duration_since(Instant::now())))
                .unwrap();
        }
    }
}

/// Returns whether this thread's user is not the one of the server.
fn is_member() -> bool {
    nix::unistd::geteuid().as_raw() >= MEMBER
}

pub(crate) fn put(client: &OwnedFd, packet: &[u8]) -> Result<usize, Errno> {
    send(client.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)
}

/// Asserts that the server has closed the connection; a time-out fails.
#[track_caller]
pub(crate) fn assert_closed(client: &OwnedFd) {
    let result = recv(client.as_raw_fd(), &mut [0; 64], MsgFlags::empty());
    assert!(matches!(result, Ok(0) | Err(Errno::ECONNRESET)), "{result:?}");
}

/// Number of a user that is not root.
pub(crate) const MEMBER: u32 = 61234;

/// Runs an action in a thread of another user, which the server sees as the peer. Returns `None`
/// where the tests do not run as root.
pub(crate) fn as_member<T: Send>(uid: u32, action: impl FnOnce() -> T + Send) -> Option<T> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not tested: the tests do not run as root");
        return None;
    }
    thread::scope(|scope| {
        let member = scope.spawn(move || {
            // SAFETY: The system call takes three numbers and no pointers. It changes the user of
            // this thread only, unlike the function of the C library, and the thread ends with the
            // action.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
            assert_eq!(changed, 0, "the user can be changed");
            action()
        });
        Some(member.join().unwrap())
    })
}
