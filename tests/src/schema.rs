// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks the JSON that commands print against `docs/schemas`.

use serde_json::Value;

/// Returns the schema of what a command prints with `--json`; `None` if it is not a command of chaos.
fn of_command(command: &str) -> Option<&'static str> {
    let mut words = command.strip_prefix("chaos ")?.split(' ');
    Some(match words.next()? {
        "create" if command.contains(" --dry-run") => "config",
        "reboot" => "shutdown",
        "create" => "create",
        "config" => "config",
        "list" if command.contains(" -l") => "list-long",
        "list" => "list",
        "destroy" => "destroy",
        "shutdown" => "shutdown",
        "pool" => "pool",
        "network-attach" => "network-attach",
        "network-list" => "network-list",
        "block-attach" => "block-attach",
        "block-list" => "block-list",
        other => panic!("chaos {other} prints JSON, and docs/schemas has no schema for it"),
    })
}

/// Checks what a command has printed. Does nothing for other programs than chaos.
///
/// # Panics
/// It does not match the schema.
#[track_caller]
pub(crate) fn check(command: &str, printed: &Value) {
    if let Some(schema) = of_command(command) {
        assert_matches(schema, printed);
        if schema == "list-long" {
            let configs = printed.as_array().into_iter().flatten().map(|one| &one["config"]);
            configs.for_each(|config| assert_matches("config", config));
        }
    }
}

/// Checks a value against the schema with this name.
///
/// # Panics
/// It does not match, or there is no such schema.
#[track_caller]
pub fn assert_matches(schema: &str, value: &Value) {
    macro_rules! schemas {
        ($($name:literal),*) => {
            match schema {
                $($name => include_str!(concat!("../../docs/schemas/", $name, ".json")),)*
                other => panic!("there is no schema {other}"),
            }
        };
    }
    let text = schemas!(
        "block-attach",
        "block-list",
        "config",
        "create",
        "destroy",
        "event",
        "list",
        "list-long",
        "network-attach",
        "network-list",
        "pool",
        "shutdown"
    );
    let parsed: Value = serde_json::from_str(text).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&parsed).expect("it is a schema");
    let errors: Vec<_> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "docs/schemas/{schema}.json: {errors:#?}\n{value:#}");
}
