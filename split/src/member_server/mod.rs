// SPDX-License-Identifier: GPL-3.0-or-later
//! The socket of users other than root, and its clients.
//!
//! Such a user is hostile. A packet can bring descriptors that chaosd does not take: the kernel
//! drops them in the call that receives the packet or closes the socket, and to drop one can take
//! as long as its owner wants (a socket that lingers, a file of a FUSE file system). So the main
//! thread never receives from a member's socket and never closes one. Each connection has a thread
//! of its own, which does both, and passes requests to the main thread; its place is taken until
//! the thread has ended. Another thread accepts the connections.
//!
//! ```text
//! accept      the thread that accepts connections, and refuses those that have no place
//! connection  the thread of a connection
//! places      how many connections there are, and of whom
//! subordinate which user IDs are those of another user's containers
//! ```

mod accept;
mod connection;
mod places;
mod subordinate;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use chaos::clients::chaosd::protocol::{Reply, Request};
use chaos::timings::Timings;
use mio::Waker;

use crate::line_limit::LineLimit;
use crate::server::{Answer, Files, Peer, Serve};
use crate::settings::MemberLimits;
use crate::uploads::{UploadedFile, Uploads};

use places::Places;
pub use places::{MAX_THREADS, MEMBER_CLIENTS};
pub use subordinate::SUBORDINATE_USERS;

/// What the threads share.
#[derive(Debug)]
struct Shared {
    places: Arc<Places>,
    uploads: Uploads,
    waker: Arc<Waker>,
    /// The file with the subordinate users.
    subordinate_users: PathBuf,
    /// Limits the lines about connections and uploads.
    lines: LineLimit,
}

/// What a connection's thread asks of the main thread.
#[derive(Debug)]
enum Order {
    /// Carry out a request.
    Serve(Box<MemberRequest>),
    /// Drop the uploaded files that are out of use, to make room for another one.
    DropUploads(Sender<()>),
}

/// A member's request.
#[derive(Debug)]
struct MemberRequest {
    peer: Peer,
    request: Request,
    files: Vec<Arc<UploadedFile>>,
    timings: Timings,
    /// Where the reply goes. The connection's thread waits for it.
    reply: Sender<Reply>,
}

/// The main thread's end: the requests of members, in the order in which they came.
#[derive(Debug)]
pub struct MemberServer {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    queued: VecDeque<Order>,
    /// Where replies go that the service gives later, by number.
    waiting: HashMap<u64, Sender<Reply>>,
}

impl MemberServer {
    /// Starts to accept the clients of a listening socket. `waker` wakes the main thread, which
    /// then calls [`collect`](Self::collect). `subordinate_users` is a file in the format of
    /// [`SUBORDINATE_USERS`], which is read at each connection.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        listener: UnixListener,
        waker: Arc<Waker>,
        limits: MemberLimits,
        subordinate_users: &Path,
    ) -> io::Result<Self> {
        listener.set_nonblocking(false)?;
        let lines = LineLimit::default();
        let places = Arc::new(Places::new(limits, Arc::clone(&waker), lines.clone()));
        let uploads = Uploads::new(lines.clone());
        let subordinate_users = subordinate_users.to_owned();
        let shared = Arc::new(Shared { places, uploads, waker, subordinate_users, lines });
        let (sender, orders) = channel();
        accept::start(listener, Arc::clone(&shared), sender)?;
        Ok(Self { shared, orders, queued: VecDeque::new(), waiting: HashMap::new() })
    }

    /// Replaces the limits. Connections and files that exceed the new ones are kept.
    pub fn limit(&self, limits: MemberLimits) {
        self.shared.places.limit(limits);
    }

    /// Takes the requests that have arrived.
    pub fn collect(&mut self) {
        self.queued.extend(self.orders.try_iter());
    }

    /// Returns whether a request waits for its turn.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Serves the next request. Returns `true` if there was one.
    pub fn turn(&mut self, service: &mut impl Serve) -> bool {
        let Some(order) = self.queued.pop_front() else { return false };
        match order {
            Order::Serve(request) => {
                let MemberRequest { peer, request, files, timings, reply } = *request;
                match service.serve(peer, request, Files::Uploaded(files), timings) {
                    Answer::Now(answer) => {
                        // Only this leaves work: other requests must not put off the refill.
                        if matches!(answer, Reply::Created(_)) {
                            service.after();
                        }
                        // It fails if the thread has ended, which it does only when this one exits.
                        let _ = reply.send(answer);
                    }
                    Answer::Later(number) => {
                        self.waiting.insert(number, reply);
                    }
                }
            }
            Order::DropUploads(done) => {
                service.drop_uploads();
                let _ = done.send(());
            }
        }
        true
    }

    /// Sends a reply that was promised with [`Answer::Later`], and returns it if it is not for a
    /// member.
    pub fn answer(&mut self, number: u64, reply: Reply) -> Option<Reply> {
        match self.waiting.remove(&number) {
            Some(waiting) => {
                let _ = waiting.send(reply);
                None
            }
            None => Some(reply),
        }
    }

    /// Takes no more connections and packets than those that were sent before. Remove the socket's
    /// path first. Then requests come until [`is_done`](Self::is_done).
    pub fn stop(&self) {
        self.shared.places.stop();
    }

    /// Returns whether all that was sent before [`stop`](Self::stop) is answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.queued.is_empty() && self.shared.places.are_done()
    }
}
