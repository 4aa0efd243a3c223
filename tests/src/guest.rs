// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest that a test creates and uses.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::run::chaos;
use crate::watch::{PATIENCE, wait_for_file};

/// Checks that a guest with redis answers over a connection.
///
/// # Panics
/// It does not.
#[track_caller]
pub fn ping(stream: &mut TcpStream) {
    stream.write_all(b"PING\r\n").expect("the guest takes the request");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("the guest answers");
    assert_eq!(&answer, b"+PONG\r\n");
}

/// A guest that is destroyed at the end of its test.
#[derive(Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its domid.
    pub domid: u64,
    /// What `create --json` printed.
    pub created: Value,
    destroyed: bool,
}

impl Guest {
    /// Creates a guest with `chaos create CONFIG ARGS...`.
    ///
    /// # Panics
    /// The command fails.
    #[track_caller]
    #[must_use]
    pub fn create(config: &str, args: &[&str]) -> Self {
        let mut all = vec!["create", "--json", config];
        all.extend(args);
        let created = chaos(&all).json();
        let name = created["name"].as_str().expect("create prints the name").to_owned();
        let domid = created["domid"].as_u64().expect("create prints the domid");
        Self { name, domid, created, destroyed: false }
    }

    /// Returns the guest's entry in `chaos list --json`, if it has one.
    ///
    /// # Panics
    /// `chaos list` fails.
    #[must_use]
    pub fn listed(&self) -> Option<Value> {
        let guests = chaos(&["list", "--json"]).json();
        let guests = guests.as_array().expect("list prints an array").clone();
        guests.into_iter().find(|guest| guest["domid"].as_u64() == Some(self.domid))
    }

    /// Returns the guest's state from `chaos list`.
    ///
    /// # Panics
    /// The guest is not listed.
    #[track_caller]
    #[must_use]
    pub fn state(&self) -> String {
        let listed = self.listed().unwrap_or_else(|| panic!("{} is not listed", self.name));
        listed["state"].as_str().expect("each guest has a state").to_owned()
    }

    /// Waits until the console log contains the text, and returns the log.
    ///
    /// # Panics
    /// The text does not appear in time (two minutes).
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        wait_for_file(&self.log_path(), text, |log| log.contains(text))
    }

    /// Returns the path of the guest's console log.
    #[must_use]
    pub fn log_path(&self) -> String {
        format!("/run/chaos/domains/{}/console.log", self.domid)
    }

    /// Destroys the guest.
    ///
    /// # Panics
    /// `chaos destroy` fails.
    #[track_caller]
    pub fn destroy(mut self) {
        self.destroyed = true;
        chaos(&["destroy", &self.name]).ok();
    }

    /// Drops the handle without destroying the guest, which exists no longer.
    pub fn forget(mut self) {
        self.destroyed = true;
    }

    /// Connects to a TCP port of a guest. The kernel retries until the guest answers.
    ///
    /// # Panics
    /// The guest does not answer in time (two minutes).
    #[track_caller]
    #[must_use]
    pub fn connect(address: &str) -> TcpStream {
        let address: SocketAddr = address.parse().expect("tests use numeric addresses");
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("{address} does not answer: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket takes a timeout");
        stream
    }

    /// Sends a request to a TCP port of a guest, and returns the answer. The answer is complete
    /// when it ends with `end`, or when the guest closes the connection; with an empty `end` only
    /// the latter.
    ///
    /// # Panics
    /// The guest does not answer.
    #[track_caller]
    #[must_use]
    pub fn ask(address: &str, request: &[u8], end: &[u8]) -> Vec<u8> {
        let mut stream = Self::connect(address);
        stream.write_all(request).expect("the guest takes the request");
        let mut answer = Vec::new();
        let mut byte = [0];
        while end.is_empty() || !answer.ends_with(end) {
            match stream.read(&mut byte).expect("the guest answers") {
                0 => break,
                _ => answer.push(byte[0]),
            }
        }
        answer
    }

    /// Opens the guest's console log.
    ///
    /// # Panics
    /// The log does not exist.
    #[must_use]
    pub fn log_file(&self) -> File {
        File::open(self.log_path()).expect("the log exists")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !self.destroyed {
            let ran = chaos(&["destroy", &self.name]);
            assert!(
                ran.code == Some(0) || std::thread::panicking(),
                "cannot destroy {}: {}",
                self.name,
                ran.stderr
            );
        }
    }
}
