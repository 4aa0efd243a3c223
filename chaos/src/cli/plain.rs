//! The command lines of `chaos create` that are used a thousand times in a second, parsed without
//! describing all others first: that takes a tenth of what the whole command takes.
//!
//! Everything else is left to `clap` ([`super::grammar`]). A test checks that both understand the
//! same.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::CreateArgs;

/// Parses the arguments after `chaos create`. Returns `None` if `clap` has to parse them, which also
/// reports what is wrong with them.
pub(super) fn create(words: impl Iterator<Item = OsString>) -> Option<CreateArgs> {
    let mut args = CreateArgs {
        config: PathBuf::new(),
        overrides: Vec::new(),
        store: None,
        count: None,
        no_daemon: false,
        paused: false,
        console: false,
        strict: false,
        timings: false,
        json: false,
        quiet: false,
    };
    let mut config = None;
    for word in words {
        let flag = match word.as_encoded_bytes() {
            b"-q" | b"--quiet" => &mut args.quiet,
            b"-p" | b"--paused" => &mut args.paused,
            b"--no-daemon" => &mut args.no_daemon,
            b"--timings" => &mut args.timings,
            b"--json" => &mut args.json,
            // An empty argument, another flag, or what follows `--`.
            [] | [b'-', ..] => return None,
            _ if config.is_none() => {
                config = Some(PathBuf::from(word));
                continue;
            }
            _ => {
                args.overrides.push(word.into_string().ok()?);
                continue;
            }
        };
        // Twice is an error, and so are these together.
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
    use super::super::grammar::of_words;
    use super::*;

    proptest! {
        #[test]
        fn what_is_understood_is_what_clap_understands(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "-q", "--quiet", "-p", "--paused", "--no-daemon", "--timings", "--json", "-qp",
                    "a.cfg", "memory=4", "vif=['ip=10.0.0.2']", "x", "", "-", "--", "-n", "3", "-n3",
                    "-c", "--console", "--strict", "--help", "--quie", "-h", "--json=1",
                ]),
                0..6,
            ),
        ) {
            let plain = create(words.iter().map(OsString::from));
            let all = ["chaos", "create"].iter().chain(&words).map(OsString::from);
            match (plain, of_words(all)) {
                (Some(plain), Ok(Command::Create(clap))) => {
                    prop_assert_eq!(format!("{plain:?}"), format!("{clap:?}"));
                }
                (Some(plain), other) => prop_assert!(false, "{plain:?} and {other:?}"),
                (None, _) => {}
            }
        }
    }

    #[test]
    fn the_plain_ones_are_understood() {
        let words = |text: &str| create(text.split(' ').map(OsString::from));
        for text in ["redis.cfg", "-q redis.cfg memory=4", "--no-daemon a b=1 c=2", "a -p --json"] {
            assert!(words(text).is_some(), "{text}");
        }
    }
}
