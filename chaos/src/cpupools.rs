// SPDX-License-Identifier: GPL-3.0-or-later
//! The names of cpupools. Xen knows only numbers; xl keeps the names in XenStore, below
//! `/local/pool`, and so does chaos where a XenStore runs.

use thiserror::Error;
use xen::cpupool::Cpupool;
use xen::units::{CpupoolId, DomainHandle};
use xenstore::Batch;

use crate::clients::xenstored::{Link, StoreError};
use crate::config::MAX_NAME;
use crate::escape::is_invisible;

/// A cpupool with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCpupool {
    /// Its name, or `Pool-` and its number if XenStore has none.
    pub name: String,
    /// What Xen reports about it.
    pub pool: Cpupool,
}

/// Why a text cannot be the name of a cpupool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CpupoolNameError {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// It is too long.
    #[error("must be at most {MAX_NAME} bytes long")]
    TooLong,
    /// It would be read as a number.
    #[error("must not be a number, because commands read it as the cpupool's number")]
    Number,
    /// It contains a character that is not seen.
    #[error("must not contain {0:?}")]
    Character(char),
}

/// Checks the name of a cpupool.
///
/// # Errors
/// The text cannot be one.
pub fn check_name(name: &str) -> Result<(), CpupoolNameError> {
    if name.is_empty() {
        return Err(CpupoolNameError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(CpupoolNameError::TooLong);
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpupoolNameError::Number);
    }
    name.chars().find(|c| is_invisible(*c)).map_or(Ok(()), |c| Err(CpupoolNameError::Character(c)))
}

/// Returns the name of a cpupool that has none in XenStore.
#[must_use]
pub fn default_name(pool: CpupoolId) -> String {
    format!("Pool-{pool}")
}

/// Returns the cpupools with their names; with default names where no XenStore runs.
///
/// # Errors
/// XenStore runs, and does not answer.
pub fn with_names(xenstored: &Link, pools: Vec<Cpupool>) -> Result<Vec<NamedCpupool>, StoreError> {
    let read = xenstored
        .call(|connection| pools.iter().map(|pool| connection.read(&name_node(pool.id))).collect());
    let names: Vec<Option<String>> = match read {
        Err(error) if error.is_absent() => vec![None; pools.len()],
        read => read?,
    };
    let named = |(pool, name): (Cpupool, Option<String>)| NamedCpupool {
        name: name.unwrap_or_else(|| default_name(pool.id)),
        pool,
    };
    Ok(pools.into_iter().zip(names).map(named).collect())
}

/// Returns the cpupool with a number or a name.
#[must_use]
pub fn find<'a>(pools: &'a [NamedCpupool], wanted: &str) -> Option<&'a NamedCpupool> {
    if !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = wanted.parse().ok()?;
        return pools.iter().find(|named| named.pool.id == CpupoolId(number));
    }
    pools.iter().find(|named| named.name == wanted)
}

/// Stores the name of a cpupool.
///
/// # Errors
/// XenStore cannot be used.
pub fn rename(xenstored: &Link, pool: CpupoolId, name: &str) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.write(&name_node(pool), name);
    xenstored.call(|connection| connection.demand(&batch).map(drop))
}

/// Stores what xl expects of a new cpupool: its name and a UUID.
///
/// # Errors
/// XenStore cannot be used.
pub fn introduce(
    xenstored: &Link,
    pool: CpupoolId,
    name: &str,
    uuid: DomainHandle,
) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.write(&format!("{}/uuid", node(pool)), &uuid.to_string());
    batch.write(&name_node(pool), name);
    xenstored.call(|connection| connection.demand(&batch).map(drop))
}

/// Removes what is stored about a cpupool.
///
/// # Errors
/// XenStore cannot be used.
pub fn forget(xenstored: &Link, pool: CpupoolId) -> Result<(), StoreError> {
    xenstored.call(|connection| connection.remove(&[node(pool)]))
}

fn node(pool: CpupoolId) -> String {
    format!("/local/pool/{pool}")
}

fn name_node(pool: CpupoolId) -> String {
    format!("{}/name", node(pool))
}

#[cfg(test)]
mod tests {
    use xen::cpu_map::CpuMap;
    use xen::sched::Scheduler;

    use super::*;

    fn named(number: u32, name: &str) -> NamedCpupool {
        let (scheduler, cpus) = (Scheduler::Credit2, CpuMap::new());
        let pool = Cpupool { id: CpupoolId(number), scheduler, domains: 0, cpus };
        NamedCpupool { name: name.to_owned(), pool }
    }

    #[test]
    fn a_cpupool_is_found_by_its_number_or_its_name() {
        let pools = [named(0, "Pool-0"), named(3, "batch")];
        assert_eq!(find(&pools, "3"), Some(&pools[1]));
        assert_eq!(find(&pools, "batch"), Some(&pools[1]));
        assert_eq!(find(&pools, "Pool-0"), Some(&pools[0]));
        for unknown in ["1", "Pool-3", "", "99999999999999999999", "+3", "-1"] {
            assert_eq!(find(&pools, unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn a_name_is_no_number_and_can_be_seen() {
        assert_eq!(check_name("batch 2"), Ok(()));
        assert_eq!(check_name("3a"), Ok(()));
        assert_eq!(check_name(""), Err(CpupoolNameError::Empty));
        assert_eq!(check_name("17"), Err(CpupoolNameError::Number));
        assert_eq!(check_name("a\nb"), Err(CpupoolNameError::Character('\n')));
        assert_eq!(check_name(&"x".repeat(201)), Err(CpupoolNameError::TooLong));
    }
}
