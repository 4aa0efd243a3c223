// SPDX-License-Identifier: GPL-3.0-or-later
//! Why the memory or the vCPUs of a guest cannot be changed.

use thiserror::Error;
use xen::units::KiB;

/// Why the memory or the vCPUs of a guest cannot be changed.
#[derive(Debug, Error)]
pub enum TuningError {
    /// The device page has no such request.
    #[error("cannot {doing} guest {name}, which has a device page: {why}")]
    NoRequest {
        /// What was asked for.
        doing: &'static str,
        /// The guest.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// The limit is less than what the guest has.
    #[error(
        "cannot limit the memory of guest {name} to {limit}: it has {has}; reduce it first: chaos \
         mem-set {name}"
    )]
    LimitTooLow {
        /// The guest.
        name: String,
        /// The limit.
        limit: KiB,
        /// What it has.
        has: KiB,
    },
    /// The target is more than the guest may have.
    #[error("cannot give guest {name} {wanted} of memory: its limit is {limit}; {remedy}")]
    AboveLimit {
        /// The guest.
        name: String,
        /// What was asked for.
        wanted: KiB,
        /// The limit.
        limit: KiB,
        /// What to do.
        remedy: &'static str,
    },
    /// There are not so many vCPUs.
    #[error("guest {name} has {has} vCPUs, so it cannot use {wanted}; set maxvcpus= in its config")]
    TooManyVcpus {
        /// The guest.
        name: String,
        /// What was asked for.
        wanted: u32,
        /// How many there are.
        has: u32,
    },
    /// A node that chaos has written is missing or was changed.
    #[error("node {node} of guest {name} in XenStore is not a number of KiB")]
    Node {
        /// The guest.
        name: String,
        /// The node.
        node: &'static str,
    },
}

impl TuningError {
    /// Returns whether the arguments are wrong, and not the state of the guest.
    pub(in crate::guests) fn is_wrong_input(&self) -> bool {
        match self {
            Self::NoRequest { .. } | Self::Node { .. } => false,
            Self::LimitTooLow { .. } | Self::AboveLimit { .. } | Self::TooManyVcpus { .. } => true,
        }
    }
}
