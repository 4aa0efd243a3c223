//! A guest of a test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::Value;

use crate::run::chaos;

/// How long a guest may take for anything. Emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A guest that is destroyed at the end of its test.
#[derive(Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its number.
    pub domid: u64,
    /// What `create --json` printed.
    pub created: Value,
    destroyed: bool,
}

impl Guest {
    /// Creates a guest with `chaos create CONFIG ARGS...`.
    ///
    /// # Panics
    /// `chaos` refuses.
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

    /// The guest's line of `chaos list --json`, if it has one.
    ///
    /// # Panics
    /// `chaos list` fails.
    #[must_use]
    pub fn listed(&self) -> Option<Value> {
        let guests = chaos(&["list", "--json"]).json();
        let guests = guests.as_array().expect("list prints an array").clone();
        guests.into_iter().find(|guest| guest["domid"].as_u64() == Some(self.domid))
    }

    /// The guest's state as listed.
    ///
    /// # Panics
    /// It is not listed.
    #[track_caller]
    #[must_use]
    pub fn state(&self) -> String {
        let listed = self.listed().unwrap_or_else(|| panic!("{} is not listed", self.name));
        listed["state"].as_str().expect("each guest has a state").to_owned()
    }

    /// Waits until the console log contains the text; gives the log.
    ///
    /// # Panics
    /// It does not within a minute.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        let path = format!("/run/chaos/domains/{}/console.log", self.domid);
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .expect("inotify can be used");
        inotify.add_watch(path.as_str(), AddWatchFlags::IN_MODIFY).expect("the log is there");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read(&path).expect("the log can be read");
            let log = String::from_utf8_lossy(&log).into_owned();
            if log.contains(text) {
                return log;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} has not printed {text:?}:\n{log}", self.name);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let fd = PollFd::new(std::os::fd::AsFd::as_fd(&inotify), PollFlags::POLLIN);
            poll(&mut [fd], timeout).expect("inotify can be waited for");
            // What exactly changed does not matter: the log is read again.
            let _ = inotify.read_events();
        }
    }

    /// Destroys the guest.
    ///
    /// # Panics
    /// `chaos` refuses.
    #[track_caller]
    pub fn destroy(mut self) {
        self.destroyed = true;
        chaos(&["destroy", &self.name]).ok();
    }

    /// The guest is gone already, by the test's own doing.
    pub fn forget(mut self) {
        self.destroyed = true;
    }

    /// Connects to a TCP port of a guest. The kernel tries again until the guest answers.
    ///
    /// # Panics
    /// It does not answer within a minute.
    #[track_caller]
    #[must_use]
    pub fn connect(address: &str) -> TcpStream {
        let address: SocketAddr = address.parse().expect("tests use numeric addresses");
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("{address} does not answer: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("sockets have time-outs");
        stream
    }

    /// Sends a request to a TCP port of a guest and reads until it closes, or until the answer
    /// ends with `end`.
    ///
    /// # Panics
    /// It does not answer.
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
    /// There is none.
    #[must_use]
    pub fn log_file(&self) -> File {
        let path = format!("/run/chaos/domains/{}/console.log", self.domid);
        File::open(path).expect("the log is there")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !self.destroyed {
            let ran = chaos(&["destroy", &self.name]);
            assert!(
                ran.code == Some(0) || std::thread::panicking(),
                "{} cannot be destroyed: {}",
                self.name,
                ran.stderr
            );
        }
    }
}
