//! Giving up root.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Group, Uid, User, setgroups, setresgid, setresuid};

/// File descriptors a process may have by the kernel's default setting (`fs.nr_open`).
const MANY_FILES: u64 = 1 << 20;

/// Why root cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// No such user.
    #[error(
        "there is no user {0}; make one with: useradd --system --no-create-home --shell \
         /usr/sbin/nologin {0}; or name another with --user (--user root stays root, without \
         capabilities)"
    )]
    NoUser(String),
    /// No such group.
    #[error("there is no group {0}")]
    NoGroup(String),
    /// Started without root.
    #[error("noxsd has to be started as root: it gives root up once its devices are open")]
    NotRoot,
    /// A system call failed.
    #[error("cannot {doing}: {errno}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        errno: Errno,
    },
    /// Capabilities cannot be dropped.
    #[error("cannot drop the capabilities: {0}")]
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

/// Finds a group's number; `None` if there is no such group.
///
/// # Errors
/// The groups cannot be read.
pub fn find_group(name: &str) -> Result<Option<u32>, PrivilegeError> {
    let group = Group::from_name(name)
        .map_err(|errno| PrivilegeError::System { doing: "look up the group", errno })?;
    Ok(group.map(|group| group.gid.as_raw()))
}

/// Checks that there is something to give up.
///
/// # Errors
/// The user is not root.
pub fn require_root() -> Result<(), PrivilegeError> {
    if Uid::effective().is_root() { Ok(()) } else { Err(PrivilegeError::NotRoot) }
}

/// Lets the process have as many files as the kernel allows: each console has one.
pub fn raise_file_limit() {
    if setrlimit(Resource::RLIMIT_NOFILE, MANY_FILES, MANY_FILES).is_ok() {
        return;
    }
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!("cannot raise the limit of open files: {errno}");
    }
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
