// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages of XenStore, as a server reads them from a guest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenstore::{Frame, Message, Request};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((frame, behind))) = Frame::split(rest) {
        assert!(behind.len() < rest.len());
        rest = behind;
        if let Err(malformed) = Request::parse(&frame) {
            let _ = malformed.name();
        }
    }
    let _ = Message::read_from(&mut &*bytes);
});
