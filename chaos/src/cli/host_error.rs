// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a command for CPUs, cpupools or the machine failed.

use chaos::clients::xenstored::StoreError;
use chaos::cpupools::CpupoolNameError;
use chaos::failure::FailureClass;
use thiserror::Error;

use chaos::cpu_list::CpuListError;

/// Why a command for CPUs, cpupools or the machine failed.
#[derive(Debug, Error)]
pub(crate) enum HostError {
    /// Xen cannot be used, or refused.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// Xen refused an operation that can be described.
    #[error("cannot {doing}")]
    Operation {
        doing: String,
        #[source]
        source: xen::Error,
    },
    /// A list of CPUs is wrong.
    #[error(transparent)]
    CpuList(#[from] CpuListError),
    /// The arguments ask for what cannot be done.
    #[error("{0}")]
    Arguments(String),
    /// What the arguments ask for does not fit the state of the machine.
    #[error("{0}")]
    State(String),
    /// A text cannot be the name of a cpupool.
    #[error("cpupool name {name:?}")]
    CpupoolName {
        name: String,
        #[source]
        source: CpupoolNameError,
    },
    /// A name cannot be stored.
    #[error("cannot {doing}: the names of cpupools are kept in XenStore")]
    Store {
        doing: String,
        #[source]
        source: StoreError,
    },
    /// XenStore runs and does not answer.
    #[error("cannot read the names of cpupools in XenStore")]
    Names(#[from] StoreError),
}

impl HostError {
    /// Returns the class of the failure.
    pub(super) fn class(&self) -> FailureClass {
        match self {
            Self::Xen(error) | Self::Operation { source: error, .. } if error.is_no_dom0() => {
                FailureClass::NoDom0
            }
            Self::Store { source, .. } if source.is_absent() => FailureClass::NoDom0,
            Self::CpuList(_) | Self::Arguments(_) | Self::CpupoolName { .. } => {
                FailureClass::WrongInput
            }
            Self::Xen(_)
            | Self::Operation { .. }
            | Self::State(_)
            | Self::Store { .. }
            | Self::Names(_) => FailureClass::Failed,
        }
    }

    /// Describes an operation that Xen has refused.
    pub(super) fn operation(doing: impl Into<String>) -> impl FnOnce(xen::Error) -> Self {
        let doing = doing.into();
        |source| Self::Operation { doing, source }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn only_what_changed_nothing_is_wrong_input() {
        let refused = xen::Error::Hypercall { operation: "x", domid: None, errno: Errno::EBUSY };
        let failed = HostError::operation("destroy cpupool a")(refused);
        assert_eq!(failed.class(), FailureClass::Failed);
        assert_eq!(failed.to_string(), "cannot destroy cpupool a");
        assert_eq!(HostError::from(xen::Error::NotDom0).class(), FailureClass::NoDom0);
        assert_eq!(HostError::Arguments(String::new()).class(), FailureClass::WrongInput);
        let source = StoreError::NotRunning { path: "/nowhere".into() };
        let unnamed = HostError::Store { doing: "rename cpupool a".to_owned(), source };
        assert_eq!(unnamed.class(), FailureClass::NoDom0);
        let wrong = CpuListError::NotAll { item: "^all".to_owned() };
        assert_eq!(HostError::from(wrong).class(), FailureClass::WrongInput);
    }
}
