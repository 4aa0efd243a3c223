// SPDX-License-Identifier: GPL-3.0-or-later
//! Suggestions for misspelt names.

/// Returns the candidate with the smallest edit distance, if that is 1 or at most a third of its
/// length.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // The cost grows with both lengths, and a name far longer than all keys resembles none of them.
    if name.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

pub(super) fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean '{nearest}'?"))
}
