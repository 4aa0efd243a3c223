// SPDX-License-Identifier: GPL-3.0-or-later
//! What dom0 remembers of domains.
//!
//! ```text
//! /run/chaos/names/NAME          symbolic link to ../domains/DOMID. Creating it fails if the name is
//!                                in use, so a clash of names costs one system call and no scan
//! /run/chaos/domains/DOMID/
//!     name                       the link that becomes names/NAME, prepared before the name is
//!                                known; only for a domain that was a shell
//!     record                     the encoded Record; written in one piece, replaced by rename
//!     devices                    what noxsd needs to attach the devices again (noxs_control)
//!     console.log                the output of the console, written by noxsd
//!     creator                    who created it, if its handle does not say so
//!     next                       a Record with the config that the guest is restarted with, if that was
//!                                replaced
//!     lock                       locked by a process that changes the record
//!     devices.lock               locked by a process that changes the devices or removes the guest
//! /run/chaos/restarts/NAME       record of a guest that has exited and whose restart is pending. It
//!                                is written before the guest is removed, and dropped after its
//!                                successor is created
//! ```
//!
//! Only root may open the folders: a user who could open one could lock it, and read configs.
//!
//! State, memory and CPU time are always asked of Xen and never kept here. A record contains the
//! domain's handle, so that a reused domid is never mistaken for its predecessor.
//!
//! Records outlive the chaos that wrote them: their format has a version of its own, apart from the
//! messages of the sockets, and the previous version can always be read (`stored`).
//!
//! Each module below uses only those above it:
//!
//! ```text
//! record     Record
//! stored     the bytes of a record, by version
//! error      RecordError
//! fs         writes and replaces files so that a reader never sees half of one
//! paths      Records: the folder of all records, and where each file is
//! prepared   the record file and name link of a shell
//! names      reserves and frees names
//! creator    who creates a domain whose handle does not say so
//! name_table the names, for a process that asks again and again
//! files      the files in a domain's folder
//! next       the config that replaces a guest's when the guest ends
//! lock       keeps other processes from changing a record or devices
//! restarts   pending restarts
//! ```

mod creator;
mod error;
mod files;
mod fs;
mod lock;
mod name_table;
mod names;
mod next;
mod paths;
mod prepared;
mod record;
mod restarts;
mod stored;

pub use error::RecordError;
pub use lock::RecordLock;
pub use name_table::{NameChanges, NameTable};
pub use paths::{ROOT, Records};
pub use prepared::PreparedRecord;
pub use record::{
    DevicePageRecord, PageDevice, PageDevices, PendingDevice, Record, RequestId, since_boot_ms,
};
pub use stored::StoredError;
