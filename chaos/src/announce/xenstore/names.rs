// SPDX-License-Identifier: GPL-3.0-or-later
//! The names that another toolstack has given its domains.

use xen::units::DomId;
use xenstore::Batch;

use crate::clients::xenstored::{Connection, StoreError};

/// Returns the names of domains, where they have one.
///
/// # Errors
/// xenstored does not answer.
pub(crate) fn names(
    connection: &mut Connection,
    domids: &[DomId],
) -> Result<Vec<Option<String>>, StoreError> {
    let mut batch = Batch::new();
    for domid in domids {
        batch.read(&format!("/local/domain/{domid}/name"));
    }
    let answers = connection.ask(&batch)?.into_iter();
    let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(answers.map(|answer| name(answer.ok()?.text())).collect())
}
