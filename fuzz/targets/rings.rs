// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest that writes its rings and pages as it likes, next to one that does not.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| noxsd::domains::fuzzing::hostile_guest(bytes));
