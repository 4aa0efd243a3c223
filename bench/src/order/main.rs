//! `order`: which code a command runs, for the order in which a linker script lays it out
//! (`chaos/order.ld`). `scripts/order` takes it through both steps.

mod map;
mod steps;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Result;
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
            for pattern in map::patterns(&std::fs::read_to_string(map)?, io::stdin().lock())? {
                writeln!(output, "    {pattern}")?;
            }
        }
    }
    Ok(output.flush()?)
}
