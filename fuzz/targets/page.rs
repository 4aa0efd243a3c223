// SPDX-License-Identifier: GPL-3.0-or-later
//! The device page as a guest reads it: whatever it contains, it is refused, or what was read is
//! written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noxs::DevicePage;
use noxs::layout::PAGE_SIZE;

fuzz_target!(|bytes: &[u8]| {
    let mut page = [0; PAGE_SIZE];
    let length = bytes.len().min(PAGE_SIZE);
    page[..length].copy_from_slice(&bytes[..length]);
    if let Ok(read) = DevicePage::decode(&page) {
        let again = DevicePage::decode(&read.encode()).expect("it was read before");
        assert_eq!(again, read);
    }
});
