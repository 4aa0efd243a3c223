// SPDX-License-Identifier: GPL-3.0-or-later
//! Completions for shells.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap_complete::Shell;

use crate::commands::Program;

/// The shells, and the folders of their completions.
const SHELLS: [(Shell, &str); 3] =
    [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")];

/// Writes the completions of a program for each shell to a folder below this one.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(program: &Program, folder: &Path) -> Result<()> {
    let name = program.command.get_name().to_owned();
    for (shell, below) in SHELLS {
        let folder = folder.join(below);
        fs::create_dir_all(&folder)
            .and_then(|()| {
                clap_complete::generate_to(shell, &mut program.command.clone(), &name, &folder)
            })
            .with_context(|| format!("cannot write the completions of {name} to {folder:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    #[test]
    fn each_shell_completes_commands_and_options() {
        let folder = tempfile::tempdir().unwrap();
        for program in commands::all() {
            write(&program, folder.path()).unwrap();
        }
        for file in ["bash/chaos.bash", "zsh/_chaos", "fish/chaos.fish"] {
            let text = fs::read_to_string(folder.path().join(file)).unwrap();
            for word in ["network-attach", "dry-run", "resize"] {
                assert!(text.contains(word), "{file} does not complete {word}");
            }
        }
        let text = fs::read_to_string(folder.path().join("bash/noxsd.bash")).unwrap();
        assert!(text.contains("--bridge"), "{text}");
    }
}
