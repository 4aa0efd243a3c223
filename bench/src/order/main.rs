//! `order`: finds which code a command runs, for the order in which a linker script lays it out
//! (`chaos/link/order.ld`), and checks that such a script still fits the program. `scripts/order`
//! runs the first two steps, `scripts/test` the check.

mod check;
mod map;
mod steps;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Finds which code a command runs.
#[derive(Debug, Parser)]
enum Args {
    /// Runs a command step by step and prints the address of each piece of code it runs, in
    /// hexadecimal, those first that it runs first.
    Steps {
        /// The program, with its path.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Reads such addresses from the standard input and prints the patterns of the linker's input
    /// sections that they lie in, one in a line.
    Sections {
        /// What LLVM's linker has written with `-Map`.
        map: PathBuf,
    },
    /// Fails if more than 5 % of a linker script's patterns find no code in the program.
    Check {
        /// What LLVM's linker has written with `-Map` when it laid the program out.
        map: PathBuf,
        /// The linker script.
        script: PathBuf,
    },
}

fn main() -> Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    match Args::parse() {
        Args::Steps { program, args } => {
            for address in steps::addresses(&program, &args)? {
                writeln!(output, "{address:x}")?;
            }
        }
        Args::Sections { map } => {
            for pattern in map::patterns(&fs::read_to_string(map)?, io::stdin().lock())? {
                writeln!(output, "    {pattern}")?;
            }
        }
        Args::Check { map, script } => {
            let read = |path: &Path| {
                fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
            };
            let fit = check::fit(&read(&map)?, &read(&script)?)?;
            for pattern in &fit.misses {
                writeln!(output, "finds no code: {pattern}")?;
            }
            writeln!(output, "{} of {} patterns find code", fit.hits(), fit.patterns)?;
            output.flush()?;
            ensure!(
                fit.is_good(),
                "{}: more than {} % of its patterns find no code: run scripts/order to renew it",
                script.display(),
                check::MISSES_PERCENT
            );
        }
    }
    Ok(output.flush()?)
}
