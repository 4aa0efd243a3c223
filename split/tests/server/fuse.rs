// SPDX-License-Identifier: GPL-3.0-or-later
//! A file of a FUSE file system whose server does not answer: a process that asks for its metadata, reads
//! it or closes it waits for ever.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use chaos::clients::chaosd::protocol::{self, Request};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tempfile::TempDir;

use super::bed::{Bed, MEMBER, as_member, assert_closed};

// Requests of the protocol (linux/fuse.h).
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const OPEN: u32 = 14;
const INIT: u32 = 26;

/// The number of the only file.
const NODE: u64 = 2;

/// A mounted file system with one file, called `file`. Its server answers what it takes to open the
/// file, and nothing else.
struct Stalling {
    folder: TempDir,
    /// The number of each request that is not answered.
    unanswered: Receiver<u32>,
}

impl Stalling {
    /// Returns `None` where FUSE cannot be used.
    fn mount() -> Option<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let folder = tempfile::tempdir().unwrap();
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("stalling"), folder.path(), Some("fuse"), flags, Some(OsStr::new(&options)))
            .ok()?;
        let (sender, unanswered) = channel();
        thread::spawn(move || answer(device, &sender));
        Some(Self { folder, unanswered })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Stalling {
    fn drop(&mut self) {
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH | MntFlags::MNT_FORCE);
    }
}

/// Answers requests until the file system is unmounted.
fn answer(mut device: File, unanswered: &Sender<u32>) {
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        assert!(length >= 40, "a header");
        let opcode = u32::from_le_bytes(request[4..8].try_into().unwrap());
        let unique = &request[8..16];
        let body = match opcode {
            INIT => init(),
            LOOKUP => entry(),
            OPEN => vec![0; 16],
            FORGET => continue,
            other => {
                let _ = unanswered.send(other);
                continue;
            }
        };
        let length = u32::try_from(16 + body.len()).unwrap();
        let answer = [&length.to_le_bytes()[..], &[0; 4], unique, &body].concat();
        device.write_all(&answer).unwrap();
    }
}

/// `struct fuse_init_out`: version 7.31, no features.
fn init() -> Vec<u8> {
    let mut out = vec![0; 64];
    out[0..4].copy_from_slice(&7u32.to_le_bytes());
    out[4..8].copy_from_slice(&31u32.to_le_bytes());
    out[20..24].copy_from_slice(&4096u32.to_le_bytes());
    out
}

/// `struct fuse_entry_out`: a regular file that all may read, not to be cached.
fn entry() -> Vec<u8> {
    let mut out = vec![0; 40 + 88];
    out[0..8].copy_from_slice(&NODE.to_le_bytes());
    let attributes = &mut out[40..];
    attributes[0..8].copy_from_slice(&NODE.to_le_bytes());
    attributes[8..16].copy_from_slice(&4096u64.to_le_bytes());
    attributes[60..64].copy_from_slice(&0o100_444u32.to_le_bytes());
    attributes[64..68].copy_from_slice(&1u32.to_le_bytes());
    out
}

#[test]
fn a_descriptor_that_never_answers_does_not_stop_the_server() {
    let bed = Bed::new();
    // Declared first, so that it is closed last, also if this test fails: the close waits for the
    // server below.
    let file;
    let Some(stalling) = Stalling::mount() else {
        return eprintln!("not tested: FUSE cannot be used here");
    };
    let Some(client) = as_member(MEMBER, || bed.raw()) else { return };
    file = File::open(stalling.path().join("file")).unwrap();
    let packet = protocol::encode(&Request::Drain).unwrap();
    let fds = [file.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let parts = [IoSlice::new(&packet)];
    sendmsg::<()>(client.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
    assert_closed(&client);
    bed.assert_serves();
    assert_eq!(stalling.unanswered.try_iter().count(), 0, "the server has not touched the file");
    // Closing it waits, which is why it must never be opened in a daemon.
    let closing = thread::spawn(move || drop(file));
    let flush = 25;
    assert_eq!(stalling.unanswered.recv().unwrap(), flush);
    assert!(!closing.is_finished());
    drop(stalling);
    closing.join().unwrap();
}
