// SPDX-License-Identifier: GPL-3.0-or-later
//! What chaos and noxsd have stored of a guest, if something else has written it.
#![no_main]

use chaos::records::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Record::decode(bytes);
    if let Ok(record) = noxs_control::record::DeviceRecord::decode(bytes) {
        let written = record.encode().expect("it is as short as it was");
        let again = noxs_control::record::DeviceRecord::decode(&written);
        assert_eq!(again.expect("it was read before"), record);
    }
});
