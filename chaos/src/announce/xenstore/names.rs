// SPDX-License-Identifier: GPL-3.0-or-later
//! What XenStore says of the domains of another toolstack.

use std::time::{SystemTime, UNIX_EPOCH};

use xenstore::Batch;

use crate::clients::xenstored::{Connection, StoreError};
use crate::handle::DomainIdentity;

/// What another toolstack has written of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Described {
    /// Its name.
    pub(crate) name: Option<String>,
    /// The time since it was created, in milliseconds.
    pub(crate) age_ms: Option<u64>,
}

/// Returns what XenStore says of domains, in their order.
///
/// # Errors
/// xenstored does not answer.
pub(crate) fn described(
    connection: &mut Connection,
    domains: &[DomainIdentity],
) -> Result<Vec<Described>, StoreError> {
    let mut batch = Batch::new();
    for DomainIdentity { domid, handle } in domains {
        batch.read(&format!("/local/domain/{domid}/name"));
        // Where libxl writes it (`libxl__domain_make`).
        batch.read(&format!("/vm/{handle}/start_time"));
    }
    let answers = connection.ask(&batch)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let texts: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.ok().map(|answer| answer.text().to_owned()))
        .map(|text| text.filter(|text| !text.is_empty()))
        .collect();
    let described = texts.chunks_exact(2).map(|texts| Described {
        name: texts[0].clone(),
        age_ms: texts[1].as_deref().and_then(|text| age_ms(text, now.as_secs())),
    });
    Ok(described.collect())
}

/// Returns the time since a start time, whose seconds are since the Unix epoch; the clock may have been
/// set since.
fn age_ms(start_time: &str, now: u64) -> Option<u64> {
    let (seconds, _) = start_time.split_once('.').unwrap_or((start_time, ""));
    Some(now.saturating_sub(seconds.parse().ok()?).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_that_of_the_seconds_of_a_start_time() {
        assert_eq!(age_ms("1700000000.07", 1_700_000_061), Some(61_000));
        assert_eq!(age_ms("1700000000", 1_700_000_001), Some(1000));
        assert_eq!(age_ms("1700000002.99", 1_700_000_001), Some(0));
        for wrong in ["", "x", ".5", "-1.0"] {
            assert_eq!(age_ms(wrong, 1), None, "{wrong}");
        }
    }
}
