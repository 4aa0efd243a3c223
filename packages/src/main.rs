// SPDX-License-Identifier: GPL-3.0-or-later
//! `manual FOLDER`: writes the man pages and the completions of the programs, from the descriptions
//! with which they parse their arguments.
//!
//! A program of its own, so that neither generator is linked into the programs.

mod commands;
mod completions;
#[allow(dead_code, reason = "chaos parses with these modules, this program only describes")]
mod described;
mod pages;

use std::path::PathBuf;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: manual FOLDER")?;
    let folder = PathBuf::from(folder);
    for program in commands::all() {
        pages::write(&program, &folder.join("man"))?;
        completions::write(&program, &folder.join("completions"))?;
    }
    Ok(())
}
