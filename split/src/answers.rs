// SPDX-License-Identifier: GPL-3.0-or-later
//! What the service answers and logs.

use std::fmt::Write;
use std::fs::File;

use chaos::clients::chaosd::protocol::{Origin, Refusal, Reply};
use chaos::config::DomainConfig;
use chaos::failure::FailureClass;
use chaos::guests::LifecycleError;
use chaos::image::ModuleFile;
use chaos::timings::Timings;
use daemon::chain::chain;
use xen::units::DomId;

use crate::files::FilesError;
use crate::line_limit::LineLimit;
use crate::members::MemberRefusal;
use crate::server::Peer;

/// Logs a result, as `lines` allows, and returns it as a reply.
pub(crate) fn reply(
    what: &str,
    Peer { pid, uid }: Peer,
    result: Result<Reply, Refusal>,
    lines: &LineLimit,
) -> Reply {
    match result {
        Ok(reply) => {
            tracing::debug!("{what} of process {pid} (user {uid})");
            reply
        }
        Err(refusal) => {
            if lines.allows(uid) {
                tracing::info!("{what} of process {pid} (user {uid}) refused: {refusal}");
            }
            Reply::Refused(refusal)
        }
    }
}

/// Returns the ramdisk in an open file, if the config has one.
pub(crate) fn open_ramdisk(
    file: Option<File>,
    config: &DomainConfig,
) -> Result<Option<ModuleFile>, LifecycleError> {
    let (Some(file), Some(path)) = (file, &config.ramdisk) else { return Ok(None) };
    let opened = ModuleFile::new(file);
    opened.map(Some).map_err(|source| LifecycleError::Ramdisk { path: path.clone(), source })
}

/// Returns the kernel that the PV shim starts, if there is one.
pub(crate) fn open_pv_kernel(
    file: Option<File>,
    config: &DomainConfig,
) -> Result<Option<ModuleFile>, LifecycleError> {
    let opened = file.map(ModuleFile::new).transpose();
    opened.map_err(|source| LifecycleError::Kernel { path: config.kernel.clone(), source })
}

/// Returns the refusal of a request that is not allowed.
pub(crate) fn wrong_input(error: impl ToString) -> Refusal {
    Refusal { class: FailureClass::WrongInput, message: error.to_string() }
}

/// Returns the refusal of a create with the wrong files.
pub(crate) fn wrong_files(error: &FilesError) -> Refusal {
    wrong_input(error)
}

/// Returns the refusal of a subcommand of `chaos pool` that only root may use.
pub(crate) fn only_root(what: &'static str) -> Refusal {
    wrong_input(MemberRefusal::Pool { what })
}

/// Returns the refusal of a request that failed.
pub(crate) fn refusal(error: &LifecycleError) -> Refusal {
    Refusal { class: error.class(), message: chain(error) }
}

/// Returns the line that a create writes to the log.
pub(crate) fn create_line(name: &str, domid: DomId, origin: Origin, timings: &Timings) -> String {
    let from = match origin {
        Origin::Warm => "from a warm shell",
        Origin::Pool => "from a shell",
        Origin::Cold | Origin::Unknown => "prepared for this request",
    };
    let mut text =
        format!("{name} is domain {}, {from}, in {} us:", domid.0, timings.total_ns() / 1000);
    for stage in timings.stages() {
        // Writing to a string does not fail.
        let _ = write!(text, " {} {}", stage.name, stage.ns / 1000);
    }
    text
}
