//! What one connection is used for, and what waits to be sent over it.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;

use daemon::clients::Client;
use daemon::packet;
use mio::{Interest, Registry};
use nix::errno::Errno;
use noxs_control::DomainId;

use super::server::INPUT_PACKET;
use crate::domains::Domains;
use crate::host::Host;

/// Output that waits for a console's client, in bytes.
const OUTPUT_WAITING: usize = 64 * 1024;

/// Bytes of a console's output that go into one packet.
const OUTPUT_PACKET: usize = 4096;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Requests,
    Console(DomainId),
    Watch,
}

/// What the server knows of a client.
#[derive(Debug)]
pub(super) struct State {
    pub(super) mode: Mode,
    /// The poll has reported a packet.
    pub(super) readable: bool,
    /// A packet would be taken now.
    pub(super) reads: bool,
    /// The reply that the socket has had no room for.
    reply: Option<Vec<u8>>,
    /// Console output that the socket has had no room for.
    output: VecDeque<u8>,
    /// Bytes of output that were dropped since the last that was sent.
    lost: usize,
}

impl State {
    /// Returns the state of a client that has just connected.
    pub(super) fn new() -> Self {
        Self {
            mode: Mode::Requests,
            readable: false,
            reads: true,
            reply: None,
            output: VecDeque::new(),
            lost: 0,
        }
    }

    /// Whether a packet of this client can be taken now.
    pub(super) fn may_read<H: Host>(&self, domains: &Domains<H>) -> bool {
        match self.mode {
            Mode::Requests | Mode::Watch => self.reply.is_none(),
            Mode::Console(id) => domains.input_room(id) >= INPUT_PACKET,
        }
    }

    /// Keeps a reply until it is sent.
    pub(super) fn set_reply(&mut self, packet: Vec<u8>) {
        self.reply = Some(packet);
    }

    /// Keeps output until it is sent; if that is too much, the oldest is dropped.
    pub(super) fn add_output(&mut self, output: &[u8]) {
        self.output.extend(output);
        let excess = self.output.len().saturating_sub(OUTPUT_WAITING);
        self.output.drain(..excess);
        self.lost += excess;
    }

    /// What the poll is to wait for: a packet if one would be taken, room if something waits for
    /// it. Otherwise each reply that a client reads would wake this process for nothing.
    fn wanted(&self) -> Option<Interest> {
        match (self.reads, self.reply.is_some() || !self.output.is_empty()) {
            (true, false) => Some(Interest::READABLE),
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    fn send_waiting(&mut self, socket: &UnixStream) -> Result<(), Errno> {
        if let Some(reply) = &self.reply {
            match packet::send(socket, reply, &[]) {
                Ok(()) => self.reply = None,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        while !self.output.is_empty() {
            let length = self.output.len().min(OUTPUT_PACKET);
            let note = match self.lost {
                0 => Vec::new(),
                lost => format!("\r\n[noxsd: {lost} bytes of output lost]\r\n").into_bytes(),
            };
            let packet = [&note[..], &self.output.make_contiguous()[..length]].concat();
            match packet::send(socket, &packet, &[]) {
                Ok(()) => {
                    self.output.drain(..length);
                    self.lost = 0;
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Sends what waits, as far as the socket has room. If something is left, the poll reports when to
/// go on.
pub(super) fn flush(client: &mut Client<State>, registry: &Registry) -> io::Result<()> {
    client.state.send_waiting(&client.socket)?;
    await_more(client, registry)
}

/// Has the poll wait for what is wanted of this client.
pub(super) fn await_more(client: &mut Client<State>, registry: &Registry) -> io::Result<()> {
    client.wait_for(client.state.wanted(), registry)
}
