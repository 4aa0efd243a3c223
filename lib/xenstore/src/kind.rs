//! What messages are, and the names of errors.

/// What a message is (`enum xsd_sockmsg_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Asks the store itself for something: for its administrator.
    Control = 0,
    /// Lists a node's children.
    Directory = 1,
    /// Returns a node's value.
    Read = 2,
    /// Returns a node's permissions.
    GetPerms = 3,
    /// Watches a node and all below it.
    Watch = 4,
    /// Ends a watch.
    Unwatch = 5,
    /// Starts a transaction.
    TransactionStart = 6,
    /// Commits or aborts a transaction.
    TransactionEnd = 7,
    /// Makes a domain known to the store.
    Introduce = 8,
    /// Makes the store forget a domain.
    Release = 9,
    /// Returns the path of a domain's own nodes.
    GetDomainPath = 10,
    /// Writes a node's value.
    Write = 11,
    /// Creates a node.
    Mkdir = 12,
    /// Removes a node and all below it.
    Remove = 13,
    /// Sets the permissions of a node.
    SetPerms = 14,
    /// Says that a watched node has changed.
    WatchEvent = 15,
    /// The answer to a request that failed.
    Error = 16,
    /// Says whether a domain is known to the store.
    IsDomainIntroduced = 17,
    /// Says that a domain runs again after it was suspended.
    Resume = 18,
    /// Lets a domain act for another one.
    SetTarget = 19,
    /// Ends all watches and transactions of a connection.
    ResetWatches = 21,
    /// Lists a part of a node's children.
    DirectoryPart = 22,
}

impl Kind {
    /// Returns the kind that a header's word stands for. `None` if the protocol has no such kind.
    #[must_use]
    pub fn of(word: u32) -> Option<Self> {
        ALL.iter().copied().find(|kind| *kind as u32 == word)
    }

    /// Returns what a client wants that sends such a request, for an error's text.
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

/// Why a request failed, by the name that travels (`xsd_errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorName {
    /// The request is malformed.
    Invalid,
    /// The node may not be used so.
    Access,
    /// It is there already.
    Exists,
    /// There is no such node, watch or transaction.
    NotFound,
    /// The store has no memory.
    NoMemory,
    /// A quota is exceeded.
    NoSpace,
    /// The store failed.
    Io,
    /// The node has children.
    NotEmpty,
    /// The store knows no such request.
    NotSupported,
    /// Nothing may be changed.
    ReadOnly,
    /// Too much is in progress.
    Busy,
    /// The transaction conflicts with another one; start it again.
    Again,
    /// The domain is introduced already.
    Connected,
    /// The answer does not fit into a message.
    TooBig,
    /// The domain may not ask for this.
    NotPermitted,
}

impl ErrorName {
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
    fn each_kind_is_found_by_its_number_and_no_other() {
        for kind in ALL {
            assert_eq!(Kind::of(*kind as u32), Some(*kind));
        }
        // XS_RESTRICT was removed; the rest are past the end.
        for word in [20, 23, 0xffff, u32::MAX] {
            assert_eq!(Kind::of(word), None);
        }
    }
}
