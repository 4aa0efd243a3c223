//! The device page and the rings.
