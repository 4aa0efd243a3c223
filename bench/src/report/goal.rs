// SPDX-License-Identifier: GPL-3.0-or-later
//! Goals of a figure.

use serde::Serialize;

/// A value of a figure, and the limit for it.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) limit: f64,
    pub(crate) met: bool,
}

impl Goal {
    /// Returns a goal that is met by values up to the limit.
    pub(crate) fn at_most(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, met: value <= limit }
    }

    /// Returns a goal that is met by values from the limit on.
    pub(crate) fn at_least(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, met: value >= limit }
    }
}
