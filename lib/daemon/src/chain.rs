// SPDX-License-Identifier: MIT OR Apache-2.0
//! An error and its causes in one line.

use std::error::Error;

/// Returns the error's text, followed by the texts of its sources, each after a colon.
///
/// A source whose text the line already ends with is left out: `#[error(transparent)]` repeats it.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("no such file")]
    struct Cause;

    #[derive(Debug, Error)]
    enum Outer {
        #[error("cannot read /x")]
        Plain(#[source] Cause),
        #[error(transparent)]
        Transparent(#[from] Cause),
        #[error("cannot read /x: {0}")]
        Repeats(#[source] Cause),
    }

    #[test]
    fn a_cause_follows_its_effect_once() {
        assert_eq!(chain(&Outer::Plain(Cause)), "cannot read /x: no such file");
        assert_eq!(chain(&Outer::Transparent(Cause)), "no such file");
        assert_eq!(chain(&Outer::Repeats(Cause)), "cannot read /x: no such file");
    }
}
