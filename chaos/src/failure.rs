//! Kinds of failures, as exit codes and the messages of `chaosd` distinguish them.

use bincode::{Decode, Encode};

/// Kinds of failures, which programs tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FailureClass {
    /// It was tried and failed.
    Failed,
    /// What was asked for is wrong.
    WrongInput,
    /// There is no such guest.
    NoSuchGuest,
    /// The host is not in working order.
    NoDom0,
    /// The guest did not do something in time.
    TimedOut,
}
