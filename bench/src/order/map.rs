// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses the map that LLVM's linker writes, and derives patterns for the linker's input sections.

use std::collections::HashSet;
use std::io::BufRead;

use anyhow::{Context, Result};

/// An input section of code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    start: u64,
    size: u64,
    /// Its name, such as `.text.main`.
    pub(crate) name: &'a str,
    /// Its object file, or `ARCHIVE(OBJECT)`.
    pub(crate) file: &'a str,
    /// The output section that the linker put it into.
    pub(crate) output: &'a str,
}

/// Returns a pattern for each section that contains one of the addresses, each once, in the order
/// of the addresses.
pub(crate) fn patterns(map: &str, addresses: impl BufRead) -> Result<Vec<String>> {
    let mut sections = sections(map);
    sections.sort_by_key(|section| section.start);
    let (mut seen, mut patterns) = (HashSet::new(), Vec::new());
    for line in addresses.lines() {
        let line = line?;
        let address = u64::from_str_radix(line.trim(), 16)
            .with_context(|| format!("{line:?} is not a hexadecimal address"))?;
        let after = sections.partition_point(|section| section.start <= address);
        let Some(section) = after.checked_sub(1).map(|index| &sections[index]) else { continue };
        // Skip code that no input section in the map contains, such as the kernel's vDSO.
        if address < section.start + section.size && seen.insert(section.start) {
            let pattern = pattern(section);
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
    }
    Ok(patterns)
}

/// Returns the addresses of the functions that the map lists: where each input section of code begins,
/// and each symbol in one.
pub(crate) fn functions(map: &str) -> Vec<u64> {
    let mut functions = Vec::new();
    // The end of the current input section of code, or 0.
    let mut end = 0;
    for line in map.lines() {
        let Some((start, size)) = place(&mut line.split_whitespace()) else { continue };
        if let Some((_, section)) = line.rsplit_once(":(") {
            end = if section.starts_with(".text") { start + size } else { 0 };
        } else if output_section(line).is_some() {
            end = 0;
        }
        // A symbol without a size may be behind the last instruction.
        if start < end {
            functions.push(start);
        }
    }
    functions.sort_unstable();
    functions.dedup();
    functions
}

/// Returns the input sections of code that the map lists, by address, address in the file, size
/// and alignment, each below its output section:
///
/// ```text
///           26cec0           26cec0    12345    64 .text.create
///           26cec0           26cec0     421d     1         /folder/chaos.o:(.text.main)
/// ```
pub(crate) fn sections(map: &str) -> Vec<Section<'_>> {
    let mut output = "";
    let section = |line| {
        let line: &str = line;
        if let Some(name) = output_section(line) {
            output = name;
        }
        let (before, section) = line.rsplit_once(":(")?;
        let name = section.strip_suffix(')').filter(|name| name.starts_with(".text"))?;
        let mut words = before.split_whitespace();
        let (start, size) = place(&mut words)?;
        Some(Section { start, size, name, file: words.last()?, output })
    };
    map.lines().filter_map(section).filter(|section| section.size > 0).collect()
}

/// Takes the four numbers at the beginning of a line, and returns the address and the size.
fn place<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<(u64, u64)> {
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let (start, _, size, _) = (number()?, number()?, number()?, number()?);
    Some((start, size))
}

/// Returns the name of the output section, if the line is one of an output section: its name is one
/// space behind the fourth number. Those of input sections and symbols are indented further.
fn output_section(line: &str) -> Option<&str> {
    let mut rest = line;
    for _ in 0..4 {
        let digits = rest.trim_start();
        rest = digits.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
        if rest.len() == digits.len() {
            return None;
        }
    }
    rest.strip_prefix(' ').filter(|name| name.starts_with('.'))
}

/// Returns a pattern that matches the section also when another compiler has built the program. For
/// the C library it is the object file, for Rust the mangled path without its hashes. A method of
/// `RawVec` is matched for any element type: the compiler merges those whose code is equal, and may
/// keep any of them.
fn pattern(section: &Section<'_>) -> String {
    let archive = section.file.rsplit('/').next().unwrap_or(section.file);
    match archive.strip_suffix(')').and_then(|file| file.split_once('(')) {
        Some((archive, object))
            if archive.starts_with("libc.") || archive.starts_with("libgcc") =>
        {
            format!("*{archive}:{object}(.text .text.*)")
        }
        _ if section.name == ".text" => format!("*{archive}(.text)"),
        _ if let Some(method) = method_of_raw_vec(section.name) => {
            format!("*(.text*{RAW_VEC}*{method}*)")
        }
        _ => format!("*({})", without_hashes(section.name)),
    }
}

/// The module of `RawVec`, as both manglings write it.
const RAW_VEC: &str = "5alloc7raw_vec";

/// The methods of `RawVec`, likewise. Longer names come before those that they contain.
const METHODS: [&str; 7] = [
    "14grow_amortized",
    "11finish_grow",
    "10deallocate",
    "10grow_exact",
    "8grow_one",
    "7reserve",
    "4Drop4drop",
];

fn method_of_raw_vec(name: &str) -> Option<&'static str> {
    let (_, rest) = name.split_once(RAW_VEC)?;
    METHODS.into_iter().find(|method| rest.contains(method))
}

/// Replaces the hashes in a mangled name by `*`. In the older mangling the name ends with `17h` and
/// 16 digits; in the newer one `Cs…_` is the hash of a crate.
fn without_hashes(name: &str) -> String {
    let name = match name.rfind("17h") {
        Some(at) if name.len() == at + 20 && name.ends_with('E') => format!("{}17h*", &name[..at]),
        _ => name.to_owned(),
    };
    let mut parts = name.split("Cs");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('_').filter(|(hash, _)| hash.chars().all(char::is_alphanumeric)) {
            Some((_, rest)) => result.extend(["Cs*_", rest]),
            None => result.extend(["Cs", part]),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
     VMA      LMA     Size Align Out     In      Symbol
    1000     1000       90    64 .text.always
    1000     1000       20     1         /lib/x/libc.a(exit.o):(.text)
    1020     1020       40     1         /t/c.o:(.text._ZN5chaos3cli3run17h0123456789abcdefE)
    1020     1020       40     1                 chaos::cli::run
    1060     1060       10     1         /t/c.o:(.text._RNvNtCsgEmfK2I1SDS_4core3fmt5write)
    1080     1080       10     1         /t/c.o:(.text.unlikely._ZN5alloc7raw_vec19RawVec$LT$T$GT$8grow_one17h0123456789abcdefE)
    2000     2000       20     1         /t/c.o:(.rodata)
    3000     3000        0     1         /t/c.o:(.text.empty)
";

    #[test]
    fn functions_are_sections_of_code_and_the_symbols_in_them() {
        let more = "    1010     1010        8     1                 exit_inside
    1018     1018        0     1                 start_of_program
    1020     1020        0     1                 label
";
        let at = MAP.find("    1020").unwrap();
        let map = format!("{}{more}{}", &MAP[..at], &MAP[at..]);
        assert_eq!(functions(&map), [0x1000, 0x1010, 0x1018, 0x1020, 0x1060, 0x1080]);
    }

    #[test]
    fn patterns_have_no_hashes() {
        let found = patterns(MAP, "1064\n1000\n1030\n1050\n2000\n1070\n1080\n".as_bytes()).unwrap();
        assert_eq!(
            found,
            [
                "*(.text._RNvNtCs*_4core3fmt5write)",
                "*libc.a:exit.o(.text .text.*)",
                "*(.text._ZN5chaos3cli3run17h*)",
                "*(.text*5alloc7raw_vec*8grow_one*)",
            ]
        );
    }
}
