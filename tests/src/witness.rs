// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest that must not notice what happens to the processes in dom0.

use std::fs;
use std::net::TcpStream;

use crate::guest::{Guest, ping};

/// A guest that runs through all rounds of a test, with a connection that stays open.
#[derive(Debug)]
pub struct Witness {
    guest: Guest,
    stream: TcpStream,
    record: Vec<u8>,
}

impl Witness {
    /// Creates the guest with `chaos create redis.cfg ARGS...`, and connects to it.
    ///
    /// # Panics
    /// The guest cannot be created, or does not answer.
    #[must_use]
    pub fn new(args: &[&str]) -> Self {
        let guest = Guest::create("redis.cfg", args);
        let stream = Guest::connect("10.0.0.2:6379");
        let record = record(&guest);
        Self { guest, stream, record }
    }

    /// Returns the guest.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Destroys the guest.
    pub fn destroy(self) {
        self.guest.destroy();
    }

    /// Checks that the guest answers over the same connection.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn answers(&mut self) {
        ping(&mut self.stream);
    }

    /// Checks that the guest's record is unchanged: domid, handle and time of creation among other
    /// things.
    ///
    /// # Panics
    /// It has changed.
    #[track_caller]
    pub fn is_recorded(&self) {
        assert_eq!(record(&self.guest), self.record);
        let listed = self.guest.listed().expect("it is listed");
        assert_eq!(listed["handle"], self.guest.created["handle"]);
    }
}

fn record(guest: &Guest) -> Vec<u8> {
    fs::read(format!("/run/chaos/domains/{}/record", guest.domid)).expect("it is there")
}
