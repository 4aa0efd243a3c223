// SPDX-License-Identifier: GPL-3.0-or-later
//! Which domains there were at the last scan, where the ends of some domains are not reported.
//!
//! A failed restart is retried when a domain has ended, because that frees memory. Without a report,
//! two scans show it.

use std::collections::HashMap;

use chaos::guests::DomainStage;
use chaos::handle::DomainIdentity;

/// The domains of the last scan, by identity.
#[derive(Debug, Default)]
pub(super) struct Census(HashMap<DomainIdentity, DomainStage>);

impl Census {
    /// Notes the domains of a scan. Returns whether one of the last scan has ended since, or is gone.
    pub(super) fn note(
        &mut self,
        domains: impl Iterator<Item = (DomainIdentity, DomainStage)>,
    ) -> bool {
        let now: HashMap<_, _> = domains.collect();
        let has_end = self.0.iter().any(|(id, stage)| now.get(id) != Some(stage));
        self.0 = now;
        has_end
    }

    /// Forgets the domains.
    pub(super) fn clear(&mut self) {
        self.0 = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use xen::units::{DomId, DomainHandle};

    use super::DomainStage::{Alive, Dying, Ended};
    use super::*;

    #[test]
    fn each_stage_of_an_end_is_noticed_once_and_a_create_is_none() {
        let mut census = Census::default();
        let mut note = |domains: &[(u8, DomainStage)]| {
            let id =
                |number| DomainIdentity { domid: DomId(7), handle: DomainHandle([number; 16]) };
            census.note(domains.iter().map(|(number, stage)| (id(*number), *stage)))
        };
        assert!(!note(&[(1, Alive)]), "the first scan");
        assert!(!note(&[(1, Alive), (2, Alive)]), "a domain was created");
        for domains in [
            &[(1, Alive), (2, Ended)][..],
            &[(1, Alive), (2, Dying)],
            &[(1, Alive)],
            // Another domain has its place.
            &[(3, Alive)],
        ] {
            assert!(note(domains), "{domains:?}");
            assert!(!note(domains), "{domains:?} again");
        }
        census.clear();
        assert!(!census.note(std::iter::empty()));
    }
}
