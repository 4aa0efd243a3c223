//! Giving up root.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

/// Why root cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// No such user.
    #[error(
        "there is no user {0}; create it with: useradd --system --no-create-home --shell \
         /usr/sbin/nologin {0}; or name another with --user (--user root stays root, without \
         capabilities)"
    )]
    NoUser(String),
    /// Started without root.
    #[error("noxsd must be started as root; it gives root up once its devices are open")]
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

/// Who noxsd is after it has given up root.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// Finds a user.
    ///
    /// # Errors
    /// There is none of that name.
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

/// Becomes the account for good: its groups, its user, no capabilities, and no program that this
/// process could start would get them back.
///
/// # Errors
/// A step failed; the process must not go on.
pub fn give_up(account: Account) -> Result<(), PrivilegeError> {
    let system = |doing| move |errno| PrivilegeError::System { doing, errno };
    // Takes a capability, so it comes before the others are gone.
    caps::clear(None, caps::CapSet::Bounding)?;
    setgroups(&[]).map_err(system("give up the groups"))?;
    setresgid(account.gid, account.gid, account.gid).map_err(system("change the group"))?;
    setresuid(account.uid, account.uid, account.uid).map_err(system("change the user"))?;
    caps::clear(None, caps::CapSet::Ambient)?;
    caps::clear(None, caps::CapSet::Effective)?;
    caps::clear(None, caps::CapSet::Permitted)?;
    caps::clear(None, caps::CapSet::Inheritable)?;
    nix::sys::prctl::set_no_new_privs().map_err(system("forbid new privileges"))?;
    Ok(())
}
