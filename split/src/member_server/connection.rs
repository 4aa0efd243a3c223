// SPDX-License-Identifier: GPL-3.0-or-later
//! The thread of a member's connection: receives and closes, uploads files, and waits for replies.

use std::fmt::Display;
use std::io::IoSliceMut;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use chaos::clients::chaosd::protocol::{self, MAX_PACKET, Reply, Request};
use chaos::failure::FailureClass;
use chaos::timings::Timings;
use daemon::chain::chain;
use daemon::wait;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recvmsg};

use super::places::Held;
use super::{MemberRequest, Order, Shared};
use crate::server::{Peer, UNREAD, log_refusal, refused, send};
use crate::uploads::{Upload, UploadProblem, UploadedFile};

/// The most files that a client may upload for one create.
const MAX_UPLOADED: usize = 2;

/// The time that each upload has, and the time from its end to the next packet. Otherwise a client
/// could hold memory forever that no guest uses.
const UPLOAD_TIME: Duration = Duration::from_secs(30);

/// An upload has a second more for each of these many bytes.
const BYTES_PER_SECOND: u64 = 4 << 20;

/// A connection, in its thread.
pub(super) struct Connection {
    held: Held,
    peer: Peer,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    buffer: Vec<u8>,
    /// The file whose bytes the client is sending.
    upload: Option<Upload>,
    /// The files that it has sent.
    uploaded: Vec<Arc<UploadedFile>>,
    /// When the upload must be complete, or the next request must come for which files were sent.
    deadline: Option<Instant>,
}

impl Connection {
    pub(super) fn new(held: Held, peer: Peer, shared: Arc<Shared>, orders: Sender<Order>) -> Self {
        let buffer = vec![0; MAX_PACKET];
        let (upload, uploaded, deadline) = (None, Vec::new(), None);
        Self { held, peer, shared, orders, buffer, upload, uploaded, deadline }
    }

    /// Serves the connection until its end.
    pub(super) fn run(mut self) {
        while self.turn().is_some() {
            self.held.place.waits();
        }
    }

    /// Waits for a packet and answers it. Returns `None` if the client must be disconnected.
    fn turn(&mut self) -> Option<()> {
        if self.deadline.is_some_and(|deadline| !has_packet_until(&self.held.socket, deadline)) {
            self.log_end(match &self.upload {
                Some(_) => "its upload has taken too long",
                None => "it has uploaded a file and asked for no guest with it in time",
            });
            return None;
        }
        let Received { length, cut } = receive(&self.held.socket, &mut self.buffer)?;
        self.held.place.heard();
        let mut timings = Timings::start();
        if cut {
            self.log_end(format_args!(
                "it sent a packet of more than {MAX_PACKET} bytes, or with files"
            ));
            return None;
        }
        let reply = if let Some(upload) = self.upload.take() {
            match self.continue_upload(upload, length)? {
                Some(reply) => reply,
                None => return Some(()),
            }
        } else {
            let request = match protocol::decode(&self.buffer[..length]) {
                Ok(request) => request,
                Err(error) => {
                    if self.shared.lines.allows(self.peer.uid) {
                        log_refusal(self.peer, error);
                    }
                    return None;
                }
            };
            timings.stage("receive");
            match request {
                Request::Upload { length } => self.begin_upload(length)?,
                request => self.ask(request, timings)?,
            }
        };
        let sent = send(&self.held.socket, &reply);
        if sent.is_none() {
            self.log_end(UNREAD);
        }
        sent
    }

    /// Logs why the client is disconnected.
    fn log_end(&self, why: impl Display) {
        let Peer { pid, uid } = self.peer;
        if self.shared.lines.allows(uid) {
            tracing::warn!("disconnected process {pid} (user {uid}): {why}");
        }
    }

    /// Has the main thread carry out a request. Returns `None` if it is exiting.
    fn ask(&mut self, request: Request, timings: Timings) -> Option<Reply> {
        let (reply, answer) = channel();
        let (peer, files) = (self.peer, mem::take(&mut self.uploaded));
        self.deadline = None;
        if let Err(problem) = self.shared.uploads.take(&files) {
            return Some(refused(FailureClass::Failed, chain(&problem)));
        }
        let request = MemberRequest { peer, request, files, timings, reply };
        self.order(Order::Serve(Box::new(request)))?;
        answer.recv().ok()
    }

    fn order(&self, order: Order) -> Option<()> {
        self.orders.send(order).ok()?;
        self.shared.waker.wake().ok()
    }

    /// Begins an upload, and returns the reply.
    fn begin_upload(&mut self, length: u64) -> Option<Reply> {
        if self.uploaded.len() >= MAX_UPLOADED {
            self.uploaded.clear();
        }
        let begin =
            || self.shared.uploads.begin(self.peer.uid, length, &self.shared.places.limits());
        let mut begun = begin();
        // The main thread looks which guests have ended only if the file would be refused.
        if begun.as_ref().is_err_and(UploadProblem::is_of_quota) {
            let (done, dropped) = channel();
            self.order(Order::DropUploads(done))?;
            dropped.recv().ok()?;
            begun = begin();
        }
        Some(match begun {
            Ok(upload) => {
                self.upload = Some(upload);
                let transfer = Duration::from_secs(length / BYTES_PER_SECOND);
                self.deadline = Some(Instant::now() + UPLOAD_TIME + transfer);
                Reply::Done
            }
            Err(problem) => refused(FailureClass::WrongInput, chain(&problem)),
        })
    }

    /// Appends a packet to an upload. Returns the reply if the file is complete, and `None` outside
    /// if the client must be disconnected.
    #[expect(clippy::option_option, reason = "the outer one ends the connection, as in `turn`")]
    fn continue_upload(&mut self, mut upload: Upload, length: usize) -> Option<Option<Reply>> {
        match upload.append(&self.buffer[..length]) {
            Ok(true) if !upload.is_complete() => {
                self.upload = Some(upload);
                Some(None)
            }
            Ok(true) => {
                let file = self.shared.uploads.complete(upload).ok()?;
                self.uploaded.push(file);
                self.deadline = Some(Instant::now() + UPLOAD_TIME);
                Some(Some(Reply::Done))
            }
            Ok(false) => {
                self.log_end("it sent more bytes than it announced");
                None
            }
            Err(error) => {
                self.log_end(format_args!("cannot keep its file: {error}"));
                None
            }
        }
    }
}

/// A packet that was received into a buffer.
struct Received {
    length: usize,
    /// Whether it was longer than the buffer, or had files.
    cut: bool,
}

/// Waits for a packet or the end of the connection. Returns `false` if neither comes in time, or if
/// the deadline has passed, whether there are packets or not.
fn has_packet_until(socket: &UnixStream, deadline: Instant) -> bool {
    // An error is reported by the call that receives.
    Instant::now() < deadline && wait::readable(socket.as_fd(), deadline).unwrap_or(true)
}

/// Waits for a packet. `None` at the end of the connection. No descriptor is ever opened here: with
/// a packet that has some, the kernel drops them, and the packet is marked as cut.
fn receive(socket: &UnixStream, buffer: &mut [u8]) -> Option<Received> {
    let fd = socket.as_raw_fd();
    loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<()>(fd, &mut parts, None, MsgFlags::empty()) {
            Ok(message) => {
                let cut = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                let length = message.bytes;
                return (length > 0 || cut).then_some(Received { length, cut });
            }
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use mio::{Poll, Token, Waker};

    use super::super::places::Places;
    use super::*;
    use crate::line_limit::LineLimit;
    use crate::settings::MemberLimits;
    use crate::uploads::Uploads;

    /// Returns a connection whose client is about to upload ten bytes, and the client.
    fn uploading() -> (Connection, UnixStream) {
        let waker = Waker::new(Poll::new().unwrap().registry(), Token(1)).map(Arc::new).unwrap();
        let lines = LineLimit::default();
        let places = Places::new(MemberLimits::default(), Arc::clone(&waker), lines.clone());
        let places = Arc::new(places);
        let (client, socket) = UnixStream::pair().unwrap();
        let held = places.admit(7, socket).unwrap();
        let (uploads, subordinate_users) = (Uploads::default(), "/nonexistent".into());
        let shared = Arc::new(Shared { places, uploads, waker, subordinate_users, lines });
        let peer = Peer { pid: 1, uid: 7 };
        let mut connection = Connection::new(held, peer, shared, channel().0);
        let reply = connection.begin_upload(10);
        assert_eq!(reply, Some(Reply::Done));
        (connection, client)
    }

    #[test]
    fn an_upload_and_the_request_after_it_have_a_deadline() {
        let begun = Instant::now();
        let (mut connection, client) = uploading();
        let deadline = connection.deadline.unwrap();
        assert!(deadline >= begun + UPLOAD_TIME && deadline <= Instant::now() + UPLOAD_TIME);
        send_bytes(&client, &[1; 6]);
        assert!(connection.turn().is_some());
        assert_eq!(connection.deadline, Some(deadline), "a packet does not postpone it");
        send_bytes(&client, &[1; 4]);
        assert!(connection.turn().is_some());
        assert!(connection.upload.is_none() && connection.deadline.unwrap() > deadline);
        connection.deadline = Some(Instant::now() + Duration::from_millis(20));
        assert!(connection.turn().is_none(), "no request came");
    }

    #[test]
    fn an_upload_that_takes_too_long_ends() {
        let (mut connection, _client) = uploading();
        connection.deadline = Some(Instant::now() + Duration::from_millis(20));
        assert!(connection.turn().is_none());
    }

    fn send_bytes(mut client: &UnixStream, bytes: &[u8]) {
        client.write_all(bytes).unwrap();
    }
}
