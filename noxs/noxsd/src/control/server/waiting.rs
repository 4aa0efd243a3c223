// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests that are carried out later: those with a disk whose file is locked until operations are
//! finished that a guest has left behind. Other clients and guests are served meanwhile.

use std::os::fd::OwnedFd;
use std::time::Instant;

use noxs_control::Request;

use super::Server;
use crate::block::DRAIN;
use crate::console::ClientId;
use crate::control::session::{self, Session};
use crate::domains::Domains;
use crate::host::Host;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    key: usize,
    /// Distinguishes its client from a later one with the same key.
    number: u64,
    request: Request,
    files: Vec<OwnedFd>,
    /// When it is carried out, and refused if the file is still locked.
    deadline: Instant,
}

impl Server {
    /// Keeps a request until its disks are free, but not for ever. Nothing is read from the client
    /// meanwhile.
    pub(super) fn postpone(
        &mut self,
        key: usize,
        request: Request,
        files: Vec<OwnedFd>,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(key) else { return };
        self.postponed += 1;
        let number = self.postponed;
        client.state.waits = Some(number);
        self.waiting.push(Waiting { key, number, request, files, deadline: now + DRAIN });
    }

    /// Returns when [`turn`](Self::turn) has something to do although nothing has happened.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    /// Returns whether a request need not wait any more.
    pub(super) fn is_over<H: Host>(&self, domains: &Domains<H>) -> bool {
        self.waiting.iter().any(|waiting| domains.draining(&waiting.request).is_none())
    }

    /// Carries out the requests that need not wait any more, and those that have waited for too long.
    pub(super) fn answer_waiting<H: Host>(
        &mut self,
        domains: &mut Domains<H>,
        session: &mut Session<'_>,
        now: Instant,
    ) {
        let mut place = 0;
        while let Some(waiting) = self.waiting.get(place) {
            let draining = domains.draining(&waiting.request);
            if let Some(image) = draining {
                if waiting.deadline > now {
                    place += 1;
                    continue;
                }
                tracing::warn!(
                    "the storage of disk {} has not answered requests of a guest that is gone",
                    image.path
                );
            }
            let Waiting { key, number, request, files, .. } = self.waiting.remove(place);
            let Some(client) = self.clients.get_mut(key) else { continue };
            if client.state.waits != Some(number) {
                continue;
            }
            client.state.waits = None;
            let from = session::From { client: ClientId(key), files };
            let answer = session.answer(request, from, domains, self, now);
            self.reply(key, answer);
            // It may have sent another request meanwhile.
            self.clients.queue(key);
        }
    }
}
