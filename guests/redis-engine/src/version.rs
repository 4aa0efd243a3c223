// SPDX-License-Identifier: MIT OR Apache-2.0
//! The version of Redis that the engine follows.

/// The version of Redis that the engine behaves like.
pub const REDIS_VERSION: &str = "7.0.15";
