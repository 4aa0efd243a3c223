//! What is wanted of a figure.

use serde::Serialize;

/// What is wanted of the figure.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) limit: f64,
    pub(crate) met: bool,
}

impl Goal {
    /// Returns a goal that is met up to the limit.
    pub(crate) fn at_most(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, met: value <= limit }
    }

    /// Returns a goal that is met from the limit on.
    pub(crate) fn at_least(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, met: value >= limit }
    }
}
