//! Network interfaces and the bridges between them.

pub mod frame;
pub mod switch;
pub mod tap;
pub mod vif;
