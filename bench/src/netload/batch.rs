// SPDX-License-Identifier: GPL-3.0-or-later
//! Frames that one system call sends or receives.
//!
//! `unsafe`: the system calls follow pointers to the frames.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{MSG_WAITFORONE, c_uint, iovec, mmsghdr, msghdr, recvmmsg, sendmmsg};

use crate::socket::Socket;

/// Buffers for frames of one length.
#[derive(Debug)]
pub(crate) struct Batch {
    length: usize,
    bytes: Box<[u8]>,
}

impl Batch {
    /// The number of frames.
    pub(crate) const FRAMES: usize = 64;

    /// Allocates buffers.
    pub(crate) fn new(length: usize) -> Self {
        Self { length, bytes: vec![0; length * Self::FRAMES].into() }
    }

    /// Returns the buffer of a frame.
    pub(crate) fn frame(&mut self, number: usize) -> &mut [u8] {
        &mut self.bytes[number * self.length..][..self.length]
    }

    /// Sends the frames, waits until there is room for the first, and returns how many were sent.
    pub(crate) fn send(&mut self, socket: &Socket) -> Result<usize> {
        self.call(|messages, count| {
            // SAFETY: the call reads `count` messages, which have the pointers of `call`.
            unsafe { sendmmsg(socket.as_raw_fd(), messages, count, 0) }
        })
        .context("cannot send")
    }

    /// Receives frames, waits for the first one, and returns how many there were.
    pub(crate) fn receive(&mut self, socket: &Socket) -> Result<usize> {
        self.call(|messages, count| {
            // SAFETY: the call writes `count` messages, which have the pointers of `call`, and
            // their buffers, which `call` has borrowed mutably. It has no time-out.
            unsafe {
                let none = std::ptr::null_mut();
                recvmmsg(socket.as_raw_fd(), messages, count, MSG_WAITFORONE, none)
            }
        })
        .context("cannot receive")
    }

    /// Calls a function with messages that consist of one buffer each, which live until it returns.
    fn call(&mut self, call: impl FnOnce(*mut mmsghdr, c_uint) -> i32) -> nix::Result<usize> {
        let length = self.length;
        let base = self.bytes.as_mut_ptr();
        let mut buffers: [iovec; Self::FRAMES] = std::array::from_fn(|number| iovec {
            // In bounds: `new` has allocated so many buffers.
            iov_base: base.wrapping_add(number * length).cast(),
            iov_len: length,
        });
        let first = buffers.as_mut_ptr();
        let mut messages: [mmsghdr; Self::FRAMES] = std::array::from_fn(|number| {
            // SAFETY: a message of zeros is valid: it has no address, no buffers and no control data.
            let mut message: msghdr = unsafe { std::mem::zeroed() };
            message.msg_iov = first.wrapping_add(number);
            message.msg_iovlen = 1;
            mmsghdr { msg_hdr: message, msg_len: 0 }
        });
        let count = call(messages.as_mut_ptr(), c_uint::try_from(Self::FRAMES).unwrap_or_default());
        let count = Errno::result(count)?;
        Ok(usize::try_from(count).unwrap_or_default())
    }
}
