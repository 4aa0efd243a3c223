// SPDX-License-Identifier: GPL-3.0-or-later
//! The schemas of `docs/schemas`, and what the command prints without Xen. What needs Xen is checked in
//! the system tests (`tests/src/schema.rs`).

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use chaos::clients::chaosd::protocol::FlavourStatus;
use chaos::guests::GuestState;
use serde_json::{Value, json};

/// Returns the schema with this name.
fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schemas/{name}.json"));
    serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
}

/// Returns what is wrong with a value.
fn errors(name: &str, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(&schema(name)).unwrap();
    validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// Runs `chaos` with a config on standard input, and returns the JSON that it prints.
fn printed(args: &[&str], config: &str) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn each_schema_is_a_valid_and_strict_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    let mut number = 0;
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert!(jsonschema::meta::is_valid(&parsed), "{text}");
        let count = |text: &str, part: &str| text.matches(part).count();
        assert_eq!(count(&text, "\"properties\""), count(&text, "\"additionalProperties\": false"));
        number += 1;
    }
    assert!(number >= 12, "{number} schemas");
}

#[test]
fn a_config_and_its_errors_match_their_schemas() {
    let config = "name='a'\ntype='pvh'\nkernel='/k'\nmemory=8\non_crash='rename-restart'\n\
                  disk=['/srv/a.img,raw,xvda,rw']\n\
                  vif=['ip=10.0.0.2/24 10.0.0.1,rate=10MB/s,vifname=v','mac=00:16:3e:00:00:01']";
    let whole = printed(&["config", "-"], config);
    assert_eq!(errors("config", &whole), [""; 0], "{whole:#}");
    let several = printed(
        &["create", "--dry-run", "-n", "2", "-"],
        "name='a'\ntype='pvh'\nkernel='/k'\nmemory=8",
    );
    assert_eq!(errors("config", &several), [""; 0], "{several:#}");
    let wrong = printed(&["create", "--json", "-"], "memory=0");
    assert_eq!(errors("config-errors", &wrong), [""; 0], "{wrong:#}");
    let mut changed = whole;
    changed["memory_mib"] = changed["memory_kib"].take();
    assert!(!errors("config", &changed).is_empty(), "a key has another name");
}

#[test]
fn the_schemas_have_all_states_and_all_keys_of_a_flavour() {
    let states = &schema("list")["items"]["properties"]["state"]["enum"];
    for state in [GuestState::Running, GuestState::Shell, GuestState::PendingRestart] {
        assert!(states.as_array().unwrap().contains(&json!(state)), "{state:?}");
    }
    let flavour = FlavourStatus {
        name: "small".into(),
        memory_kib: 8192,
        vcpus: 1,
        console: true,
        bridges: vec!["xenbr0".into()],
        disks: 0,
        kernel: None,
        is_learned: false,
        low: 1,
        high: 4,
        ready: 2,
        creating: 1,
        hits: 7,
        misses: 5,
        refill_ns: 0,
    };
    assert_eq!(errors("pool", &json!([flavour])), [""; 0]);
}
