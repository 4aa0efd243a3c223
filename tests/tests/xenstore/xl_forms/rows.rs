// SPDX-License-Identifier: GPL-3.0-or-later
//! What a row of a table says of a config.

/// Parts of what is understood: a JSON pointer and its value as JSON.
pub(super) type Parts = &'static [(&'static str, &'static str)];

/// What two programs make of a config. The first text is the config, after [`super::BASE`].
#[derive(Debug)]
pub(super) enum Row {
    /// Both understand the same, and these parts so.
    Same(&'static str, Parts),
    /// Both refuse it, chaos with these words.
    Refused(&'static str, &'static str),
    /// They differ for a reason, in these parts: a pointer, what xl understands, what chaos
    /// understands.
    Differs(&'static str, &'static str, &'static [(&'static str, &'static str, &'static str)]),
    /// Only xl accepts it, for a reason. chaos refuses it with these words.
    OnlyXl(&'static str, &'static str, &'static str),
    /// Only chaos accepts it, for a reason, and understands these parts so.
    OnlyChaos(&'static str, &'static str, Parts),
    /// Both refuse it, chaos only when it creates the guest, for a reason and with these words.
    AtCreate(&'static str, &'static str, &'static str),
}

impl Row {
    /// Returns the config, and the reason if the programs differ.
    pub(super) fn config_and_reason(&self) -> (&'static str, &'static str) {
        match *self {
            Self::Same(text, _) | Self::Refused(text, _) => (text, "the programs do not differ"),
            Self::Differs(text, why, _)
            | Self::OnlyXl(text, why, _)
            | Self::OnlyChaos(text, why, _)
            | Self::AtCreate(text, why, _) => (text, why),
        }
    }
}
