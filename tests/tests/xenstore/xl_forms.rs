// SPDX-License-Identifier: GPL-3.0-or-later
//! Gives forms of configs to `xl create -n` and to `chaos config`, and compares what each understands.

mod devices;
mod domain;
mod rows;
mod understood;

use serde_json::Value;
use system_tests::{Ran, XenStoreBed, chaos, run};

use rows::Row;
use understood::{of_chaos, of_xl};

/// What each config begins with. A row may say something else, because the last value of a key holds.
const BASE: &str = "name='forms'\ntype='pvh'\nkernel='/root/noop'\n";

/// What both programs have said to a config.
struct Read {
    xl: Ran,
    chaos: Ran,
}

impl Read {
    fn of(bed: &XenStoreBed, text: &str) -> Self {
        // A byte order mark is at the beginning of a file.
        let text = match text.strip_prefix('\u{feff}') {
            Some(text) => format!("\u{feff}{BASE}{text}\n"),
            None => format!("{BASE}{text}\n"),
        };
        let path = bed.bed.file("forms.cfg", text);
        // The JSON of a dry run goes to standard output (`create_domain`, tools/xl/xl_vmcontrol.c).
        Self { xl: run("xl", &["create", "-q", "-n", &path]), chaos: chaos(&["config", &path]) }
    }

    /// Checks that both have accepted the config, and returns what each has understood.
    fn understood(self, text: &str) -> (Value, Value) {
        let xl = serde_json::from_str(&self.xl.ok()).expect("xl prints JSON");
        (of_xl(&xl, text), of_chaos(&self.chaos.json()))
    }

    fn refused_by_chaos(self, words: &str) {
        assert_eq!(self.chaos.code, Some(2), "{}", self.chaos.stdout);
        assert!(self.chaos.stderr.contains(words), "{words:?} in {}", self.chaos.stderr);
    }
}

/// Returns a value that a table has as JSON.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Checks that a part of a config was understood so.
fn assert_part(understood: &Value, pointer: &str, expected: &str, who: &str) {
    assert_eq!(understood.pointer(pointer), Some(&json(expected)), "{who}: {pointer}");
}

/// Checks that both have understood the same, but for some parts.
fn assert_equal(mut xl: Value, mut chaos: Value, except: &[&str]) {
    // chaos has no soft reset: it restarts the guest (docs/config.md, Differences from xl). This concerns
    // each config that does not set the key.
    let soft_reset = xl["on_soft_reset"] == "soft-reset";
    for pointer in except.iter().copied().chain(soft_reset.then_some("/on_soft_reset")) {
        for value in [&mut xl, &mut chaos] {
            *value.pointer_mut(pointer).expect("the part was compared before") = Value::Null;
        }
    }
    assert_eq!(chaos, xl);
}

fn check(bed: &XenStoreBed, row: &Row) {
    match *row {
        Row::Same(text, parts) => {
            let (xl, chaos) = Read::of(bed, text).understood(text);
            for (pointer, expected) in parts {
                assert_part(&xl, pointer, expected, "xl");
            }
            assert_equal(xl, chaos, &[]);
        }
        Row::Differs(text, _, parts) => {
            let (xl, chaos) = Read::of(bed, text).understood(text);
            for (pointer, of_xl, of_chaos) in parts {
                assert_part(&xl, pointer, of_xl, "xl");
                assert_part(&chaos, pointer, of_chaos, "chaos");
            }
            let except: Vec<&str> = parts.iter().map(|(pointer, ..)| *pointer).collect();
            assert_equal(xl, chaos, &except);
        }
        Row::Refused(text, words) => {
            let read = Read::of(bed, text);
            assert_ne!(read.xl.code, Some(0), "xl accepts it: {}", read.xl.stdout);
            read.refused_by_chaos(words);
        }
        Row::OnlyXl(text, _, words) => {
            let read = Read::of(bed, text);
            read.xl.clone().ok();
            read.refused_by_chaos(words);
        }
        Row::OnlyChaos(text, _, parts) => {
            let read = Read::of(bed, text);
            assert_ne!(read.xl.code, Some(0), "xl accepts it: {}", read.xl.stdout);
            let understood = of_chaos(&read.chaos.json());
            for (pointer, expected) in parts {
                assert_part(&understood, pointer, expected, "chaos");
            }
        }
        Row::AtCreate(text, _, words) => {
            let read = Read::of(bed, text);
            assert_ne!(read.xl.code, Some(0), "xl accepts it: {}", read.xl.stdout);
            read.chaos.ok();
            let path = bed.bed.file("create.cfg", format!("{BASE}memory=8\n{text}\n"));
            chaos(&["create", "--paused", "--store=xenstore", &path]).refused(2, &[words]);
        }
    }
}

/// Checks all rows of a table, and then reports those that failed.
fn check_all(rows: &[Row]) {
    let bed = XenStoreBed::new();
    let failed = |row: &&Row| {
        let checked = || check(&bed, row);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(checked)).is_err()
    };
    let failed: Vec<_> = rows.iter().filter(failed).map(Row::config_and_reason).collect();
    assert!(failed.is_empty(), "rows that do not hold, and why the programs differ: {failed:#?}");
}

#[test]
fn memory_and_cpus_are_read_as_by_xl() {
    check_all(domain::MEMORY_AND_CPUS);
}

#[test]
fn other_keys_of_the_domain_are_read_as_by_xl() {
    check_all(domain::OTHER_KEYS);
}

#[test]
fn the_syntax_is_that_of_xl() {
    check_all(domain::SYNTAX);
}

#[test]
fn vifs_and_their_rates_are_read_as_by_xl() {
    check_all(devices::VIFS);
}

#[test]
fn disks_are_read_as_by_xl() {
    check_all(devices::DISKS);
}

#[test]
fn keys_without_effect_on_pvh_guests_are_those_of_xl() {
    check_all(devices::EMULATED);
    // None of these changes what xl or chaos understands, and chaos names it in its warning.
    let bed = XenStoreBed::new();
    let (without, _) = Read::of(&bed, "memory=8").understood("");
    for text in devices::IGNORED {
        let read = Read::of(&bed, &format!("memory=8\n{text}"));
        let key = text.split('=').next().expect("a key");
        assert!(
            read.chaos.stderr.contains(&format!("{key} has no effect on a PVH guest")),
            "{text}: {}",
            read.chaos.stderr
        );
        let (xl, chaos) = read.understood("");
        assert_eq!(xl, without, "{text}");
        assert_equal(xl, chaos, &[]);
    }
}
