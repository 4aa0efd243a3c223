// SPDX-License-Identifier: GPL-3.0-or-later
//! The nodes by which dom0 asks a running kernel to change its memory and its vCPUs (Xen's
//! `docs/misc/xenstore-paths.pandoc`; libxl writes the same).

use xen::units::KiB;
use xenstore::Batch;

use super::tree::XenStorePaths;
use crate::clients::xenstored::{Connection, StoreError};

/// The node of the memory that a guest may have, below its home. It is not `memory/static-max`, from which Linux
/// computes at its start how much it has less than it believes: a PVH guest of chaos has what it sees, so it
/// would give back as much as the limit is higher (`drivers/xen/xen-balloon.c`).
pub(crate) const MEMORY_LIMIT: &str = "memory/chaos-limit";

/// Where a guest that an earlier chaos has created has it.
pub(crate) const MEMORY_LIMIT_BEFORE: &str = "memory/static-max";

/// The node of the memory that a guest is to have, below its home.
pub(crate) const MEMORY_TARGET: &str = "memory/target";

impl XenStorePaths {
    /// Returns the value of a node that holds a number of KiB; `None` if there is none, or it is not a
    /// number.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub(crate) fn kib(
        self,
        connection: &mut Connection,
        node: &str,
    ) -> Result<Option<KiB>, StoreError> {
        let value = connection.read(&format!("{}/{node}", self.home()))?;
        Ok(value.and_then(|value| value.parse().ok()).map(KiB))
    }

    /// Writes a node that holds a number of KiB.
    ///
    /// # Errors
    /// xenstored refuses, or does not answer.
    pub(crate) fn set_kib(
        self,
        connection: &mut Connection,
        node: &str,
        value: KiB,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.write(&format!("{}/{node}", self.home()), &value.0.to_string());
        connection.demand(&batch).map(drop)
    }

    /// Writes which of its vCPUs a guest is to use: the first `online` of `all`.
    ///
    /// # Errors
    /// xenstored refuses, or does not answer.
    pub(crate) fn set_vcpus(
        self,
        connection: &mut Connection,
        online: u32,
        all: u32,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for vcpu in 0..all {
            let value = if vcpu < online { "online" } else { "offline" };
            batch.write(&format!("{}/cpu/{vcpu}/availability", self.home()), value);
        }
        connection.demand(&batch).map(drop)
    }

    /// Writes the letter of a SysRq key.
    ///
    /// # Errors
    /// xenstored refuses, or does not answer.
    pub(crate) fn send_sysrq(
        self,
        connection: &mut Connection,
        letter: char,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.write(&format!("{}/control/sysrq", self.home()), &letter.to_string());
        connection.demand(&batch).map(drop)
    }
}
