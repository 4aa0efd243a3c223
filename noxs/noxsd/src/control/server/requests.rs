// SPDX-License-Identifier: GPL-3.0-or-later
//! Handles the packets of clients.

use std::time::Instant;

use daemon::encoding::DecodeError;
use daemon::packet::Packet;
use noxs_control::{MAX_FILES, MAX_PACKET, PROTOCOL, Refusal, Reply, Request};

use super::{MAX_PINNED, Server};
use crate::console::ClientId;
use crate::control::client::{INPUT_PACKET, Mode, flush};
use crate::control::session::{self, Answer, Session};
use crate::domains::Domains;
use crate::host::Host;

impl Server {
    /// Handles a packet. Returns `None` if the client must be disconnected.
    pub(super) fn take<H: Host>(
        &mut self,
        key: usize,
        packet: Packet,
        domains: &mut Domains<H>,
        session: &mut Session<'_>,
        now: Instant,
    ) -> Option<()> {
        match self.clients.get_mut(key)?.state.mode {
            Mode::Requests => {
                let request = decode(&packet, &self.buffer)?;
                if domains.draining(&request).is_some() {
                    self.postpone(key, request, packet.files, now);
                    return Some(());
                }
                let from = session::From { client: ClientId(key), files: packet.files };
                let pins = matches!(
                    request,
                    Request::Console { .. } | Request::Watch | Request::WatchDevices
                );
                let answer = if pins && self.is_full_of_pinned() {
                    let text = format!(
                        "{MAX_PINNED} consoles and watches are connected, the most that noxsd \
                         serves: close one"
                    );
                    Answer::Reply(Reply::Refused(Refusal::Invalid(text)))
                } else {
                    session.answer(request, from, domains, self, now)
                };
                self.reply(key, answer);
                Some(())
            }
            Mode::Console(id) => {
                let input = &self.buffer[..packet.length];
                let fits = !packet.cut && input.len() <= INPUT_PACKET;
                (fits && domains.input(id, ClientId(key), input).is_ok()).then_some(())
            }
            // A watch sends nothing.
            Mode::Watch | Mode::WatchDevices => None,
        }
    }

    pub(super) fn reply(&mut self, key: usize, answer: Answer) {
        let Some((client, registry)) = self.clients.get_with_registry(key) else { return };
        let packet = match answer {
            Answer::Reply(reply) => noxs_control::encode(&reply),
            Answer::Console { id, role, history } => {
                client.state.mode = Mode::Console(id);
                client.state.add_output(&history);
                noxs_control::encode(&Reply::Console(role))
            }
            Answer::Watch => {
                client.state.mode = Mode::Watch;
                self.watchers += 1;
                noxs_control::encode(&Reply::Done)
            }
            Answer::WatchDevices => {
                client.state.mode = Mode::WatchDevices;
                noxs_control::encode(&Reply::Done)
            }
        };
        let Some(packet) = packet else {
            tracing::warn!("a reply is longer than {MAX_PACKET} bytes; its client is disconnected");
            return self.closing.push(key);
        };
        client.state.set_reply(packet);
        if flush(client, registry).is_err() {
            self.closing.push(key);
        }
    }
}

/// Decodes a request, or logs why its sender is disconnected.
fn decode(packet: &Packet, buffer: &[u8]) -> Option<Request> {
    if packet.cut || packet.length > MAX_PACKET {
        tracing::warn!(
            "a client sent a packet of more than {MAX_PACKET} bytes or {MAX_FILES} files; it is \
             disconnected"
        );
        return None;
    }
    match noxs_control::decode(&buffer[..packet.length]) {
        Ok(request) => Some(request),
        Err(DecodeError::Version { found, .. }) => {
            tracing::warn!(
                "a client uses version {found} of the protocol: must be {PROTOCOL}; it is disconnected \
                 (after an upgrade, restart noxsd and chaosd)"
            );
            None
        }
        Err(DecodeError::Malformed) => {
            tracing::warn!("a client sent a malformed request; it is disconnected");
            None
        }
    }
}
