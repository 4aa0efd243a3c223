// SPDX-License-Identifier: GPL-3.0-or-later
//! Gives up root.

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

use crate::console::log::LIMIT;

/// Why root cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The user does not exist.
    #[error(
        "user {0} does not exist; create it: useradd --system --no-create-home --shell \
         /usr/sbin/nologin {0}; or name another with --user (--user root stays root, without \
         capabilities)"
    )]
    NoUser(String),
    /// The process was not started as root.
    #[error("noxsd must be started as root; it gives up root once its devices are open")]
    NotRoot,
    /// A system call failed.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        #[source]
        errno: Errno,
    },
    /// Capabilities cannot be dropped.
    #[error("cannot drop the capabilities")]
    Capabilities(#[from] caps::errors::CapsError),
}

/// The user and group of noxsd after it has given up root.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// Finds a user.
    ///
    /// # Errors
    /// The user does not exist, or cannot be looked up.
    pub fn find(name: &str) -> Result<Self, PrivilegeError> {
        let user = User::from_name(name)
            .map_err(|errno| PrivilegeError::System { doing: "look up the user", errno })?
            .ok_or_else(|| PrivilegeError::NoUser(name.to_owned()))?;
        Ok(Self { uid: user.uid, gid: user.gid })
    }
}

/// Checks that the process runs as root.
///
/// # Errors
/// The user is not root.
pub fn require_root() -> Result<(), PrivilegeError> {
    if Uid::effective().is_root() { Ok(()) } else { Err(PrivilegeError::NotRoot) }
}

/// Limits the size of files to twice that of a console's log, for this process: it has a descriptor
/// of each log, and could fill `/run` through them. A toolstack, which is root, lifts the limit for
/// the first guest that has a file behind a disk. Without effect if standard error is a file, which
/// may grow larger.
///
/// # Errors
/// The kernel refuses.
pub fn limit_file_size() -> Result<(), PrivilegeError> {
    let system = |doing| move |errno| PrivilegeError::System { doing, errno };
    let stderr = fstat(std::io::stderr()).map_err(system("inspect standard error"))?;
    let kind = SFlag::from_bits_truncate(stderr.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFREG {
        return Ok(());
    }
    let most = 2 * LIMIT;
    setrlimit(Resource::RLIMIT_FSIZE, most, most).map_err(system("limit the size of files"))
}

/// Switches to the account permanently: no other groups, no capabilities, and no program that this
/// process starts can get them back.
///
/// # Errors
/// A step failed; the process must not continue.
pub fn give_up(account: Account) -> Result<(), PrivilegeError> {
    let system = |doing| move |errno| PrivilegeError::System { doing, errno };
    // This needs a capability, so it comes before the capabilities are dropped.
    caps::clear(None, caps::CapSet::Bounding)?;
    setgroups(&[]).map_err(system("drop the supplementary groups"))?;
    setresgid(account.gid, account.gid, account.gid).map_err(system("change the group"))?;
    setresuid(account.uid, account.uid, account.uid).map_err(system("change the user"))?;
    caps::clear(None, caps::CapSet::Ambient)?;
    caps::clear(None, caps::CapSet::Effective)?;
    caps::clear(None, caps::CapSet::Permitted)?;
    caps::clear(None, caps::CapSet::Inheritable)?;
    nix::sys::prctl::set_no_new_privs().map_err(system("forbid new privileges"))?;
    Ok(())
}
