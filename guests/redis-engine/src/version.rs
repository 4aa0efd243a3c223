//! What is followed.

/// The version of Redis whose behaviour is followed.
pub const REDIS_VERSION: &str = "7.0.15";
