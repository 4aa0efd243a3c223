// SPDX-License-Identifier: GPL-3.0-or-later
//! One client's connection: what it is used for, and the output that waits for room in its socket.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;

use daemon::clients::Client;
use daemon::packet;
use mio::{Interest, Registry};
use nix::errno::Errno;
use noxs_control::DomainId;

use crate::console::log::LIMIT;
use crate::domains::Domains;
use crate::host::Host;

/// Most bytes of output that wait for a console's client: a whole log.
const OUTPUT_WAITING: usize = 128 * 1024;

const _: () = assert!(OUTPUT_WAITING as u64 == LIMIT);

/// Most bytes of a console's output in one packet.
const OUTPUT_PACKET: usize = 4096;

/// Most bytes of input in one packet of a console's client.
pub(super) const INPUT_PACKET: usize = 4096;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Requests,
    Console(DomainId),
    Watch,
    WatchDevices,
}

/// The server's state of a client.
#[derive(Debug)]
pub(super) struct State {
    pub(super) mode: Mode,
    /// The poll has reported a packet.
    pub(super) readable: bool,
    /// The client has closed its end.
    pub(super) closed: bool,
    /// The server would take a packet now.
    pub(super) accepts_packets: bool,
    /// The number of its request that waits for a disk, if there is one.
    pub(super) waits: Option<u64>,
    /// A reply for which the socket had no room.
    reply: Option<Vec<u8>>,
    /// Console output for which the socket had no room.
    output: VecDeque<u8>,
    /// Bytes of output that were dropped since output was last sent.
    lost: usize,
}

impl State {
    /// Returns the state of a client that has just connected.
    pub(super) fn new() -> Self {
        Self {
            mode: Mode::Requests,
            readable: false,
            closed: false,
            accepts_packets: true,
            waits: None,
            reply: None,
            output: VecDeque::new(),
            lost: 0,
        }
    }

    /// Returns whether a packet of this client can be taken now.
    pub(super) fn may_read<H: Host>(&self, domains: &Domains<H>) -> bool {
        match self.mode {
            Mode::Requests | Mode::Watch | Mode::WatchDevices => {
                self.reply.is_none() && self.waits.is_none()
            }
            Mode::Console(id) => domains.input_room(id) >= INPUT_PACKET,
        }
    }

    /// Keeps a reply until it is sent.
    pub(super) fn set_reply(&mut self, packet: Vec<u8>) {
        self.reply = Some(packet);
    }

    /// Keeps output until it is sent. Drops the oldest if it is too much.
    pub(super) fn add_output(&mut self, output: &[u8]) {
        self.output.extend(output);
        let excess = self.output.len().saturating_sub(OUTPUT_WAITING);
        self.output.drain(..excess);
        self.lost += excess;
    }

    /// Returns what the poll must wait for: packets if they would be taken, and room in the socket
    /// if output waits for it. If the poll always waited for room, each reply that a client reads
    /// would wake this process for nothing.
    fn wanted(&self) -> Option<Interest> {
        match (self.accepts_packets, self.reply.is_some() || !self.output.is_empty()) {
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

/// Sends waiting output as far as the socket has room. If some is left, the poll reports when there
/// is room again.
pub(super) fn flush(client: &mut Client<State>, registry: &Registry) -> io::Result<()> {
    client.state.send_waiting(&client.socket)?;
    await_more(client, registry)
}

/// Makes the poll wait for what this client needs.
pub(super) fn await_more(client: &mut Client<State>, registry: &Registry) -> io::Result<()> {
    client.wait_for(client.state.wanted(), registry)
}
