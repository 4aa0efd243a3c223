// SPDX-License-Identifier: GPL-3.0-or-later
//! Frames of guests and of the tap, with their offloads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| noxsd::net::fuzzing::frame(bytes));
