// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks that the patterns of a linker script still match the program's code.
//!
//! When a function is renamed or inlined, its pattern matches nothing. The function's code then
//! lies elsewhere in the program, where it can cost a create another page fault.

use anyhow::{Result, ensure};

use crate::map::{self, Section};

/// How many percent of the patterns may match nothing. Each change of the code costs a few
/// patterns, and a few have no measurable effect.
pub(crate) const MISSES_PERCENT: usize = 5;

/// The output section that the script lays code out in.
const OUTPUT: &str = ".text.create";

/// How well a linker script fits a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// How many patterns of code the script has.
    pub(crate) patterns: usize,
    /// Those that match nothing.
    pub(crate) misses: Vec<String>,
}

impl Fit {
    /// Returns how many patterns match code.
    pub(crate) fn hits(&self) -> usize {
        self.patterns - self.misses.len()
    }

    /// Returns whether few enough patterns match nothing for the script to stay as it is.
    pub(crate) fn is_good(&self) -> bool {
        self.misses.len() * 100 <= self.patterns * MISSES_PERCENT
    }
}

/// Compares the script's patterns of code with the map of the program it laid out.
///
/// Patterns of data are not compared: `scripts/order` writes them for each object file of the C
/// library whose code runs, whether or not the object file has data.
///
/// # Errors
/// The script has no patterns of code, or the map was not written by LLVM's linker, or the program
/// was linked without the script.
pub(crate) fn fit(map: &str, script: &str) -> Result<Fit> {
    let sections: Vec<_> =
        map::sections(map).into_iter().filter(|section| section.output == OUTPUT).collect();
    ensure!(!sections.is_empty(), "the map has no {OUTPUT}: the program was not laid out");
    let patterns: Vec<_> = script
        .lines()
        .skip_while(|line| !line.trim_start().starts_with(OUTPUT))
        .skip(1)
        .map(str::trim)
        .take_while(|line| *line != "}")
        .filter_map(Pattern::parse)
        .collect();
    ensure!(!patterns.is_empty(), "the linker script has no patterns for {OUTPUT}");
    let is_miss = |pattern: &&Pattern<'_>| !sections.iter().any(|section| pattern.matches(section));
    let misses = patterns.iter().filter(is_miss).map(|pattern| pattern.text.to_owned()).collect();
    Ok(Fit { patterns: patterns.len(), misses })
}

/// Object files of the C library that load shared libraries: name services. (`dlopen` itself is in
/// each static program, because the C library converts character sets with it, on request.)
const LOADERS: &[&str] = &["getaddrinfo.o", "getpwnam*.o", "getgrnam*.o", "nss_*.o"];

/// Returns the object files in the program that would load shared libraries. The program replaces
/// the part of the C library's start that this needs (`chaos/src/start/replaced.rs`).
pub(crate) fn loaders(map: &str) -> Vec<&str> {
    let object = |file: &str| {
        let (_, name) = file.strip_suffix(')')?.split_once("libc.a(")?;
        LOADERS.iter().any(|pattern| glob(pattern, name)).then_some(())
    };
    let mut files: Vec<_> = map::sections(map)
        .into_iter()
        .map(|section| section.file)
        .filter(|file| object(file).is_some())
        .collect();
    files.dedup();
    files
}

/// A line such as `*libc.a:exit.o(.text .text.*)`.
struct Pattern<'a> {
    text: &'a str,
    /// What is before the parenthesis: a path, or `ARCHIVE:OBJECT`.
    file: &'a str,
    sections: &'a str,
}

impl<'a> Pattern<'a> {
    /// Returns `None` for what is not a pattern of code.
    fn parse(text: &'a str) -> Option<Self> {
        let (file, sections) = text.strip_suffix(')')?.split_once('(')?;
        sections.starts_with(".text").then_some(Self { text, file, sections })
    }

    fn matches(&self, section: &Section<'_>) -> bool {
        let file = match (self.file.split_once(':'), section.file.strip_suffix(')')) {
            (None, _) => glob(self.file, section.file),
            (Some((archive, object)), Some(file)) => {
                let (in_archive, name) = file.split_once('(').unwrap_or((file, ""));
                glob(archive, in_archive) && glob(object, name)
            }
            (Some(_), None) => false,
        };
        file && self.sections.split_whitespace().any(|pattern| glob(pattern, section.name))
    }
}

/// Returns whether the text matches the pattern, in which `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    // The last part must fit at the end; each one before it where it first occurs.
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
     VMA      LMA     Size Align Out     In      Symbol
    1000     1000       90    64 .text.create
    1000     1000       20     1         /lib/x/libc.a(exit.o):(.text)
    1020     1020       40     1         /t/c.o:(.text._ZN5chaos3cli3run17h0123456789abcdefE)
    1020     1020       40     1                 chaos::cli::run
    1060     1060       10     1         /t/c.o:(.text._RNvNtCsgEmfK2I1SDS_4core3fmt5write)
    2000     2000      100    64 .text
    2000     2000       20     1         /t/c.o:(.text._ZN5chaos5other17h0123456789abcdefE)
";

    fn script(patterns: &str) -> String {
        format!(
            "/* Not .text.create here. */\nSECTIONS\n{{\n  .text.create : {{\n{patterns}  }}\n}}\n.rodata.create\n"
        )
    }

    #[test]
    fn patterns_that_match_code_are_hits() {
        let script = script(
            "    *(.iplt)\n    *libc.a:exit.o(.text .text.*)\n    *(.text._ZN5chaos3cli3run17h*)\n    \
             *(.text._RNvNtCs*_4core3fmt5write)\n",
        );
        assert_eq!(fit(MAP, &script).unwrap(), Fit { patterns: 3, misses: vec![] });
    }

    #[test]
    fn code_that_is_gone_or_lies_elsewhere_is_a_miss() {
        let script = script(
            "    *libc.a:abort.o(.text .text.*)\n    *(.text._ZN5chaos5other17h*)\n    \
             *(.text._RNvNtCs*_4core3fmt5write)\n",
        );
        let fit = fit(MAP, &script).unwrap();
        assert_eq!(fit.misses, ["*libc.a:abort.o(.text .text.*)", "*(.text._ZN5chaos5other17h*)"]);
        assert_eq!(fit.hits(), 1);
        assert!(!fit.is_good());
    }

    #[test]
    fn one_miss_of_twenty_is_good_and_two_are_not() {
        let fit = |misses| Fit { patterns: 20, misses: vec![String::new(); misses] };
        assert!(fit(1).is_good());
        assert!(!fit(2).is_good());
    }

    #[test]
    fn a_program_that_was_not_laid_out_is_refused() {
        let map = MAP.replace(".text.create", ".text");
        let error = fit(&map, &script("    *(.text.main)\n")).unwrap_err();
        assert!(error.to_string().contains("was not laid out"), "{error}");
    }

    #[test]
    fn name_services_load_libraries() {
        assert!(loaders(MAP).is_empty());
        let map = MAP.replace("exit.o", "getaddrinfo.o").replace("/t/c.o", "/x/libc.a(nss_db.o)");
        assert_eq!(loaders(&map), ["/lib/x/libc.a(getaddrinfo.o)", "/x/libc.a(nss_db.o)"]);
    }

    #[test]
    fn stars_stand_for_any_characters() {
        assert!(
            glob("*", "") && glob("a*", "a") && glob("*b*c", "abbc") && glob("*/x.o", "/t/x.o")
        );
        assert!(!glob("a*a", "a") && !glob("*b*b", "b") && !glob("a", "ab") && !glob("*b", "ba"));
    }
}
