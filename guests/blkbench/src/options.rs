// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of the command line.

use alloc::format;
use alloc::string::String;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sequential or random requests of one kind.
    Bench {
        /// What the requests do.
        kind: Kind,
        /// Whether their offsets are random.
        random: bool,
    },
    /// Writes numbered blocks.
    Verify,
    /// Reads numbered blocks.
    Check,
}

/// What requests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Discard.
    Discard,
}

/// The arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// The mode's name.
    pub name: &'a str,
    /// What to do.
    pub mode: Mode,
    /// Bytes of a request.
    pub block_size: u64,
    /// Requests in flight.
    pub depth: usize,
    /// The number of requests, or the last block to check.
    pub count: u64,
    /// How many bytes of the disk to use, if not all.
    pub span: Option<u64>,
    /// How many writes there are from one flush to the next; 0 if there are no flushes.
    pub flush: u64,
    /// Changes the random offsets.
    pub seed: u64,
    /// The number of the first block.
    pub from: u64,
    /// Identifies a run in its blocks.
    pub run: u64,
    /// Whether to wait for a disk that is added while the guest runs, and release it when it is
    /// removed, again and again.
    pub hot: bool,
}

/// The most requests in flight: as many as a ring has slots.
const DEEPEST: u64 = 32;

/// Parses a command line.
///
/// # Errors
/// Returns what is wrong, in one line.
pub fn parse(line: &str) -> Result<Options<'_>, String> {
    let mut arguments = line.split_ascii_whitespace();
    let name = arguments.next().unwrap_or("");
    let bench = |kind, random| Mode::Bench { kind, random };
    let mode = match name {
        "read" => bench(Kind::Read, false),
        "write" => bench(Kind::Write, false),
        "randread" => bench(Kind::Read, true),
        "randwrite" => bench(Kind::Write, true),
        "discard" => bench(Kind::Discard, false),
        "verify" => Mode::Verify,
        "check" => Mode::Check,
        _ => {
            return Err(format!(
                "cmdline: {name:?} is not a mode; must be read, write, randread, randwrite, \
                 discard, verify or check"
            ));
        }
    };
    let mut options = Options {
        name,
        mode,
        block_size: 4096,
        depth: 1,
        count: 1000,
        span: None,
        flush: if mode == Mode::Verify { 64 } else { 0 },
        seed: 1,
        from: 1,
        run: 0,
        hot: false,
    };
    for argument in arguments {
        let (key, text) = argument.split_once('=').unwrap_or((argument, ""));
        let Ok(value) = text.parse::<u64>() else {
            return Err(format!("cmdline: {argument:?} is not KEY=NUMBER"));
        };
        let least = match key {
            "bs" => 512,
            "qd" | "count" | "from" => 1,
            _ => 0,
        };
        if value < least || (key == "qd" && value > DEEPEST) {
            let most = if key == "qd" { " and at most 32" } else { "" };
            return Err(format!("cmdline: {argument}: must be at least {least}{most}"));
        }
        match key {
            "bs" => options.block_size = value,
            "qd" => options.depth = usize::try_from(value).unwrap_or(1),
            "count" => options.count = value,
            "span" => options.span = Some(value),
            "flush" => options.flush = value,
            "seed" => options.seed = value,
            "from" => options.from = value,
            "run" => options.run = value,
            "hot" => options.hot = value != 0,
            _ => {
                return Err(format!(
                    "cmdline: {key:?} is not an argument; must be bs, qd, count, span, flush, \
                     seed, from, run or hot"
                ));
            }
        }
    }
    if mode == Mode::Verify && options.flush == 0 {
        return Err(String::from("cmdline: flush=0: must be at least 1 for verify"));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_defaults_and_any_order() {
        let options = parse("randwrite  qd=32 bs=512 span=1048576").unwrap();
        assert_eq!(options.mode, Mode::Bench { kind: Kind::Write, random: true });
        assert_eq!((options.depth, options.block_size, options.span), (32, 512, Some(1 << 20)));
        assert_eq!((options.count, options.flush), (1000, 0));
        assert_eq!(parse("verify run=7").unwrap().flush, 64);
        assert!(parse("verify hot=1").unwrap().hot && !parse("verify").unwrap().hot);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, message) in [
            ("", "\"\" is not a mode"),
            ("erase", "\"erase\" is not a mode"),
            ("read qd", "\"qd\" is not KEY=NUMBER"),
            ("read qd=x", "\"qd=x\" is not KEY=NUMBER"),
            ("read qd=0", "qd=0: must be at least 1 and at most 32"),
            ("read qd=33", "qd=33: must be at least 1 and at most 32"),
            ("read bs=511", "bs=511: must be at least 512"),
            ("read depth=1", "\"depth\" is not an argument"),
            ("verify flush=0", "flush=0: must be at least 1 for verify"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
