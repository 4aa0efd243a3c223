// SPDX-License-Identifier: GPL-3.0-or-later
//! Landmarks: functions of xl's libraries whose begin or end shows what xl is doing. Linux reports
//! when xl reaches one (Linux, `Documentation/trace/uprobetracer.rst`).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use chaos_bench::exec::{find, libraries};
use object::{Object, ObjectSegment, ObjectSymbol};

/// What a landmark shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// xl starts to parse the config.
    Config,
    /// xl asks libxl to create the guest.
    Create,
    /// A function that reads, parses or copies the image begins.
    Load,
    /// Such a function ends.
    Loaded,
}

/// For each landmark its library, its function, whether it is at the function's end, and what it
/// shows. The functions are those of `libxlutil.h`, `libxl.h` and `xenguest.h`.
const LANDMARKS: [(&str, &str, bool, Mark); 8] = [
    ("libxlutil.so", "xlu_cfg_readdata", false, Mark::Config),
    ("libxenlight.so", "libxl_domain_create_new", false, Mark::Create),
    ("libxenguest.so", "xc_dom_kernel_file", false, Mark::Load),
    ("libxenguest.so", "xc_dom_kernel_file", true, Mark::Loaded),
    ("libxenguest.so", "xc_dom_parse_image", false, Mark::Load),
    ("libxenguest.so", "xc_dom_parse_image", true, Mark::Loaded),
    ("libxenguest.so", "xc_dom_build_image", false, Mark::Load),
    ("libxenguest.so", "xc_dom_build_image", true, Mark::Loaded),
];

/// The group of the landmarks' events.
pub(super) const GROUP: &str = "chaos_bench";

/// Returns what the event of this name shows; `None` if it is not a landmark's.
pub(super) fn mark(name: &str) -> Option<Mark> {
    let (function, at_end) =
        name.strip_suffix("_end").map_or((name, false), |function| (function, true));
    let found = LANDMARKS.iter().find(|(_, symbol, end, _)| (*symbol, *end) == (function, at_end));
    found.map(|(.., mark)| *mark)
}

fn event(function: &str, at_end: bool) -> String {
    format!("{function}{}", if at_end { "_end" } else { "" })
}

/// Returns the definitions of the landmarks for Linux's `uprobe_events`.
///
/// # Errors
/// The libraries that xl loads do not contain all of them.
pub(super) fn definitions() -> Result<Vec<String>> {
    let xl = find("xl")?.canonicalize()?;
    let libraries = libraries(&xl)?;
    LANDMARKS
        .iter()
        .map(|(library, function, at_end, _)| {
            let path = libraries.iter().find(|path| {
                Path::new(path)
                    .file_name()
                    .is_some_and(|name| name.to_str().is_some_and(|name| name.starts_with(library)))
            });
            let path = path.with_context(|| format!("xl does not load {library}"))?;
            let place = offset(path, function).with_context(|| path.clone())?;
            let kind = if *at_end { 'r' } else { 'p' };
            Ok(format!("{kind}:{GROUP}/{} {path}:{place:#x}", event(function, *at_end)))
        })
        .collect()
}

/// Returns the lines for `uprobe_events` that remove the landmarks.
pub(super) fn removals() -> impl Iterator<Item = String> {
    LANDMARKS
        .iter()
        .map(|(_, function, at_end, _)| format!("-:{GROUP}/{}", event(function, *at_end)))
}

/// Returns the offset in a library's file at which a function begins.
fn offset(path: &str, function: &str) -> Result<u64> {
    let data = fs::read(path)?;
    let file = object::File::parse(&*data).map_err(|error| anyhow!("{error}"))?;
    let symbol = file
        .dynamic_symbols()
        .find(|symbol| symbol.is_definition() && symbol.name() == Ok(function))
        .with_context(|| format!("the library has no function {function}"))?;
    let place = file.segments().find_map(|segment| {
        let within = symbol.address().checked_sub(segment.address())?;
        (within < segment.file_range().1).then_some(segment.file_range().0 + within)
    });
    place.with_context(|| format!("no segment of the file contains the function {function}"))
}

#[cfg(test)]
mod tests {
    use super::{LANDMARKS, event, mark};

    #[test]
    fn each_landmark_is_recognized_by_its_event() {
        for (_, function, at_end, expected) in LANDMARKS {
            assert_eq!(mark(&event(function, at_end)), Some(expected));
        }
        assert_eq!(mark("sched_wakeup"), None);
    }
}
