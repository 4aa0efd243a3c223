// SPDX-License-Identifier: GPL-3.0-or-later
//! The life cycle of guests (`docs/lifecycle.md`).
//!
//! Each module below uses only those above it:
//!
//! ```text
//! classify   decides what a domain is: a guest, a shell, incomplete, of another toolstack
//! state      the states that `chaos list` shows
//! error      LifecycleError
//! host       Host: Xen, the records and the connections to the daemons
//! resolve    finds a guest by name or domid and reads what is known of it
//! foreign    names of other toolstacks' domains
//! watch      waits for domains that exit
//! sysctl     requests to a guest through its device page, and its answers
//! vif_plan   the vifs of a guest, with their MAC addresses decided
//! configure_again  completes what a killed create has begun
//! shell      a shell with its devices attached
//! destroy    removes a guest with everything it has outside of Xen
//! leftovers  removes what killed processes have left
//! conflict   addresses that are in use, and who has them
//! decide     decides how a guest discovers its devices, by its kernel
//! name       reserves the name of a guest that is being created
//! hot_plug   adds and removes devices of a running guest
//! create, requested, ended, figures, list, console, pause, dom0_or_guest, dump_core, tuning, shutdown,
//! update_config
//! ```

mod classify;
mod configure_again;
mod conflict;
mod console;
mod create;
mod decide;
mod destroy;
mod dom0_or_guest;
mod dump_core;
mod ended;
mod error;
mod figures;
mod foreign;
mod host;
mod hot_plug;
mod leftovers;
mod list;
mod name;
mod pause;
mod rename;
mod requested;
mod resolve;
mod shell;
mod shutdown;
mod state;
mod sysctl;
mod tuning;
mod update_config;
mod vif_plan;
mod watch;

pub use classify::{Condition, CreatorFacts, FoundRecord, classify};
pub use conflict::AddressConflict;
pub use console::{GuestConsole, console, read_log};
pub use create::{
    CreateOptions, Created, GuestRequest, create, create_from, execute_shell, receive_disks,
    shell_kind,
};
pub use decide::{check_flavour, decide, is_kernels_store};
pub use destroy::{Destroyed, destroy};
pub use dom0_or_guest::dom0_or_guest;
pub use dump_core::{dump_core, dump_to};
pub use ended::{
    DomainScan, DomainStage, EndedDomain, EndedGuest, Renamed, ended_guest, handles, old_copies,
    remove_ended, rename_ended, settled_ended_guest,
};
pub use error::{LifecycleError, WatchError};
pub use figures::{DeviceFigures, Figures, GuestFigures, Usage, figures};
pub use host::{Host, KnownImage};
pub use hot_plug::{
    AttachedDisk, AttachedVif, DetachOptions, DeviceStatus, HotPlugError, ListedDisk,
    ListedGuestVif, attach_disk, attach_vif, detach_disk, detach_vif, list_disks, list_vifs,
};
pub use leftovers::{Cleared, clear, reap};
pub use list::{BrokenDevice, GuestList, ListedGuest, ListedVif, ShownVif, list};
pub use pause::{pause, unpause};
pub use rename::{domid_of, name_of, rename};
pub use requested::of_request;
pub use resolve::{Guest, resolve};
pub use shell::{AttachedShell, ParkedAttachedShell, ShellKind, prepare_shell};
pub use shutdown::{ShutdownOptions, ShutdownOutcome, shutdown};
pub use state::GuestState;
pub use tuning::{MemoryOutcome, TuningError, send_sysrq, set_memory, set_memory_limit, set_vcpus};
pub use update_config::{UpdateError, UpdatedConfig, check_update, update_config};
pub use vif_plan::fixed_mac;
pub use watch::DomainWatch;

#[cfg(test)]
mod tests;
