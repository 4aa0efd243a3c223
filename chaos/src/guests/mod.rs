//! What can be done with a guest, from its creation to its end (`docs/lifecycle.md`).

mod classify;
mod console;
mod create;
mod destroy;
mod ended;
mod error;
mod host;
mod list;
mod name;
mod pause;
mod resolve;
mod shell;
mod shutdown;
mod state;
mod vif_plan;
mod watch;

pub use classify::{Condition, CreatorFacts, FoundRecord, classify};
pub use console::{console, read_log};
pub use create::{
    CreateOptions, Created, GuestRequest, create, create_from, execute_shell, shell_kind,
};
pub use destroy::{Cleared, Destroyed, clear, destroy};
pub use ended::{EndedGuest, ended, ended_guest, remove_ended, rename_ended};
pub use error::{LifecycleError, WatchError};
pub use host::Host;
pub use list::{BrokenDevice, ListedGuest, ListedVif, list};
pub use pause::{pause, unpause};
pub use resolve::{Guest, resolve};
pub use shell::{AttachedShell, ParkedAttachedShell, ShellKind, prepare_shell};
pub use shutdown::{ShutdownOptions, ShutdownOutcome, shutdown};
pub use state::GuestState;
pub use watch::DomainWatch;

#[cfg(test)]
mod tests;
