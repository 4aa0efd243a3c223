// SPDX-License-Identifier: GPL-3.0-or-later
//! `order`: finds the code that a command runs, so that a linker script can lay it out in that order
//! (`chaos/link/order.ld`), and checks that such a script still fits the program. `scripts/order`
//! runs `entries` and `sections`, `scripts/test` runs `check`.

mod check;
mod entries;
mod map;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Finds the code that a command runs, and checks the linker script that lays it out.
#[derive(Debug, Parser)]
enum Args {
    /// Runs a command with a breakpoint at each function. Prints the addresses of the functions that
    /// it runs, in hexadecimal, in the order in which it first runs them.
    Entries {
        /// The map that LLVM's linker has written with `-Map` when it linked the program, at fixed
        /// addresses.
        map: PathBuf,
        /// The program, with its path.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Reads such addresses from standard input, and prints a pattern for each input section of the
    /// linker that contains one, one per line.
    Sections {
        /// The map that LLVM's linker has written with `-Map`.
        map: PathBuf,
    },
    /// Fails if more than 5 % of a linker script's patterns match no code in the program, or if the
    /// program would load shared libraries.
    Check {
        /// The map that LLVM's linker has written with `-Map` when it used the script.
        map: PathBuf,
        /// The linker script.
        script: PathBuf,
    },
}

fn main() -> Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    match Args::parse() {
        Args::Entries { map, program, args } => {
            let functions = map::functions(&read(&map)?);
            for address in entries::reached(&functions, &program, &args)? {
                writeln!(output, "{address:x}")?;
            }
        }
        Args::Sections { map } => {
            for pattern in map::patterns(&read(&map)?, io::stdin().lock())? {
                writeln!(output, "    {pattern}")?;
            }
        }
        Args::Check { map, script } => {
            let map = read(&map)?;
            let loaders = check::loaders(&map);
            ensure!(
                loaders.is_empty(),
                "the program would load shared libraries, for which chaos/src/start/replaced.rs \
                 leaves it unprepared: it contains {}",
                loaders.join(", ")
            );
            let fit = check::fit(&map, &read(&script)?)?;
            for pattern in &fit.misses {
                writeln!(output, "matches no code: {pattern}")?;
            }
            writeln!(output, "{} of {} patterns match code", fit.hits(), fit.patterns)?;
            output.flush()?;
            ensure!(
                fit.is_good(),
                "{}: more than {} % of its patterns match no code; run scripts/order to renew it",
                script.display(),
                check::MISSES_PERCENT
            );
        }
    }
    Ok(output.flush()?)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
