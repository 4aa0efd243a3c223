// SPDX-License-Identifier: GPL-3.0-or-later
//! One client: it sends one request, and gets one answer or events without end.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::level::Level;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, sendmsg};

use super::http::{self, Answer, Format, MAX_HEAD, Problem, Wanted};
use super::subscriber::Subscriber;

/// How long a client may take for its request and for reading the answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Where a client has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The Unix socket, which only root may open.
    Root,
    /// Loopback, which every user of dom0 may open.
    Loopback,
}

/// How far a client has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// It sends its request.
    Asks(Vec<u8>),
    /// It waits for the metrics.
    Waits(Format),
    /// It reads an answer, of which this many bytes were sent.
    Reads(Arc<Answer>, usize),
    /// It reads events.
    Follows(Subscriber),
}

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    token: Token,
    pub(super) door: Door,
    pub(super) stage: Stage,
    /// Until when it must have read its answer; `None` if it reads events.
    pub(super) deadline: Option<Instant>,
    /// What the poll waits for, beside the end of the connection.
    awaited: Option<Interest>,
}

/// The connection is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over;

impl Connection {
    /// Waits for the request of a client, whose socket does not block.
    ///
    /// # Errors
    /// The kernel cannot wait for it.
    pub(super) fn new(
        socket: OwnedFd,
        door: Door,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        registry.register(&mut Level(socket.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self {
            socket,
            token,
            door,
            stage: Stage::Asks(Vec::new()),
            deadline: Some(Instant::now() + DEADLINE),
            awaited: Some(Interest::READABLE),
        })
    }

    /// Returns its token in the poll.
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Takes what the client has sent. Returns what it wants, once it has said that.
    ///
    /// # Errors
    /// It has closed the connection.
    pub(super) fn receive(&mut self) -> Result<Option<Result<Wanted, Problem>>, Over> {
        let Stage::Asks(head) = &mut self.stage else {
            // Only the end is awaited. What a client sends beyond its request is ignored.
            return Err(Over);
        };
        let mut part = [0; 1024];
        match recv(self.socket.as_raw_fd(), &mut part, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Err(Over),
            Ok(length) => head.extend(&part[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(_) => return Err(Over),
        }
        head.truncate(MAX_HEAD);
        Ok(http::parse(head, self.door == Door::Root).transpose())
    }

    /// Sends as much as the client takes.
    ///
    /// # Errors
    /// It has all of its answer, or has closed the connection.
    pub(super) fn send(&mut self, registry: &Registry) -> Result<(), Over> {
        loop {
            let pieces: [&[u8]; 2] = match &self.stage {
                Stage::Asks(_) | Stage::Waits(_) => [&[], &[]],
                Stage::Reads(answer, sent) => answer.rest(*sent),
                Stage::Follows(subscriber) => [subscriber.waiting(), &[]],
            };
            if pieces.iter().all(|piece| piece.is_empty()) {
                return match self.stage {
                    Stage::Reads(..) => Err(Over),
                    Stage::Asks(_) => Ok(()),
                    Stage::Waits(_) | Stage::Follows(_) => self.wait_for(None, registry),
                };
            }
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let pieces = pieces.map(IoSlice::new);
            match sendmsg::<()>(self.socket.as_raw_fd(), &pieces, &[], flags, None) {
                Ok(length) => match &mut self.stage {
                    Stage::Reads(_, sent) => *sent += length,
                    Stage::Follows(subscriber) => subscriber.sent(length),
                    Stage::Asks(_) | Stage::Waits(_) => {}
                },
                Err(Errno::EAGAIN) => return self.wait_for(Some(Interest::WRITABLE), registry),
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Over),
            }
        }
    }

    fn wait_for(&mut self, wanted: Option<Interest>, registry: &Registry) -> Result<(), Over> {
        if wanted == self.awaited {
            return Ok(());
        }
        let mut source = Level(self.socket.as_raw_fd());
        let waits = match wanted {
            Some(interest) => registry.reregister(&mut source, self.token, interest),
            None => source.only_end(registry, self.token),
        };
        // Without that, the client would be forgotten.
        waits.map_err(|_| Over)?;
        self.awaited = wanted;
        Ok(())
    }
}
