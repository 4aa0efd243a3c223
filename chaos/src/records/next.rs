// SPDX-License-Identifier: GPL-3.0-or-later
//! The config that replaces a guest's when the guest ends.

use super::error::RecordError;
use super::files::{encode, read};
use super::fs::replace;
use super::paths::Records;
use super::record::Record;
use crate::config::DomainConfig;

/// Name of the file in a domain's folder. It goes with the folder.
const NEXT: &str = "next";

impl Records {
    /// Writes the config that a guest's end is handled with, and that its successor is created from.
    /// The guest's own record, which says what the guest has now, stays as it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_next(&self, record: &Record, config: DomainConfig) -> Result<(), RecordError> {
        let folder = self.folder(record.domid);
        let next = Record { config, device_page: None, ..record.clone() };
        replace(&folder, NEXT, &encode(&next, || folder.join(NEXT))?)
    }

    /// Returns the record that a guest's end is handled with: the guest's own, with the config that
    /// [`write_next`](Self::write_next) has written, if there is one. The name is the one that the
    /// guest has now.
    ///
    /// # Errors
    /// The file is damaged, of another version or cannot be read.
    pub fn with_next(&self, record: &Record) -> Result<Record, RecordError> {
        let next = match &record.renamed_from {
            // Its successor has taken the config, and this guest is kept.
            Some(_) => None,
            None => read(self.folder(record.domid).join(NEXT))?,
        };
        Ok(match next {
            Some(next) if next.handle == record.handle => {
                let config = DomainConfig { name: record.config.name.clone(), ..next.config };
                Record { config, ..record.clone() }
            }
            _ => record.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use xen::units::{DomId, DomainHandle, KiB};

    use super::*;

    fn config(name: &str, memory: u32) -> DomainConfig {
        let text = format!("name='{name}'\ntype='pvh'\nkernel='/k'\nmemory={memory}");
        crate::config::parse_str("test", &text, &[], true).unwrap().config
    }

    #[test]
    fn the_next_config_is_that_of_one_guest_under_its_present_name() {
        let folder = tempfile::TempDir::new().unwrap();
        let records = Records::at(folder.path().to_owned());
        let (domid, memory) = (DomId(3), |record: &Record| record.config.memory);
        records.make_folder(domid).unwrap();
        let mut record = Record::new(domid, DomainHandle([1; 16]), config("a", 4));
        assert_eq!(records.with_next(&record).unwrap(), record);
        for mib in [8, 16] {
            records.write_next(&record, config("a", mib)).unwrap();
            assert_eq!(memory(&records.with_next(&record).unwrap()), KiB(u64::from(mib) << 10));
        }
        record.config.name = "b".to_owned();
        let next = records.with_next(&record).unwrap();
        assert_eq!((next.name(), memory(&next)), ("b", KiB(16 << 10)));
        // One that is kept beside its successor, and another guest with the same number.
        let kept = Record { renamed_from: Some("b".to_owned()), ..record.clone() };
        assert_eq!(records.with_next(&kept).unwrap(), kept);
        let other = Record { handle: DomainHandle([2; 16]), ..record.clone() };
        assert_eq!(records.with_next(&other).unwrap(), other);
        fs::write(records.folder(domid).join(NEXT), [99, 1, 2]).unwrap();
        assert!(matches!(records.with_next(&record), Err(RecordError::Damaged { .. })));
        // Xen reuses the number for another guest.
        records.make_folder(domid).unwrap();
        assert_eq!(records.with_next(&record).unwrap(), record);
    }
}
