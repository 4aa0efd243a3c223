// SPDX-License-Identifier: GPL-3.0-or-later
//! Man pages: one for each program and for each of its commands.
//!
//! `clap_mangen` writes all sections but those for the text below the arguments in `--help`. It would
//! join the lines of the examples.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::commands::Program;

/// Writes the pages of a program and of its commands to a folder.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(program: &Program, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {folder:?}"))?;
    let mut command = program.command.clone();
    // Carries out what describes the arguments of the commands, and sets their full names.
    command.build();
    write_tree(&command, program, folder)
}

fn write_tree(command: &Command, program: &Program, folder: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.{}", program.section));
    let mut page = Vec::new();
    render(command, program, &mut page)
        .and_then(|()| fs::write(&path, page))
        .with_context(|| format!("cannot write {path:?}"))?;
    visible(command).try_for_each(|below| write_tree(below, program, folder))
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

fn render(command: &Command, program: &Program, page: &mut Vec<u8>) -> io::Result<()> {
    let version = program.command.get_version().unwrap_or_default();
    let man = Man::new(command.clone())
        .section(program.section)
        .source(format!("chaos {version}"))
        .manual("chaos");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut below = Roff::default();
    let mut sections = Roff::default();
    for block in after.split("\n\n") {
        match block.split_once(":\n").filter(|(title, _)| !title.contains('\n')) {
            Some((title, lines)) => {
                sections.control("SH", [title.to_uppercase().as_str()]);
                literal(&mut sections, lines);
            }
            None => match block.split_once("Exit status: ") {
                Some(("", text)) => {
                    sections.control("SH", ["EXIT STATUS"]);
                    sections.text([roman(text)]);
                }
                _ => {
                    below.control("PP", []);
                    below.text([roman(block)]);
                }
            },
        }
    }
    below.to_writer(page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(page)?;
    }
    if visible(command).next().is_some() {
        man.render_subcommands_section(page)?;
    }
    sections.to_writer(page)?;
    see_also(command, program).to_writer(page)?;
    page.flush()
}

/// Appends lines as they are, without the indentation that they have in `--help`.
fn literal(page: &mut Roff, lines: &str) {
    page.control("PP", []);
    page.control("nf", []);
    for line in lines.lines() {
        page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    page.control("fi", []);
}

/// The pages that each page refers to, except for itself.
const PAGES: [&str; 5] = ["chaos(1)", "chaos.cfg(5)", "chaosd.toml(5)", "chaosd(8)", "noxsd(8)"];

fn see_also(command: &Command, program: &Program) -> Roff {
    let this = format!("{}({})", command.get_name(), program.section);
    let others: Vec<_> = PAGES.into_iter().filter(|page| *page != this).collect();
    let mut section = Roff::default();
    section.control("SH", ["SEE ALSO"]);
    section.text([roman(others.join(", "))]);
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    /// Returns the page of this name.
    fn page(name: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        for program in commands::all() {
            write(&program, folder.path()).unwrap();
        }
        fs::read_to_string(folder.path().join(name)).unwrap()
    }

    #[test]
    fn each_command_has_a_page_with_its_options_and_examples() {
        let text = page("chaos-create.1");
        for part in [
            ".SH OPTIONS",
            "dry\\-run",
            ".SH EXAMPLES",
            "\nchaos create redis.cfg",
            ".SH \"EXIT CODES\"",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(page("chaos-pool-resize.1").contains(".SH NAME"));
        assert!(page("chaos.1").contains("chaos\\-network\\-attach(1)"));
    }

    #[test]
    fn the_text_below_the_arguments_describes_the_command() {
        let text = page("chaos-destroy.1");
        let (description, options) = text.split_once(".SH OPTIONS").unwrap();
        assert!(description.contains("A guest gets no chance to shut down"), "{text}");
        assert!(!options.contains("A guest gets no chance to shut down"), "{text}");
    }

    #[test]
    fn the_daemons_have_pages_in_section_8() {
        for name in ["chaosd.8", "noxsd.8"] {
            let text = page(name);
            assert!(
                text.contains(".SH EXAMPLES") && text.contains(".SH \"EXIT STATUS\""),
                "{text}"
            );
            assert!(text.contains("chaos.cfg(5)"), "{text}");
        }
    }
}
