// SPDX-License-Identifier: MIT OR Apache-2.0
//! Matches Redis's glob patterns: `*`, `?`, `[a-z]`, `[^x]`, and `\` to escape any of them.

/// Returns whether the text matches the pattern. Takes at most as many steps as the product of
/// their lengths.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |byte| byte)
}

/// Returns whether a lower-case text matches the pattern, ignoring the pattern's case.
pub(crate) fn matches_in_any_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// Matches with `read`, which maps each byte of the pattern to the one that it stands for.
fn matches_by(pattern: &[u8], text: &[u8], read: impl Fn(u8) -> u8) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to continue if what follows the last `*` does not match.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            if p == pattern.len() {
                return true;
            }
        } else if p < pattern.len()
            && let Some(next) = one(pattern, p, text[t], &read)
        {
            p = next;
            t += 1;
            continue;
        }
        match retry {
            Some((after_star, from)) if from < text.len() => {
                retry = Some((after_star, from + 1));
                p = after_star;
                t = from + 1;
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the pattern at `at`. Returns where the pattern continues.
fn one(pattern: &[u8], at: usize, byte: u8, read: &impl Fn(u8) -> u8) -> Option<usize> {
    match pattern[at] {
        b'?' => Some(at + 1),
        b'[' => class(pattern, at + 1, byte, read),
        b'\\' if at + 1 < pattern.len() => (read(pattern[at + 1]) == byte).then_some(at + 2),
        plain => (read(plain) == byte).then_some(at + 1),
    }
}

/// Matches one byte against the class whose first byte is at `at`. Returns where the pattern
/// continues.
fn class(pattern: &[u8], mut at: usize, byte: u8, read: &impl Fn(u8) -> u8) -> Option<usize> {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    while at < pattern.len() && pattern[at] != b']' {
        let escaped = pattern[at] == b'\\' && at + 1 < pattern.len();
        at += usize::from(escaped);
        let (low, mut high) = (read(pattern[at]), read(pattern[at]));
        if !escaped && at + 2 < pattern.len() && pattern[at + 1] == b'-' {
            high = read(pattern[at + 2]);
            at += 2;
        }
        found |= (low.min(high)..=low.max(high)).contains(&byte);
        at += 1;
    }
    // A class that is never closed ends with the pattern, as in Redis.
    (found != negated).then_some((at + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            (r"h\*llo", "h*llo", true),
            (r"h\*llo", "hello", false),
            ("*a*b*c*", "xxaxxbxxc", true),
            ("*a*b*c*", "xxaxxcxxb", false),
            ("abc", "abcd", false),
            ("", "", true),
            ("[a", "a", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} {text}");
        }
    }
}
