// SPDX-License-Identifier: GPL-3.0-or-later
//! Classes of failures: one per exit code. `chaosd` sends them with its refusals.

use bincode::{Decode, Encode};

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FailureClass {
    /// The operation was tried and failed.
    Failed,
    /// The arguments, the config, the kernel or the ramdisk are wrong.
    WrongInput,
    /// The guest does not exist.
    NoSuchGuest,
    /// The host is not ready: not root, not dom0, no Xen, or a daemon is not running.
    NoDom0,
    /// The guest did not respond in time.
    TimedOut,
}
