//! Turns: who is served next, when, and how much may pass in a time. Knows no device.

pub mod bucket;
pub mod id_table;
