// SPDX-License-Identifier: GPL-3.0-or-later
//! The command `chaos` as far as it gets without Xen: it reads the config before it opens Xen.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Runs `chaos` with some bytes on standard input.
fn chaos(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chaos starts");
    // The error of a command that does not read it all is not of interest.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input);
    child.wait_with_output().expect("chaos exits")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

const WRONG: &[u8] = b"name = 'a\xe2\x80\xae'\ntype = 'pvh'\nmemory = 0\nvcpus = 0\n";

#[test]
fn a_config_on_standard_input_is_read_and_all_its_errors_are_shown() {
    let ran = chaos(&["create", "-"], WRONG);
    assert_eq!(ran.status.code(), Some(2));
    assert_eq!(text(&ran.stdout), "");
    let errors: Vec<&str> =
        text(&ran.stderr).lines().filter(|line| line.starts_with("chaos: ")).collect();
    assert_eq!(
        errors,
        [
            "chaos: <standard input>:1:8: name = \"a\\u{202e}\": must not contain '\\u{202e}'",
            "chaos: <standard input>:3:10: memory = \"0\": must be at least 1 MiB",
            "chaos: <standard input>:4:9: vcpus = 0: must be 1 to 128",
            "chaos: <standard input>: kernel is missing; add a line such as kernel = \
             \"/boot/vmlinuz\"",
        ]
    );
}

#[test]
fn the_errors_of_a_config_are_printed_as_json() {
    let ran = chaos(&["create", "--json", "-", "vcpus=3"], WRONG);
    assert_eq!(ran.status.code(), Some(2));
    let printed: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let file = "<standard input>";
    assert_eq!(
        printed["errors"][1],
        json!({
            "file": file, "line": 3, "column": 10, "message": "memory = \"0\": must be at least 1 MiB",
        })
    );
    assert_eq!(
        printed["errors"][2],
        json!({
            "file": file, "line": null, "column": null,
            "message": "kernel is missing; add a line such as kernel = \"/boot/vmlinuz\"",
        })
    );
    assert_eq!(printed["errors"].as_array().unwrap().len(), 3);
    assert_eq!(printed["more"], false);
    let missing = chaos(&["create", "--json", "/no/such/file"], b"");
    let printed: Value = serde_json::from_slice(&missing.stdout).unwrap();
    let message = "cannot read the config /no/such/file: No such file or directory (os error 2)";
    assert_eq!(
        printed["errors"][0],
        json!({
            "file": "/no/such/file", "line": null, "column": null, "message": message,
        })
    );
    let not_text = chaos(&["create", "--json", "-"], b"name = 'a'\n\xff");
    let printed: Value = serde_json::from_slice(&not_text.stdout).unwrap();
    assert_eq!(
        printed["errors"][0],
        json!({
            "file": file, "line": 2, "column": null, "message": "a config must be UTF-8 text",
        })
    );
}

#[test]
fn the_excerpt_of_a_config_and_a_file_name_send_no_commands_to_the_terminal() {
    let ran = chaos(&["create", "-"], b"memory = 'a\x1b[2J\xe2\x80\xae'");
    assert!(!text(&ran.stderr).contains(['\x1b', '\u{202e}']), "{:?}", text(&ran.stderr));
    let ran = chaos(&["create", "no\x1b[2J\nsuch.cfg"], b"");
    assert!(text(&ran.stderr).starts_with("chaos: cannot read the config no\\x1b[2J\\nsuch.cfg"));
}

#[test]
fn arguments_that_are_missing_or_no_assignment_are_refused_readably() {
    let refused = |args: &[&str]| {
        let ran = chaos(args, b"name = 'a'\ntype = 'pvh'\nkernel = 'k'\n");
        assert_eq!(ran.status.code(), Some(2));
        text(&ran.stderr).to_owned()
    };
    for fields in [&[][..], &["", ","]] {
        assert_eq!(
            refused(&[&["block-attach", "redis"], fields].concat()),
            "chaos: the fields of the disk are missing; add those of a string of disk=, such as \
             /srv/a.img,raw,xvdb,rw\n"
        );
    }
    let garbage = refused(&["create", "-", "garbage"]);
    assert_eq!(
        garbage.lines().next(),
        Some(
            "chaos: <command line>:1:8: unexpected end of the text; expected '=' or '+=' after the \
             key, as in memory = 16"
        )
    );
}
