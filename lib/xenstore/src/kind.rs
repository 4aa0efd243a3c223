// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kinds of messages, and the names of errors.

use xen_abi::io::xs_wire;

/// The kind of a message (`enum xsd_sockmsg_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Controls the store itself; for its administrator.
    Control = xs_wire::XS_CONTROL,
    /// Lists a node's children.
    Directory = xs_wire::XS_DIRECTORY,
    /// Returns a node's value.
    Read = xs_wire::XS_READ,
    /// Returns a node's permissions.
    GetPerms = xs_wire::XS_GET_PERMS,
    /// Watches a node and all below it.
    Watch = xs_wire::XS_WATCH,
    /// Ends a watch.
    Unwatch = xs_wire::XS_UNWATCH,
    /// Starts a transaction.
    TransactionStart = xs_wire::XS_TRANSACTION_START,
    /// Commits or aborts a transaction.
    TransactionEnd = xs_wire::XS_TRANSACTION_END,
    /// Connects a domain to the store.
    Introduce = xs_wire::XS_INTRODUCE,
    /// Disconnects a domain from the store.
    Release = xs_wire::XS_RELEASE,
    /// Returns the path of a domain's own nodes.
    GetDomainPath = xs_wire::XS_GET_DOMAIN_PATH,
    /// Writes a node's value.
    Write = xs_wire::XS_WRITE,
    /// Creates a node.
    Mkdir = xs_wire::XS_MKDIR,
    /// Removes a node and all below it.
    Remove = xs_wire::XS_RM,
    /// Sets the permissions of a node.
    SetPerms = xs_wire::XS_SET_PERMS,
    /// Reports that a watched node has changed.
    WatchEvent = xs_wire::XS_WATCH_EVENT,
    /// The answer to a request that failed.
    Error = xs_wire::XS_ERROR,
    /// Returns whether a domain is connected to the store.
    IsDomainIntroduced = xs_wire::XS_IS_DOMAIN_INTRODUCED,
    /// Reports that a domain runs again after it was suspended.
    Resume = xs_wire::XS_RESUME,
    /// Lets a domain act for another one.
    SetTarget = xs_wire::XS_SET_TARGET,
    /// Ends all watches and transactions of a connection.
    ResetWatches = xs_wire::XS_RESET_WATCHES,
    /// Lists a part of a node's children.
    DirectoryPart = xs_wire::XS_DIRECTORY_PART,
}

impl Kind {
    /// Returns the kind with this number; `None` if the protocol does not have it.
    #[must_use]
    pub fn of(word: u32) -> Option<Self> {
        ALL.iter().copied().find(|kind| *kind as u32 == word)
    }

    /// Returns what such a request does, for an error's text.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Read => "read",
            Self::GetPerms => "read the permissions of",
            Self::Watch => "watch",
            Self::Unwatch => "unwatch",
            Self::TransactionStart => "start a transaction",
            Self::TransactionEnd => "end a transaction",
            Self::Introduce => "introduce domain",
            Self::Release => "release domain",
            Self::GetDomainPath => "look up the path of domain",
            Self::Write => "write",
            Self::Mkdir => "create",
            Self::Remove => "remove",
            Self::SetPerms => "set the permissions of",
            Self::IsDomainIntroduced => "look up domain",
            Self::Resume => "resume domain",
            Self::SetTarget => "set the target of domain",
            Self::ResetWatches => "reset watches",
            Self::Directory | Self::DirectoryPart => "list",
            Self::WatchEvent | Self::Error => "answer",
        }
    }
}

const ALL: &[Kind] = &[
    Kind::Control,
    Kind::Directory,
    Kind::Read,
    Kind::GetPerms,
    Kind::Watch,
    Kind::Unwatch,
    Kind::TransactionStart,
    Kind::TransactionEnd,
    Kind::Introduce,
    Kind::Release,
    Kind::GetDomainPath,
    Kind::Write,
    Kind::Mkdir,
    Kind::Remove,
    Kind::SetPerms,
    Kind::WatchEvent,
    Kind::Error,
    Kind::IsDomainIntroduced,
    Kind::Resume,
    Kind::SetTarget,
    Kind::ResetWatches,
    Kind::DirectoryPart,
];

const ERRORS: &[ErrorName] = &[
    ErrorName::Invalid,
    ErrorName::Access,
    ErrorName::Exists,
    ErrorName::NotFound,
    ErrorName::NoMemory,
    ErrorName::NoSpace,
    ErrorName::Io,
    ErrorName::NotEmpty,
    ErrorName::NotSupported,
    ErrorName::ReadOnly,
    ErrorName::Busy,
    ErrorName::Again,
    ErrorName::Connected,
    ErrorName::TooBig,
    ErrorName::NotPermitted,
];

/// Why a request failed, by the name in the reply (`xsd_errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorName {
    /// The request is malformed.
    Invalid,
    /// The node's permissions do not allow it.
    Access,
    /// The node or the watch exists already.
    Exists,
    /// There is no such node, watch or transaction.
    NotFound,
    /// The store is out of memory.
    NoMemory,
    /// A quota is exceeded.
    NoSpace,
    /// The store failed.
    Io,
    /// The node has children.
    NotEmpty,
    /// The store does not support the request.
    NotSupported,
    /// The store is read-only.
    ReadOnly,
    /// Too much is in progress.
    Busy,
    /// The transaction conflicts with another one; retry it.
    Again,
    /// The domain is introduced already.
    Connected,
    /// The answer does not fit into a message.
    TooBig,
    /// The domain may not send this request.
    NotPermitted,
}

impl ErrorName {
    /// Returns the error with a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        ERRORS.iter().copied().find(|error| error.as_str() == name)
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "EINVAL",
            Self::Access => "EACCES",
            Self::Exists => "EEXIST",
            Self::NotFound => "ENOENT",
            Self::NoMemory => "ENOMEM",
            Self::NoSpace => "ENOSPC",
            Self::Io => "EIO",
            Self::NotEmpty => "ENOTEMPTY",
            Self::NotSupported => "ENOSYS",
            Self::ReadOnly => "EROFS",
            Self::Busy => "EBUSY",
            Self::Again => "EAGAIN",
            Self::Connected => "EISCONN",
            Self::TooBig => "E2BIG",
            Self::NotPermitted => "EPERM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_found_by_its_name_and_other_names_are_refused() {
        for error in ERRORS {
            assert_eq!(ErrorName::of(error.as_str()), Some(*error));
        }
        assert_eq!(ErrorName::of("ESRCH"), None);
    }

    #[test]
    fn each_kind_is_found_by_its_number_and_other_numbers_are_refused() {
        for kind in ALL {
            assert_eq!(Kind::of(*kind as u32), Some(*kind));
        }
        // XS_RESTRICT was removed; the rest are past the end.
        for word in [20, 23, 0xffff, u32::MAX] {
            assert_eq!(Kind::of(word), None);
        }
    }
}
