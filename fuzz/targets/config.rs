// SPDX-License-Identifier: GPL-3.0-or-later
//! Config files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for strict in [true, false] {
        // An argument of the command has another grammar.
        for (text, arguments) in [(text, &[][..]), ("", &[text.to_owned()][..])] {
            match chaos::config::parse_str("fuzz.cfg", text, arguments, strict) {
                Ok(parsed) => drop(format!("{:?}", parsed.warnings)),
                Err(errors) => assert!(!errors.to_string().is_empty()),
            }
        }
    }
});
