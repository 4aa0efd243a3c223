// SPDX-License-Identifier: GPL-3.0-or-later
//! The socket and its clients.
//!
//! No client can block another. A client that sends a malformed packet, one that is too long or one
//! of another version, or that does not read its reply, is disconnected. When there are too many
//! clients, the one that has been silent longest is disconnected, of those that do not wait for a
//! reply. Users other than root have a share of the places, and pass no descriptors: they upload
//! the bytes of their files.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

use chaos::clients::chaosd::protocol::{self, MAX_PACKET, Refusal, Reply, Request};
use chaos::failure::FailureClass;
use chaos::timings::Timings;
use daemon::chain::chain;
use daemon::clients::{Clients, Limits};
use daemon::encoding::DecodeError;
use daemon::packet::{self, MAX_FILES, Packet};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, getsockopt, recv, recvmsg, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use crate::members::ROOT;
use crate::settings::MemberLimits;
use crate::uploads::{UploadedFile, Uploads};

/// The most clients that may be connected at the same time.
pub const MAX_CLIENTS: usize = 64;

/// The most clients of users other than root.
pub const MEMBER_CLIENTS: usize = 48;

/// The listener's token.
pub const LISTENER: Token = Token(0);

/// The first client's token. The tokens in between are the caller's.
pub const FIRST_CLIENT: usize = 16;

/// The client that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process ID.
    pub pid: i32,
    /// Its user ID.
    pub uid: u32,
}

/// The files of a request.
#[derive(Debug)]
pub enum Files {
    /// Descriptors that root has passed.
    Passed(Vec<OwnedFd>),
    /// Files that another user has uploaded since the last create.
    Uploaded(Vec<Rc<UploadedFile>>),
}

/// The answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// It is carried out or refused.
    Now(Reply),
    /// It is being carried out; the service will have a reply with this number.
    Later(u64),
}

/// A service that answers requests.
pub trait Serve {
    /// Answers a request. `timings` started when the request was readable.
    fn serve(&mut self, peer: Peer, request: Request, files: Files, timings: Timings) -> Answer;

    /// Drops the uploaded files that it no longer needs, because a user is about to upload another
    /// one.
    fn drop_uploads(&mut self) {}

    /// Does work that can wait until the reply is sent.
    fn after(&mut self) {}
}

/// A client, as the server remembers it.
#[derive(Debug)]
struct ClientState {
    peer: Peer,
    /// Its socket, which is open as long as the client is connected.
    socket: RawFd,
    /// The file whose bytes it is sending.
    upload: Option<Rc<UploadedFile>>,
    /// The files that it has sent.
    uploaded: Vec<Rc<UploadedFile>>,
    /// Whether it waits for a reply that the service gives later.
    waits: bool,
}

/// The listener and all clients.
#[derive(Debug)]
pub struct Server {
    clients: Clients<ClientState>,
    buffer: Vec<u8>,
    uploads: Uploads,
    limits: MemberLimits,
    /// The user that this process runs as.
    own: u32,
    /// The clients that wait, by the number of the reply.
    waiting: HashMap<u64, usize>,
}

impl Server {
    /// Serves the clients of a listening, non-blocking socket.
    ///
    /// # Errors
    /// The kernel cannot wait for the socket.
    pub fn new(
        listener: UnixListener,
        registry: Registry,
        limits: MemberLimits,
    ) -> io::Result<Self> {
        let places = Limits { listener: LISTENER, first: FIRST_CLIENT, clients: MAX_CLIENTS };
        let clients = Clients::new(listener, registry, places)?;
        let (buffer, uploads) = (vec![0; MAX_PACKET], Uploads::default());
        let own = geteuid().as_raw();
        Ok(Self { clients, buffer, uploads, limits, own, waiting: HashMap::new() })
    }

    /// Replaces the limits of users other than root.
    pub fn limit(&mut self, limits: MemberLimits) {
        self.limits = limits;
    }

    /// Accepts one connection. Users other than root have [`MEMBER_CLIENTS`] places together, and
    /// each of them a share, so that the rest is root's.
    pub fn accept(&mut self) {
        let members = self.clients.iter().map(|client| client.state.peer.uid);
        let members: Vec<u32> = members.filter(|uid| *uid != ROOT).collect();
        let (share, own) = (self.limits.connections as usize, self.own);
        self.clients.accept(is_idle, |socket| {
            let peer = peer(socket, own)?;
            if peer.uid != ROOT {
                let used = members.iter().filter(|uid| **uid == peer.uid).count();
                if used >= share || members.len() >= MEMBER_CLIENTS {
                    refuse_connection(socket, peer, used, share);
                    return None;
                }
            }
            let socket = socket.as_raw_fd();
            Some(ClientState { peer, socket, upload: None, uploaded: Vec::new(), waits: false })
        });
    }

    /// Notes that a client may have sent something.
    pub fn readable(&mut self, token: Token) {
        if let Some(key) = self.clients.key(token) {
            self.clients.queue(key);
        }
    }

    /// Returns whether a client waits for its turn.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        self.clients.turns() > 0
    }

    /// Serves one request of the client whose turn it is. Returns `true` if a client had a turn:
    /// then poll before other work, because more requests may have arrived.
    pub fn turn(&mut self, service: &mut impl Serve) -> bool {
        let Some(key) = self.clients.next_turn() else { return false };
        if self.serve(key, service).is_none() {
            self.clients.remove(key);
        }
        true
    }

    /// Serves one request, if there is one. Returns `None` if the client must be disconnected.
    fn serve(&mut self, key: usize, service: &mut impl Serve) -> Option<()> {
        let client = self.clients.get_mut(key)?;
        if client.state.waits {
            // The poll reports only its end now. It reports that without pause, so remove it.
            if has_ended(&client.socket) {
                self.waiting.retain(|_, waiting| *waiting != key);
                return None;
            }
            return Some(());
        }
        let peer = client.state.peer;
        let Peer { pid, uid } = peer;
        let mut timings = Timings::start();
        let received = if uid == ROOT {
            packet::receive(&client.socket, &mut self.buffer, MAX_FILES)
        } else {
            receive_bytes(&client.socket, &mut self.buffer)
        };
        let packet = match received {
            Ok(packet) => packet?,
            // If a request comes after all, the poll reports it again.
            Err(Errno::EAGAIN | Errno::EINTR) => return Some(()),
            Err(_) => return None,
        };
        if packet.cut {
            let limit = if uid == ROOT { MAX_FILES } else { 0 };
            tracing::warn!(
                "disconnected process {pid} (user {uid}): it sent a packet of more than \
                 {MAX_PACKET} bytes, or more than {limit} files"
            );
            return None;
        }
        let reply = if client.state.upload.is_some() {
            self.clients.heard(key);
            self.continue_upload(key, packet.length)?
        } else {
            let request = match protocol::decode(&self.buffer[..packet.length]) {
                Ok(request) => request,
                Err(error) => {
                    log_refusal(peer, error);
                    return None;
                }
            };
            self.clients.heard(key);
            timings.stage("receive");
            match request {
                Request::Upload { length } => {
                    service.drop_uploads();
                    Some(self.begin_upload(key, length)?)
                }
                request => {
                    let files = match uid {
                        ROOT => Files::Passed(packet.files),
                        _ => Files::Uploaded(mem::take(
                            &mut self.clients.get_mut(key)?.state.uploaded,
                        )),
                    };
                    match service.serve(peer, request, files, timings) {
                        Answer::Now(reply) => Some(reply),
                        Answer::Later(number) => {
                            self.wait(key, number)?;
                            None
                        }
                    }
                }
            }
        };
        let Some(reply) = reply else { return Some(()) };
        let sent = self.send(key, &reply);
        service.after();
        sent
    }

    /// Keeps a client whose reply comes later: it is neither read from nor evicted until then.
    fn wait(&mut self, key: usize, number: u64) -> Option<()> {
        let (client, registry) = self.clients.get_with_registry(key)?;
        client.wait_for(None, registry).ok()?;
        client.state.waits = true;
        self.waiting.insert(number, key);
        Some(())
    }

    /// Sends a reply that was promised with [`Answer::Later`].
    pub fn answer(&mut self, number: u64, reply: &Reply) {
        let Some(key) = self.waiting.remove(&number) else { return };
        if self.answer_client(key, reply).is_none() {
            self.clients.remove(key);
        }
    }

    fn answer_client(&mut self, key: usize, reply: &Reply) -> Option<()> {
        let (client, registry) = self.clients.get_with_registry(key)?;
        client.state.waits = false;
        client.wait_for(Some(Interest::READABLE), registry).ok()?;
        self.send(key, reply)
    }

    /// Sends a reply. Returns `None` if the client must be disconnected.
    fn send(&mut self, key: usize, reply: &Reply) -> Option<()> {
        let sent = protocol::encode(reply).or_else(|| {
            let message = format!("the reply is too long: must be at most {MAX_PACKET} bytes");
            protocol::encode(&Reply::Refused(Refusal { class: FailureClass::Failed, message }))
        });
        let client = self.clients.get_mut(key)?;
        let Peer { pid, uid } = client.state.peer;
        let sent = sent.map(|packet| packet::send(&client.socket, &packet, &[]));
        let Some(Ok(())) = sent else {
            tracing::warn!("disconnected process {pid} (user {uid}): it does not read its reply");
            return None;
        };
        Some(())
    }

    /// Begins an upload, and returns the reply.
    fn begin_upload(&mut self, key: usize, length: u64) -> Option<Reply> {
        let state = &mut self.clients.get_mut(key)?.state;
        if state.peer.uid == ROOT {
            let message = "root passes the files of a create as descriptors".to_owned();
            return Some(refused(FailureClass::WrongInput, message));
        }
        if state.uploaded.len() >= MAX_UPLOADED {
            state.uploaded.clear();
        }
        let limit = self.limits.files.to_bytes().0;
        Some(match self.uploads.begin(state.peer.uid, length, limit) {
            Ok(file) => {
                state.upload = Some(file);
                Reply::Done
            }
            Err(problem) => refused(FailureClass::WrongInput, chain(&problem)),
        })
    }

    /// Appends a packet to an upload. Returns the reply if the file is complete, and `None` outside
    /// if the client must be disconnected.
    #[expect(clippy::option_option, reason = "the outer one ends the connection, as in `serve`")]
    fn continue_upload(&mut self, key: usize, length: usize) -> Option<Option<Reply>> {
        let state = &mut self.clients.get_mut(key)?.state;
        let Peer { pid, uid } = state.peer;
        let file = state.upload.as_ref()?;
        match file.append(&self.buffer[..length]) {
            Ok(true) if !file.is_complete() => Some(None),
            Ok(true) => {
                let file = self.uploads.shared(state.upload.take()?).ok()?;
                state.uploaded.push(file);
                Some(Some(Reply::Done))
            }
            Ok(false) => {
                tracing::warn!(
                    "disconnected process {pid} (user {uid}): it sent more bytes than it announced"
                );
                None
            }
            Err(error) => {
                tracing::warn!("cannot keep a file of process {pid} (user {uid}): {error}");
                None
            }
        }
    }
}

/// The most files that a client may upload for one create.
const MAX_UPLOADED: usize = 2;

/// Receives a packet and no descriptors: with a packet that has some, the kernel drops them without
/// opening them here, and the packet is marked as cut. So no file of another user ever reaches this
/// process, where even closing it could wait for ever.
fn receive_bytes(socket: &UnixStream, buffer: &mut [u8]) -> Result<Option<Packet>, Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<()>(fd, &mut parts, None, MsgFlags::MSG_DONTWAIT)?;
    let cut = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    if message.bytes == 0 && !cut {
        return Ok(None);
    }
    Ok(Some(Packet { length: message.bytes, files: Vec::new(), cut }))
}

/// Returns whether the other end of a connection was closed.
fn has_ended(socket: &UnixStream) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    let ended = PollFlags::POLLHUP | PollFlags::POLLERR;
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|events| events.intersects(ended))
}

/// Returns whether a client has sent nothing that is not answered yet, so that it may be
/// disconnected in favour of another one.
fn is_idle(client: &ClientState) -> bool {
    if client.waits {
        return false;
    }
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    matches!(recv(client.socket, &mut [0], flags), Ok(0) | Err(Errno::EAGAIN))
}

/// Says why a connection is closed. If the client cannot take the reply, it only sees the end.
fn refuse_connection(socket: &UnixStream, Peer { uid, .. }: Peer, used: usize, share: usize) {
    let message = if used >= share {
        format!(
            "user {uid} has {used} connections to chaosd, and may have {share} (connections= in \
             [members] of chaosd.toml); wait until another command has ended"
        )
    } else {
        format!(
            "users other than root have {MEMBER_CLIENTS} connections to chaosd, which is the \
             maximum; wait until another command has ended"
        )
    };
    tracing::info!("refused a connection: {message}");
    if let Some(packet) = protocol::encode(&refused(FailureClass::Failed, message)) {
        let _ = packet::send(socket, &packet, &[]);
    }
}

fn refused(class: FailureClass, message: String) -> Reply {
    Reply::Refused(Refusal { class, message })
}

/// Returns who has connected, to a process of user `own`.
fn peer(socket: &UnixStream, own: u32) -> Option<Peer> {
    let credentials = getsockopt(socket, PeerCredentials).ok()?;
    let (pid, uid) = (credentials.pid(), credentials.uid());
    // chaosd runs as root. Only tests run as another user, whose clients are as trusted.
    Some(Peer { pid, uid: if uid == own { ROOT } else { uid } })
}

fn log_refusal(Peer { pid, uid }: Peer, error: DecodeError) {
    match error {
        DecodeError::Version { found, known } => tracing::warn!(
            "disconnected process {pid} (user {uid}): it uses version {found} of the protocol, and \
             this chaosd version {known}; after an upgrade, restart chaosd"
        ),
        DecodeError::Malformed => {
            tracing::warn!("disconnected process {pid} (user {uid}): it sent a malformed request")
        }
    }
}
