// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses the usual command lines of `chaos create` without `clap`, which would take a tenth of the
//! command's time to describe the arguments.
//!
//! All other command lines are left to `clap` ([`super::grammar`]). A test checks that both agree.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::CreateArgs;

/// Parses the arguments after `chaos create`. Returns `None` if `clap` must parse them, which is
/// also the case if they are wrong.
pub(super) fn create(arguments: impl Iterator<Item = OsString>) -> Option<CreateArgs> {
    let mut args = CreateArgs {
        config: PathBuf::new(),
        overrides: Vec::new(),
        store: None,
        count: None,
        no_daemon: false,
        paused: false,
        console: false,
        strict: false,
        dry_run: false,
        timings: false,
        json: false,
        quiet: false,
    };
    let mut config = None;
    for argument in arguments {
        let flag = match argument.as_encoded_bytes() {
            b"-q" | b"--quiet" => &mut args.quiet,
            b"-p" | b"--paused" => &mut args.paused,
            b"--no-daemon" => &mut args.no_daemon,
            b"--timings" => &mut args.timings,
            b"--json" => &mut args.json,
            // An empty argument, another flag, or `--`.
            [] | [b'-', ..] => return None,
            _ if config.is_none() => {
                config = Some(PathBuf::from(argument));
                continue;
            }
            _ => {
                args.overrides.push(argument.into_string().ok()?);
                continue;
            }
        };
        // A repeated flag is an error, and so is `--quiet` with `--json` or `--timings`.
        if std::mem::replace(flag, true) || (args.quiet && (args.json || args.timings)) {
            return None;
        }
    }
    args.config = config?;
    Some(args)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::args::Command;
    use super::super::grammar::parse;
    use super::*;

    proptest! {
        #[test]
        fn the_result_is_that_of_clap(
            arguments in proptest::collection::vec(
                proptest::sample::select(vec![
                    "-q", "--quiet", "-p", "--paused", "--no-daemon", "--timings", "--json", "-qp",
                    "a.cfg", "memory=4", "vif=['ip=10.0.0.2']", "x", "", "-", "--", "-n", "3", "-n3",
                    "-c", "--console", "--strict", "--dry-run", "--help", "--quie", "-h", "--json=1",
                ]),
                0..6,
            ),
        ) {
            let plain = create(arguments.iter().map(OsString::from));
            let all = ["chaos", "create"].iter().chain(&arguments).map(OsString::from);
            match (plain, parse(all)) {
                (Some(plain), Ok(Command::Create(clap))) => {
                    prop_assert_eq!(format!("{plain:?}"), format!("{clap:?}"));
                }
                (Some(plain), other) => prop_assert!(false, "{plain:?}, but clap: {other:?}"),
                (None, _) => {}
            }
        }
    }

    #[test]
    fn usual_command_lines_are_parsed() {
        let parsed = |text: &str| create(text.split(' ').map(OsString::from));
        for text in ["redis.cfg", "-q redis.cfg memory=4", "--no-daemon a b=1 c=2", "a -p --json"] {
            assert!(parsed(text).is_some(), "{text}");
        }
    }
}
