// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a daemon needs from the system at start: groups and the limit of open files.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Group;

/// The default group that may connect to a daemon's socket, if it exists.
pub const GROUP: &str = "chaos";

/// Why a group's number cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// There is no such group.
    #[error("there is no group {0}; create it with: groupadd --system {0}")]
    Missing(String),
    /// The groups cannot be read.
    #[error("cannot look up group {name}")]
    System {
        /// The group.
        name: String,
        /// The system's answer.
        #[source]
        errno: Errno,
    },
}

/// Returns the number of the group that may connect: group `name`, which must exist, or without a
/// name [`GROUP`], if it exists.
///
/// # Errors
/// Group `name` does not exist, or the groups cannot be read.
pub fn group(name: Option<&str>) -> Result<Option<u32>, GroupError> {
    let wanted = name.unwrap_or(GROUP);
    let group = Group::from_name(wanted)
        .map_err(|errno| GroupError::System { name: wanted.to_owned(), errno })?;
    match (name, group) {
        (_, Some(group)) => Ok(Some(group.gid.as_raw())),
        (None, None) => Ok(None),
        (Some(name), None) => Err(GroupError::Missing(name.to_owned())),
    }
}

/// Raises the limit of open files to `wanted`. Without `wanted`, or if the kernel refuses, raises
/// it to the hard limit. Logs a warning if neither is possible.
pub fn raise_file_limit(wanted: Option<u64>) {
    if wanted.is_some_and(|wanted| setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok()) {
        return;
    }
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!("cannot raise the limit of open files: {errno}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_named_must_exist() {
        assert_eq!(group(Some("root")).unwrap(), Some(0));
        let missing = group(Some("no-group-has-this-name"));
        assert!(matches!(missing, Err(GroupError::Missing(_))), "{missing:?}");
        // The default group may be missing.
        group(None).unwrap();
    }
}
